"""The models a use case can propose: each function returns an unfitted pipeline, each constant a search space for it.

A space lists each parameter's values from the simplest model to the most flexible, which is the order that the search
prefers among equals.

scikit-learn is loaded when a pipeline is built: whoever only lists the recipes, such as the command line, does not wait
for it.

Every pipeline takes the encoded float64 matrix (missing is NaN, an unseen category -1) and is made of parts that
`components.models.graph` converts exactly. To give a recipe derived columns, bind them:
`partial(recipes.boosting_regressor, derived=(Ratio("rooms", "households"),))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.models.derived import Combination, Ratio
from serving.schema import Schema

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Extra = Sequence[Ratio | Combination]
Space = Mapping[str, Sequence[Any]]

LOGISTIC: Space = {"model__C": (0.1, 1.0, 10.0)}
FOREST: Space = {"model__min_samples_leaf": (8, 4, 1)}
SVM: Space = {"model__estimator__C": (0.3, 1.0, 3.0, 10.0), "model__estimator__gamma": (0.01, 0.03, 0.1)}
BOOSTING: Space = {
    "model__max_iter": (40, 80),
    "model__max_leaf_nodes": (3, 6),
    "model__l2_regularization": (10.0, 1.0),
}
VOTING: Space = {"model__weights": ((2.0, 1.0, 1.0), (1.0, 1.0, 1.0))}
RIDGE: Space = {"model__alpha": (100.0, 10.0, 1.0, 0.1)}
FOREST_REGRESSOR: Space = {"model__max_features": (0.2, 0.4)}
BOOSTING_REGRESSOR: Space = {"model__max_features": (0.3, 0.6)}


def logistic(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return a logistic regression with an L2 penalty."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from components.models.features import preprocess

    return Pipeline(
        [*preprocess(schema, derived=derived), ("model", LogisticRegression(max_iter=2_000, random_state=seed))]
    )


def forest(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return a random forest of 100 trees."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline

    from components.models.features import preprocess

    model = RandomForestClassifier(n_estimators=100, min_samples_leaf=4, max_features=0.15, random_state=seed)
    return Pipeline([*preprocess(schema, derived=derived, scale=False, dense=True), ("model", model)])


def svm(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return a support vector machine (RBF) whose decisions a sigmoid, fitted out of fold, turns into probabilities."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.svm import SVC

    from components.models.features import preprocess

    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = CalibratedClassifierCV(SVC(C=1.0, gamma=0.01), method="sigmoid", cv=folds, ensemble=False)
    return Pipeline([*preprocess(schema, derived=derived), ("model", model)])


def boosting(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return gradient-boosted trees; they get missing numbers as they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    from components.models.features import preprocess

    model = HistGradientBoostingClassifier(
        max_iter=80,
        learning_rate=0.1,
        max_leaf_nodes=4,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    steps = preprocess(schema, derived=derived, fill=False, scale=False, dense=True)
    return Pipeline([*steps, ("model", model)])


def voting(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return the weighted average of the probabilities of three models that err differently.

    Boosted trees are not among them: on small tables, where averaging helps most, they made it worse.
    """
    from sklearn.ensemble import VotingClassifier
    from sklearn.pipeline import Pipeline

    members = [(build.__name__, build(schema, seed, derived=derived)) for build in (logistic, svm, forest)]
    members[0][1].set_params(model__C=0.1)
    return Pipeline([("model", VotingClassifier(members, voting="soft", weights=(2.0, 1.0, 1.0)))])


def ridge(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return a linear regression with an L2 penalty."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    from components.models.features import preprocess

    return Pipeline([*preprocess(schema, derived=derived), ("model", Ridge(random_state=seed))])


def forest_regressor(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return a random forest of 60 regression trees, leaves of 3 rows or more to bound its size."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import Pipeline

    from components.models.features import preprocess

    model = RandomForestRegressor(n_estimators=60, min_samples_leaf=3, max_features=0.4, random_state=seed)
    return Pipeline([*preprocess(schema, derived=derived, scale=False, dense=True), ("model", model)])


def boosting_regressor(schema: Schema, seed: int, *, derived: Extra = ()) -> Pipeline:
    """Return gradient-boosted regression trees; they get missing numbers as they are."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline

    from components.models.features import preprocess

    model = HistGradientBoostingRegressor(
        max_iter=600,
        learning_rate=0.06,
        max_leaf_nodes=31,
        max_features=0.3,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    steps = preprocess(schema, derived=derived, fill=False, scale=False, dense=True)
    return Pipeline([*steps, ("model", model)])
