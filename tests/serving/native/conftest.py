"""Small models of every kind the evaluator knows, folded, with the schema and rows they were fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from components.models import recipes
from components.models.derived import Ratio
from components.models.table import compile as fold
from serving import native
from serving.schema import Column, Schema, Target


@dataclass(frozen=True)
class Folded:
    """A folded model."""

    schema: Schema
    data: bytes
    rows: NDArray[np.float64]


COLUMNS = (
    Column("age", "number"),
    Column("größe", "integer"),
    Column("pain", "category", categories=("typical", "ätypisch", "none")),
    Column("thal", "category", categories=(3, 6.5, 7)),
    Column("smokes", "boolean"),
    Column("since", "date"),
)
BINARY = Target("disease", "binary", ("no", "yes"), positive="yes")
MULTICLASS = Target("stage", "multiclass", (0, 1, 2))
REGRESSION = Target("value", "regression")


def make_rows(count: int = 240, seed: int = 5) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    rows = np.column_stack(
        [
            np.round(generator.normal(50.0, 12.0, count), 1),
            generator.integers(120, 210, count),
            generator.integers(0, 3, count),
            generator.integers(0, 3, count),
            generator.integers(0, 2, count),
            generator.integers(0, 20_000, count),
        ]
    )
    return np.where(generator.random(rows.shape) < 0.04, np.nan, rows)


def _fold(target: Target, build: Any, **parameters: Any) -> Folded:
    schema = Schema(COLUMNS, target)
    rows = make_rows()
    filled = np.nan_to_num(rows)
    raw = filled @ [0.05, 0.01, 0.8, -0.5, 1.0, 0.0001]
    levels = len(target.classes)
    cuts = np.quantile(raw, np.arange(1, levels) / max(levels, 1))
    y = np.searchsorted(cuts, raw).astype(np.int64) if levels else raw
    pipeline = build(schema, 3, derived=(Ratio("age", "größe"),)).set_params(**parameters).fit(rows, y)
    return Folded(schema, fold(pipeline, schema), rows)


@pytest.fixture(scope="session")
def folded() -> dict[str, Folded]:
    if not native.available():
        pytest.skip("the C extension is not built here")
    return {
        "logistic": _fold(BINARY, recipes.logistic),
        "forest": _fold(BINARY, recipes.forest, model__n_estimators=25),
        "voting": _fold(BINARY, recipes.voting, model__forest__model__n_estimators=10),
        "svm": _fold(MULTICLASS, recipes.svm),
        "boosting": _fold(MULTICLASS, recipes.boosting, model__max_iter=6),
        "regression": _fold(REGRESSION, recipes.forest_regressor, model__n_estimators=9),
    }


@pytest.fixture(scope="session")
def echo() -> Folded:
    """A model of one column that predicts the number it is given."""
    if not native.available():
        pytest.skip("the C extension is not built here")
    model = LinearRegression()
    model.coef_, model.intercept_ = np.array([1.0]), 0.0
    schema = Schema((Column("x", "number"),), REGRESSION)
    return Folded(schema, fold(Pipeline([("model", model)]), schema), np.zeros((1, 1)))
