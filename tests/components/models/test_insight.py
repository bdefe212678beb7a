"""What a person asks about a fitted model gets the answer of the search that chose it."""

from __future__ import annotations

import numpy as np
import pytest

from components.models import insight, recipes
from components.models.search import search
from components.use_cases import Candidate
from serving.schema import Column, Schema, Target

SCHEMA = Schema((Column("a", "number"), Column("b", "number")), Target("y", "binary", (0, 1), 1))


@pytest.mark.parametrize("build", [recipes.logistic, recipes.forest])
def test_the_learning_curve_ends_at_the_cross_validated_figure(build: object) -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(150, 2))
    y = (X[:, 0] + generator.normal(size=150) > 0).astype(np.int64)
    candidate = Candidate("one", build)  # type: ignore[arg-type]  # a recipe
    found = search(candidate, SCHEMA, X, y, metric="roc_auc", seed=3)

    curve = insight.learning_curve(candidate.build(SCHEMA, 3), SCHEMA, X, y, "roc_auc", 3)

    assert curve[-1].outside == pytest.approx(found.best.mean("roc_auc"), abs=1e-12)
    assert [point.rows for point in curve] == [24, 48, 72, 96, 120]


def test_rows_sorted_by_class_give_every_share_of_the_curve_both_classes() -> None:
    X = np.vstack([np.random.default_rng(0).normal(size=(100, 2)), np.random.default_rng(1).normal(2, 1, (100, 2))])
    y = np.repeat([0, 1], 100)

    curve = insight.learning_curve(recipes.logistic(SCHEMA, 0), SCHEMA, X, y, "accuracy", 0)

    assert len(curve) == len(insight.SHARES)
    assert curve[0].outside > 0.8
