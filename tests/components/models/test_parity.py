"""The questions of the parity proof are the critical ones, and a comparison misses nothing."""

from __future__ import annotations

import numpy as np
import pytest

from components.dataset import Dataset
from components.models import parity, recipes
from components.models.trees import thresholds


def test_questions_hold_midpoints_and_their_neighbours(heart: Dataset) -> None:
    X, y = heart.load("train")
    pipeline = recipes.logistic(heart.schema, 1).fit(X, y)
    age = heart.schema.names.index("age")
    known = np.unique(X[:, age])
    middle = (known[3] + known[4]) / 2

    asked = set(parity.questions(pipeline, heart.schema, X, rows=30_000)[:, age].tolist())

    assert {middle, np.nextafter(middle, -np.inf), np.nextafter(middle, np.inf)} <= asked


def test_questions_hold_the_thresholds_of_the_trees(heart: Dataset) -> None:
    X, y = heart.load("train")
    pipeline = recipes.boosting(heart.schema, 1).set_params(model__max_iter=3).fit(X, y)
    _, trees = next(thresholds(pipeline))
    oldpeak = heart.schema.names.index("oldpeak")
    place = next(block for name, _, block in pipeline.named_steps["columns"].transformers_ if name == "numbers")
    splits = {
        float(tree.threshold[n])
        for tree in trees
        for n in range(len(tree.feature))
        if tree.feature[n] == list(place).index(oldpeak)
    }

    asked = set(parity.questions(pipeline, heart.schema, X, rows=30_000)[:, oldpeak].tolist())

    assert splits
    assert splits <= asked


def test_questions_hold_missing_values_and_unseen_categories_in_every_column(heart: Dataset) -> None:
    X, y = heart.load("train")
    asked = parity.questions(recipes.logistic(heart.schema, 1).fit(X, y), heart.schema, X)

    assert np.isnan(asked).any(axis=0).all()
    for position, column in enumerate(heart.schema.columns):
        assert column.kind != "category" or (asked[:, position] == -1.0).any()


def test_a_hundred_thousand_different_questions_are_available(heart: Dataset) -> None:
    X, y = heart.load("train")
    asked = parity.questions(recipes.logistic(heart.schema, 1).fit(X, y), heart.schema, X, rows=100_000)

    assert len(asked) == 100_000
    assert len({row.tobytes() for row in asked}) > 50_000


def test_the_same_seed_asks_the_same(heart: Dataset) -> None:
    X, y = heart.load("train")
    pipeline = recipes.logistic(heart.schema, 1).fit(X, y)

    first, again, other = (parity.questions(pipeline, heart.schema, X, rows=500, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


EXPECTED = np.array([[0.5, 0.5], [0.9, 0.1]])


@pytest.mark.parametrize(
    ("actual", "flips", "proven"),
    [
        (EXPECTED, 0, True),
        (np.add(EXPECTED, [[5e-7, 0.0], [0.0, 0.0]]), 0, True),
        (np.add(EXPECTED, [[0.0, 1e-9], [0.0, 0.0]]), 1, False),
        (np.add(EXPECTED, [[0.0, 0.0], [2e-6, 0.0]]), 0, False),
        (EXPECTED * [[1.0, 1.0], [1.0, np.nan]], 1, False),
        (EXPECTED[:, :1], 2, False),
        (EXPECTED[:1], 2, False),
    ],
    ids=["equal", "close", "tie flipped", "far", "nan", "narrow", "short"],
)
def test_a_comparison_notices_flips_distance_and_nonsense(actual: np.ndarray, flips: int, proven: bool) -> None:
    found = parity.compare(EXPECTED, actual, classes=True)

    assert (found.flips, found.proven) == (flips, proven)


def test_a_regression_is_compared_relative_to_its_size() -> None:
    expected = np.array([[2e5], [0.1]])

    assert parity.compare(expected, expected * (1 + 1e-7), classes=False).proven
    assert not parity.compare(expected, np.add(expected, [[0.0], [1e-5]]), classes=False).proven


def test_nothing_asked_proves_nothing() -> None:
    assert not parity.compare(np.zeros((0, 2)), np.zeros((0, 2)), classes=True).proven
