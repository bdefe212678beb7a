"""The ONNX graph of every recipe equals the fitted pipeline where conversions go wrong; the proof notices if not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesRegressor, VotingClassifier
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from components.dataset import Dataset
from components.models import graph, parity, recipes, score
from components.models.derived import Combination, Ratio
from components.models.features import preprocess
from serving.schema import Column, Schema, Target

ROWS = 4_000
DERIVED = (Ratio("chol", "oldpeak"), Combination({"age": 0.5, "thalach": -1.5, "ca": 3.0}))
CLASSIFIERS = ("logistic", "forest", "svm", "boosting", "voting")
REGRESSORS = ("ridge", "forest_regressor", "boosting_regressor")


@pytest.mark.parametrize("derived", [(), DERIVED], ids=["columns", "derived"])
@pytest.mark.parametrize("recipe", CLASSIFIERS)
def test_two_classes_are_converted_exactly(
    heart: Dataset, recipe: str, derived: tuple[Ratio | Combination, ...]
) -> None:
    X, y = heart.load("train")
    pipeline = getattr(recipes, recipe)(heart.schema, 1, derived=derived).fit(X, y)

    proof = prove(pipeline, heart.schema, X)

    assert proof.flips == 0
    assert proof.max_difference <= (0.0 if recipe == "forest" else 1e-12)


@pytest.mark.parametrize("recipe", CLASSIFIERS)
def test_three_classes_are_converted_exactly(iris: Dataset, recipe: str) -> None:
    X, y = iris.load("train")
    pipeline = getattr(recipes, recipe)(iris.schema, 1).fit(X, y)

    proof = prove(pipeline, iris.schema, X)

    assert proof.flips == 0
    assert proof.max_difference <= (0.0 if recipe == "forest" else 1e-12)


@pytest.mark.parametrize("recipe", REGRESSORS)
def test_numbers_are_converted_exactly(heart: Dataset, recipe: str) -> None:
    X, y = heart.load("train")
    schema = Schema(heart.schema.columns, Target("chol", "regression"))
    build: Callable[..., Pipeline] = partial(getattr(recipes, recipe), derived=DERIVED)
    pipeline = build(schema, 1).set_params(**({"model__max_iter": 60} if "boosting" in recipe else {}))
    pipeline.fit(X, X[:, schema.names.index("thalach")] + y)

    proof = prove(pipeline, schema, X)

    assert proof.max_difference <= (1e-12 if recipe == "ridge" else 0.0)


@pytest.mark.parametrize("weights", [None, (2.0, 1.0, 0.5)])
def test_votes_are_weighted_like_the_pipeline(heart: Dataset, weights: tuple[float, ...] | None) -> None:
    X, y = heart.load("train")
    pipeline = recipes.voting(heart.schema, 1).set_params(model__weights=weights).fit(X, y)

    proof = prove(pipeline, heart.schema, X)

    assert proof.proven
    assert proof.max_difference <= 1e-12


def test_a_graph_in_float32_is_caught(heart: Dataset) -> None:
    X, y = heart.load("train")
    pipeline = recipes.boosting(heart.schema, 1).fit(X, y)
    narrowed = in_float32(graph.convert(pipeline, X.shape[1]))

    proof = parity.prove(pipeline, heart.schema, X, {"narrow": score.onnx(narrowed)}, rows=ROWS)["narrow"]

    assert not proof.proven
    assert proof.max_difference > parity.TOLERANCE


def test_a_forest_scaled_in_float32_changes_classes_and_is_caught(heart: Dataset) -> None:
    X, y = heart.load("train")
    trees = recipes.forest(heart.schema, 1).steps[-1][1]
    pipeline = Pipeline([*preprocess(heart.schema, scale=True), ("model", trees)]).fit(X, y)
    front = Pipeline(pipeline.steps[:-1])
    terms = front.transform(X).shape[1]
    exact = score.onnx(graph.convert(pipeline, X.shape[1]))
    scaler = pipeline.named_steps["columns"].named_transformers_["numbers"].named_steps["scale"]
    numbers = len(scaler.mean_)

    def narrow(matrix: np.ndarray) -> np.ndarray:
        """Scale as a float32 converter does: value, mean and scale are rounded before they meet."""
        filled = pipeline.named_steps["columns"].named_transformers_["numbers"].named_steps["fill"]
        columns = pipeline.named_steps["columns"].transformers_[0][2]
        raw = filled.transform(matrix[:, columns]).astype(np.float32)
        scaled = (raw - scaler.mean_.astype(np.float32)) / scaler.scale_.astype(np.float32)
        everything = front.transform(matrix)
        everything[:, :numbers] = scaled
        assert everything.shape[1] == terms
        return np.asarray(trees.predict_proba(everything))

    with np.errstate(over="ignore", invalid="ignore"):
        proofs = parity.prove(pipeline, heart.schema, X, {"exact": exact, "narrow": narrow}, rows=ROWS)

    assert proofs["exact"] == parity.Parity(ROWS, 0.0, 0)
    assert not proofs["narrow"].proven
    assert proofs["narrow"].max_difference > 1e-3


def test_the_same_seed_gives_the_same_bytes(heart: Dataset) -> None:
    X, y = heart.load("train")

    contents = [graph.convert(recipes.voting(heart.schema, seed).fit(X, y), X.shape[1]) for seed in (5, 5, 6)]

    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_a_forest_of_stumps_without_a_split_is_converted(heart: Dataset) -> None:
    X, y = heart.load("train")
    pipeline = recipes.forest(heart.schema, 1).set_params(model__min_samples_leaf=len(X)).fit(X, y)

    assert prove(pipeline, heart.schema, X) == parity.Parity(ROWS, 0.0, 0)


@pytest.mark.parametrize("recipe", CLASSIFIERS)
def test_columns_without_any_value_are_fitted_and_converted(recipe: str) -> None:
    generator = np.random.default_rng(0)
    columns = (
        Column("known", "number"),
        Column("gaps", "number"),
        Column("empty", "number"),
        Column("flag", "boolean"),
        Column("letter", "category", categories=("x", "y")),
        Column("nothing", "category"),
    )
    schema = Schema(columns, Target("y", "binary", (0, 1), 1))
    X = np.full((80, 6), np.nan)
    X[:, 0] = generator.normal(size=80)
    X[::3, 1] = generator.normal(size=27)
    pipeline = getattr(recipes, recipe)(schema, 0).fit(X, X[:, 0] > 0)

    assert prove(pipeline, schema, X).proven


def test_an_estimator_without_an_exact_conversion_is_refused_by_name(heart: Dataset) -> None:
    X, y = heart.load("train")
    pipeline = Pipeline([*preprocess(heart.schema), ("model", KNeighborsClassifier())]).fit(X, y)

    with pytest.raises(graph.NotConvertible, match=r"KNeighborsClassifier: use one of .*LogisticRegression"):
        graph.convert(pipeline, X.shape[1])


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(),
        VotingClassifier([("near", Pipeline([("model", KNeighborsClassifier())]))]),
        CalibratedClassifierCV(SVC(), method="isotonic"),
        CalibratedClassifierCV(LogisticRegression(), method="sigmoid", ensemble=False),
    ],
    ids=["estimator", "member", "method", "calibrated"],
)
def test_what_cannot_be_converted_is_known_before_it_is_fitted(heart: Dataset, model: Any) -> None:
    with pytest.raises(graph.NotConvertible):
        graph.check(Pipeline([*preprocess(heart.schema), ("model", model)]))


@pytest.mark.parametrize("recipe", CLASSIFIERS)
def test_every_recipe_can_be_converted(heart: Dataset, recipe: str) -> None:
    graph.check(getattr(recipes, recipe)(heart.schema, 1, derived=DERIVED))


@pytest.mark.parametrize(
    "model",
    [LinearRegression(), Lasso(0.1), ElasticNet(0.1), ExtraTreesRegressor(9, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_relatives_of_the_recipes_are_converted_exactly(heart: Dataset, model: Any) -> None:
    X, y = heart.load("train")
    schema = Schema(heart.schema.columns, Target("chol", "regression"))
    pipeline = Pipeline([*preprocess(schema), ("model", model)]).fit(X, X[:, 3] + y)

    assert prove(pipeline, schema, X).max_difference <= 1e-12


def prove(pipeline: Pipeline, schema: Schema, X: np.ndarray) -> parity.Parity:
    scorer = score.onnx(graph.convert(pipeline, X.shape[1]))
    return parity.prove(pipeline, schema, X, {"onnx": scorer}, rows=ROWS)["onnx"]


def in_float32(content: bytes) -> bytes:
    """The same graph, its input rounded to float32 on the way in."""
    model = onnx.load_from_string(content)
    for node in model.graph.node:
        node.input[:] = ["widened" if name == graph.INPUT else name for name in node.input]
    narrow = helper.make_node("Cast", [graph.INPUT], ["narrowed"], to=TensorProto.FLOAT)
    widen = helper.make_node("Cast", ["narrowed"], ["widened"], to=TensorProto.DOUBLE)
    model.graph.node.insert(0, widen)
    model.graph.node.insert(0, narrow)
    return bytes(model.SerializeToString())
