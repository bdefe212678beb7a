"""The C evaluator answers what the fitted pipeline answers: to the bit for trees, within 1e-12 for the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

from components.models import recipes
from components.models.derived import Combination, Ratio
from components.models.features import preprocess
from components.models.parity import questions
from components.models.score import fitted
from components.models.table import NotFoldable
from components.models.table import compile as fold
from serving.schema import Column, Schema, Target

native = pytest.importorskip("serving.native._native", reason="the C extension is not built here")

Data = tuple[Schema, NDArray[np.float64], NDArray[Any]]
ROWS = 4_000
DERIVED = (Ratio("rooms", "people"), Combination({"income": 0.5, "rooms": -1.25}))


def _missing(X: NDArray[np.float64], generator: np.random.Generator, share: float = 0.03) -> NDArray[np.float64]:
    return np.where(generator.random(X.shape) < share, np.nan, X)


@pytest.fixture(scope="module")
def heart() -> Data:
    """Integers, booleans and categories with missing values; the target depends on all of them."""
    generator = np.random.default_rng(7)
    rows = 260
    numbers = generator.integers(30, 200, (rows, 3)).astype(float)
    pain, thal = generator.integers(0, 4, rows), generator.integers(0, 3, rows)
    flag = generator.integers(0, 2, rows)
    X = _missing(np.column_stack([*numbers.T, pain, thal, flag]), generator)
    y = (numbers @ [0.02, 0.01, -0.02] + pain - thal + generator.normal(0, 1, rows) > 1.5).astype(np.int64)
    columns = (
        *(Column(name, "integer") for name in ("age", "chol", "rate")),
        Column("pain", "category", categories=("a", "b", "c", "d")),
        Column("thal", "category", categories=(3, 6, 7)),
        Column("flag", "boolean"),
    )
    return Schema(columns, Target("disease", "binary", (0, 1), positive=1)), X, y


@pytest.fixture(scope="module")
def iris() -> Data:
    X, y = load_iris(return_X_y=True)
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    target = Target("species", "multiclass", ("setosa", "versicolor", "virginica"))
    return Schema(tuple(Column(name, "number") for name in names), target), X, y


@pytest.fixture(scope="module")
def housing() -> Data:
    generator = np.random.default_rng(3)
    rows = 600
    numbers = np.round(generator.gamma(2.0, 3.0, (rows, 3)), 1)
    ocean = generator.integers(0, 3, rows)
    y = numbers @ [3.0, -1.0, 0.5] + ocean + generator.normal(0, 0.5, rows)
    X = _missing(np.column_stack([numbers, ocean]), generator)
    columns = (
        *(Column(name, "number") for name in ("income", "rooms", "people")),
        Column("ocean", "category", categories=("<1H", "INLAND", "NEAR BAY")),
    )
    return Schema(columns, Target("value", "regression")), X, y


def _differences(pipeline: Pipeline, data: Data, rows: int = ROWS) -> tuple[float, int]:
    """Return the largest difference (relative above 1) and the number of rows with another class."""
    schema, X, _ = data
    asked = questions(pipeline, schema, X, rows=rows)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = fitted(pipeline)(asked)
    table = native.Table(fold(pipeline, schema))
    actual = np.frombuffer(table.score(asked, len(asked))).reshape(expected.shape)
    difference = np.abs(expected - actual) / np.maximum(1.0, np.abs(expected))
    return float(difference.max()), int((expected.argmax(axis=1) != actual.argmax(axis=1)).sum())


def _fit(build: Callable[..., Pipeline], data: Data, **parameters: Any) -> Pipeline:
    schema, X, y = data
    return build(schema, 1).set_params(**parameters).fit(X, y)


def _estimator(model: Any, *, fill: bool = True, scale: bool = True) -> Callable[[Schema, int], Pipeline]:
    return lambda schema, seed: Pipeline([*preprocess(schema, fill=fill, scale=scale), ("model", model)])


TREES: tuple[tuple[str, str, Callable[..., Pipeline]], ...] = (
    ("forest", "heart", recipes.forest),
    ("forest", "iris", recipes.forest),
    ("forest with scaled numbers", "heart", _estimator(RandomForestClassifier(40, random_state=0))),
    ("extra trees", "iris", _estimator(ExtraTreesClassifier(30, random_state=0), scale=False)),
    ("extra trees regression", "housing", _estimator(ExtraTreesRegressor(8, random_state=0, min_samples_leaf=9))),
    ("stumps", "heart", _estimator(RandomForestClassifier(9, max_depth=1, random_state=0))),
    (
        "best-first forest",
        "iris",
        _estimator(RandomForestClassifier(30, max_leaf_nodes=9, random_state=0), scale=False),
    ),
    (
        "trees without a split",
        "iris",
        _estimator(RandomForestClassifier(3, min_samples_leaf=150, random_state=0), scale=False),
    ),
    ("boosting", "heart", recipes.boosting),
    ("deep boosting", "heart", _estimator(HistGradientBoostingClassifier(max_iter=30), fill=False, scale=False)),
    ("forest regression", "housing", recipes.forest_regressor),
    ("boosted regression", "housing", partial(recipes.boosting_regressor, derived=DERIVED)),
)
OTHERS: tuple[tuple[str, str, Callable[..., Pipeline]], ...] = (
    ("logistic", "heart", recipes.logistic),
    ("logistic", "iris", recipes.logistic),
    ("svm", "heart", recipes.svm),
    ("svm", "iris", recipes.svm),
    ("boosting of three classes", "iris", recipes.boosting),
    ("voting", "heart", recipes.voting),
    ("voting", "iris", recipes.voting),
    ("ridge", "housing", recipes.ridge),
    ("least squares", "housing", _estimator(LinearRegression(), scale=False)),
    ("lasso", "housing", _estimator(Lasso(alpha=100.0))),
    ("elastic net", "housing", _estimator(ElasticNet(alpha=0.1))),
    ("ridge on derived columns", "housing", partial(recipes.ridge, derived=DERIVED)),
)


def _named(cases: tuple[tuple[str, str, Any], ...]) -> list[Any]:
    return [pytest.param(data, build, id=f"{name} on {data}") for name, data, build in cases]


@pytest.mark.parametrize(("data", "build"), _named(TREES))
def test_trees_agree_to_the_bit(data: str, build: Callable[..., Pipeline], request: pytest.FixtureRequest) -> None:
    pipeline = _fit(build, request.getfixturevalue(data))

    assert _differences(pipeline, request.getfixturevalue(data)) == (0.0, 0)


@pytest.mark.parametrize(("data", "build"), _named(OTHERS))
def test_other_models_agree_to_twelve_digits(
    data: str, build: Callable[..., Pipeline], request: pytest.FixtureRequest
) -> None:
    pipeline = _fit(build, request.getfixturevalue(data))

    difference, flips = _differences(pipeline, request.getfixturevalue(data))

    assert difference <= 1e-12
    assert flips == 0


def test_weights_of_a_vote_count(heart: Data) -> None:
    pipeline = _fit(recipes.voting, heart, model__weights=(2.0, 1.0, 0.5))

    assert _differences(pipeline, heart)[0] <= 1e-12


def test_trees_too_large_for_bit_strings_are_walked_with_the_same_answer(housing: Data) -> None:
    schema, _, _ = housing
    generator = np.random.default_rng(5)
    X = np.column_stack([generator.normal(size=(6_000, 3)), generator.integers(0, 3, 6_000)])
    large = (schema, _missing(X, generator), X @ [1.0, -2.0, 0.5, 0.1] + generator.normal(size=6_000))
    pipeline = _fit(recipes.forest_regressor, large, model__n_estimators=12, model__min_samples_leaf=1)

    assert len(fold(pipeline, schema)) > 1 << 20
    assert _differences(pipeline, large) == (0.0, 0)


def test_trees_that_send_missing_values_themselves_are_walked_too(housing: Data) -> None:
    schema, _, _ = housing
    generator = np.random.default_rng(6)
    X = np.column_stack([generator.normal(size=(8_000, 3)), generator.integers(0, 3, 8_000)])
    y = X @ [1.0, -2.0, 0.5, 0.1] + generator.normal(size=8_000)
    model = HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=500, min_samples_leaf=2)
    large = (schema, _missing(X, generator, 0.2), y)

    assert _differences(_fit(_estimator(model, fill=False, scale=False), large), large) == (0.0, 0)


def test_batches_and_single_rows_agree(heart: Data) -> None:
    pipeline = _fit(recipes.forest, heart, model__n_estimators=40)
    table = native.Table(fold(pipeline, heart[0]))
    asked = np.ascontiguousarray(heart[1])

    single = b"".join(table.score(asked[i : i + 1], 1) for i in range(len(asked)))

    assert table.score(asked, len(asked)) == single
    assert (table.columns, table.width, table.trees) == (6, 2, 40)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (KNeighborsClassifier(3), "KNeighborsClassifier is not understood"),
        (SVC(), "SVC is not understood"),
    ],
)
def test_refuses_estimators_it_cannot_repeat(model: Any, reason: str, iris: Data) -> None:
    pipeline = _fit(_estimator(model), iris)

    with pytest.raises(NotFoldable, match=reason):
        fold(pipeline, iris[0])


def test_refuses_a_step_it_cannot_repeat(iris: Data) -> None:
    schema, X, y = iris
    pipeline = Pipeline([("scale", MinMaxScaler()), ("model", LogisticRegression())]).fit(X, y)

    with pytest.raises(NotFoldable, match="MinMaxScaler"):
        fold(pipeline, schema)


def test_refuses_classes_in_another_order_than_the_schema(iris: Data) -> None:
    schema, X, y = iris
    pipeline = Pipeline([("model", LogisticRegression(max_iter=1000))]).fit(X, y + 1)

    with pytest.raises(NotFoldable, match="classes"):
        fold(pipeline, schema)


def test_refuses_boosting_with_categorical_splits(heart: Data) -> None:
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=[3])
    pipeline = Pipeline([("model", model)]).fit(np.nan_to_num(heart[1]), heart[2])

    with pytest.raises(NotFoldable, match="categorical"):
        fold(pipeline, heart[0])


def test_refuses_a_loss_with_another_link(housing: Data) -> None:
    model = HistGradientBoostingRegressor(max_iter=3, loss="poisson")
    pipeline = Pipeline([("model", model)]).fit(housing[1], np.abs(housing[2]) + 1.0)

    with pytest.raises(NotFoldable, match="poisson"):
        fold(pipeline, housing[0])
