"""How strongly columns go together, and how they are cut for drawing."""

from __future__ import annotations

import numpy as np
import pytest

from components.tables.relations import association, binned, correlations, counts
from serving.schema import Column, Schema, Target

RANDOM = np.random.default_rng(4)


def test_association_is_one_for_a_copy_and_about_none_for_noise() -> None:
    target = RANDOM.integers(0, 3, 3000)
    copy = binned(Column("c", "category", categories=(0, 1, 2)), target.astype(float), equal_rows=True)
    noise = binned(Column("n", "number"), RANDOM.normal(size=3000), equal_rows=True)

    assert association(copy, target) == pytest.approx(1.0, abs=0.01)
    assert association(noise, target) < 0.05


def test_association_sees_that_missing_says_something() -> None:
    target = RANDOM.integers(0, 2, 1000)
    values = np.where(target == 1, np.nan, RANDOM.normal(size=1000))

    assert association(binned(Column("n", "number"), values, equal_rows=True), target) > 0.9


def test_a_column_without_values_has_no_bins_and_no_association() -> None:
    cut = binned(Column("n", "number"), np.full(5, np.nan), equal_rows=False)

    assert cut is None
    assert association(cut, np.array([0, 1, 0, 1, 0])) == 0.0


def test_integers_get_whole_bins() -> None:
    cut = binned(Column("n", "integer"), np.array([0.0, 1.0, 3.0, 3.0]), equal_rows=False)

    assert cut is not None
    assert cut.edges == (-0.5, 0.5, 1.5, 2.5, 3.5)
    assert counts(cut, np.zeros(4, dtype=np.int64), 1) == [[1, 1, 0, 2]]


def test_far_outliers_do_not_squeeze_the_rest() -> None:
    values = np.append(RANDOM.uniform(0, 1, 2000), 1e9)
    cut = binned(Column("n", "number"), values, equal_rows=False)

    assert cut is not None
    assert cut.edges[-1] < 2
    assert cut.codes[-1] == -1


@pytest.mark.parametrize("kind", ["number", "integer", "date"])
def test_a_single_value_is_one_bin(kind: str) -> None:
    cut = binned(Column("n", kind), np.full(5, 7.0), equal_rows=kind != "integer")  # type: ignore[arg-type]

    assert cut is not None
    assert sum(counts(cut, np.zeros(5, dtype=np.int64), 1)[0]) == 5


def test_unseen_categories_are_counted_as_others() -> None:
    cut = binned(Column("k", "category", categories=("a", "b")), np.array([0.0, 1.0, -1.0, np.nan]), equal_rows=False)

    assert cut is not None
    assert cut.labels == ("a", "b", "(other)")
    assert counts(cut, np.zeros(4, dtype=np.int64), 1) == [[1, 1, 1]]


def test_correlation_is_by_rank_and_leaves_categories_out() -> None:
    schema = Schema((Column("x", "number"), Column("k", "category", categories=("a",))), Target("y", "regression"))
    x = RANDOM.normal(size=100)

    names, matrix = correlations(schema, np.column_stack([x, np.zeros(100)]), np.exp(x))

    assert names == ["x", "y"]
    assert matrix[0][1] == pytest.approx(1.0)


def test_every_value_of_few_has_a_bin_of_its_own() -> None:
    """A flag that says the target in 85 of 100 rows goes with it: Cramer's V of a two by two table is 0.7."""
    flag = np.tile([0.0, 1.0], 500)
    agrees = np.arange(1000) % 100 < 85
    target = np.where(agrees, flag, 1 - flag).astype(np.int64)
    classes = binned(Column("n", "integer"), np.array([1.0, 2.0, 3.0, 3.0, np.nan]), equal_rows=True)

    assert association(binned(Column("f", "integer"), flag, equal_rows=True), target) == pytest.approx(0.7, abs=0.01)
    assert classes is not None
    assert classes.labels == ("1", "2", "3")
    assert classes.codes.tolist() == [0, 1, 2, 2, -1]


def test_a_most_frequent_largest_value_is_not_merged_with_the_next() -> None:
    values = np.append(RANDOM.uniform(0, 1, 500), np.full(500, 5.0))
    target = (values == 5.0).astype(np.int64)

    assert association(binned(Column("n", "number"), values, equal_rows=True), target) > 0.99
