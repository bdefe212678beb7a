"""Contributions from folded tables are the Shapley values of the fitted pipeline's own sum, whatever its features."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from components.models import recipes, table
from serving import native, shapley
from serving.explain import Game
from serving.schema import Column, Schema, Target

CLASSES = {"binary": (0, 1), "multiclass": (0, 1, 2), "regression": ()}


def _schema(task: Any, numbers: int) -> Schema:
    columns = [Column(f"x{i}", "number", minimum=-3.0, maximum=3.0, missing=i == 0) for i in range(numbers)]
    columns.append(Column("kind", "category", categories=("a", "b", "c")))
    return Schema(tuple(columns), Target("y", task, CLASSES[task], 1 if task == "binary" else None))


def _fitted(recipe: Callable[..., Any], task: str, numbers: int) -> tuple[Any, Schema, np.ndarray]:
    schema = _schema(task, numbers)
    generator = np.random.default_rng(3)
    X = generator.normal(size=(300, numbers + 1))
    X[:, -1] = generator.integers(0, 3, 300)
    X[generator.random(300) < 0.2, 0] = np.nan
    known = np.nan_to_num(X)
    signal = known[:, 1] * known[:, 2] + known[:, 0] + (known[:, -1] == 1) + known[:, 3:-1].sum(axis=1) / 4
    y = (
        signal
        if task == "regression"
        else np.digitize(signal, np.quantile(signal, [1 / 3, 2 / 3][: len(CLASSES[task]) - 1]))
    )
    return recipe(schema, 0).fit(X, y), schema, X


def _raw(pipeline: Any, X: np.ndarray, position: int) -> np.ndarray:
    """The fitted pipeline's sum before its link."""
    model = pipeline.steps[-1][1]
    if not hasattr(model, "classes_"):
        return np.asarray(pipeline.predict(X))
    if not hasattr(pipeline, "decision_function"):
        return np.asarray(pipeline.predict_proba(X)[:, position])
    margin = np.asarray(pipeline.decision_function(X))
    return margin[:, position] if margin.ndim == 2 else margin if position else -margin


def _by_definition(value: Callable[[np.ndarray], np.ndarray], z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Sum over subsets, as Shapley defined it."""
    count = len(x)
    subsets = list(itertools.product((False, True), repeat=count))
    worth = dict(zip(subsets, value(np.array([np.where(subset, x, z) for subset in subsets])), strict=True))
    found = np.zeros(count)
    for subset in subsets:
        size = sum(subset)
        for i in range(count):
            if not subset[i]:
                more = (*subset[:i], True, *subset[i + 1 :])
                weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                found[i] += weight * (worth[more] - worth[subset])
    return found


MODELS = [
    (recipes.forest, "binary"),
    (recipes.forest, "multiclass"),
    (recipes.boosting, "binary"),
    (recipes.boosting, "multiclass"),
    (recipes.logistic, "multiclass"),
    (recipes.logistic, "binary"),
    (recipes.forest_regressor, "regression"),
    (recipes.boosting_regressor, "regression"),
    (recipes.ridge, "regression"),
]


@pytest.mark.parametrize(("recipe", "task"), MODELS, ids=[f"{recipe.__name__} {task}" for recipe, task in MODELS])
def test_agrees_with_the_definition_on_the_fitted_pipeline(recipe: Callable[..., Any], task: str) -> None:
    pipeline, schema, X = _fitted(recipe, task, 5)
    folded = shapley.load(table.compile(pipeline, schema))
    assert folded is not None

    for z, x in [(X[0], X[1]), (X[2], np.array([np.nan, 2.0, -2.0, 0.1, 0.2, -1.0])), (X[3], X[4])]:
        for position in range(max(1, len(schema.target.classes))):
            found = folded.explain(z.tolist(), x.tolist(), position)
            assert found is not None
            wanted = _by_definition(lambda rows, at=position: _raw(pipeline, rows, at), z, x)  # type: ignore[misc]
            assert [found.contributions.get(i, 0.0) for i in range(len(x))] == pytest.approx(wanted.tolist(), abs=1e-11)
            ends = _raw(pipeline, np.array([z, x]), position)
            assert (found.base, found.score) == pytest.approx(tuple(ends), abs=1e-11)


@pytest.mark.skipif(not native.available(), reason="needs the C extension")
def test_many_features_of_a_forest_are_explained_exactly_not_sampled() -> None:
    pipeline, schema, X = _fitted(recipes.forest, "binary", 20)
    evaluator = native.table(table.compile(pipeline, schema))
    folded = shapley.load(table.compile(pipeline, schema))

    class Served:
        width = 2
        classes = (0, 1)

        def score(self, features: array[float], rows: int) -> Sequence[float]:
            return memoryview(evaluator.score(features, rows)).cast("d")

    explained = Game(Served(), array("d", X[0]), array("d", X[1]), 1, lambda: folded).solve()  # type: ignore[arg-type]

    assert explained.method == "exact Shapley values (tree by tree)"
    assert explained.scale == "probability"
    assert sum(explained.contributions) == pytest.approx(explained.score - explained.base, abs=1e-12)
    assert explained.score == pytest.approx(pipeline.predict_proba(X[1:2])[0, 1], abs=1e-12)
    assert explained.base == pytest.approx(pipeline.predict_proba(X[:1])[0, 1], abs=1e-12)


def test_a_support_vector_machine_is_not_a_sum() -> None:
    pipeline, schema, _ = _fitted(recipes.svm, "binary", 4)

    assert shapley.load(table.compile(pipeline, schema)) is None


def test_trees_with_too_many_reachable_leaves_are_left_to_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, schema, X = _fitted(recipes.forest, "binary", 6)
    folded = shapley.load(table.compile(pipeline, schema))
    monkeypatch.setattr(shapley, "LEAVES_LIMIT", 50)

    assert folded is not None
    assert folded.explain(X[0].tolist(), X[1].tolist(), 1) is None
