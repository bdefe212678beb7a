"""Rows go to train, validation and test: always the same way, every class everywhere, equal rows never apart."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.tables.splitting import rounded, row_keys, split_rows

RANDOM = np.random.default_rng(7)


def keys(rows: int, repeat: int = 1) -> Any:
    return np.repeat(RANDOM.integers(0, 2**62, rows).astype(np.uint64), repeat)


def shares(places: Any) -> list[float]:
    return [round(float((places == place).mean()), 3) for place in range(3)]


def test_cuts_at_sixty_and_eighty_percent_of_each_class() -> None:
    target = np.repeat([0, 1, 2], [700, 250, 50])

    places, _ = split_rows(keys(1000), target, regression=False, seed=1)

    for label in range(3):
        assert shares(places[target == label]) == [0.6, 0.2, 0.2]


def test_many_equal_rows_with_one_of_a_rare_class_do_not_take_the_place_of_the_others() -> None:
    """1,501 equal rows of which one is a yes, and 1,500 rows with 100: the rare class is cut by its own rows."""
    equal = np.repeat(keys(1), 1501)
    rows = np.concatenate([equal, keys(1500)])
    target = np.concatenate([[1], np.zeros(1500, int), np.repeat([1, 0], [100, 1400])])

    places, grouped = split_rows(rows, target, regression=False, seed=1)

    assert grouped
    assert [int((places[target == 1] == place).sum()) for place in range(3)] == [61, 20, 20]
    assert (places[:1501] == 0).all()
    assert shares(places[1501:][target[1501:] == 0]) == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_repeated_rows_of_both_classes_leave_every_class_its_share(seed: int) -> None:
    """As in real tables with few distinct values: a third of the rows repeats others, sometimes of the other class."""
    random = np.random.default_rng(seed)
    distinct = keys(7_000)
    rows = np.concatenate([distinct, random.choice(distinct[:400], 4_000)])
    target = (random.random(11_000) < 0.023).astype(int)

    places, _ = split_rows(rows, target, regression=False, seed=seed)

    rare = [float((places[target == 1] == place).mean()) for place in range(3)]
    assert rare == pytest.approx([0.6, 0.2, 0.2], abs=0.1)
    assert shares(places) == pytest.approx([0.6, 0.2, 0.2], abs=0.1)


def test_stratifies_a_regression_by_tenths_of_the_target() -> None:
    target = RANDOM.normal(size=2000)

    places, _ = split_rows(keys(2000), target, regression=True, seed=1)

    lowest = target <= np.quantile(target, 0.1)
    assert shares(places[lowest]) == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


def test_the_seed_alone_decides() -> None:
    rows, target = keys(500), RANDOM.integers(0, 2, 500)

    first, again, other = (split_rows(rows, target, regression=False, seed=seed)[0] for seed in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).mean() > 0.3


def test_order_does_not_matter_and_more_rows_hardly_move_the_others() -> None:
    rows, target = keys(2000), RANDOM.integers(0, 2, 2000)
    order = RANDOM.permutation(2000)

    whole, _ = split_rows(rows, target, regression=False, seed=1)
    shuffled, _ = split_rows(rows[order], target[order], regression=False, seed=1)
    part, _ = split_rows(rows[:1500], target[:1500], regression=False, seed=1)

    assert (shuffled == whole[order]).all()
    assert (part == whole[:1500]).mean() > 0.95


def test_equal_rows_stay_together_even_with_different_targets() -> None:
    rows = np.concatenate([keys(300, repeat=3), keys(300)])
    target = RANDOM.integers(0, 2, 1200)

    places, grouped = split_rows(rows, target, regression=False, seed=1)

    held = defaultdict(set)
    for key, place in zip(rows.tolist(), places.tolist(), strict=True):
        held[key].add(place)
    assert grouped
    assert all(len(found) == 1 for found in held.values())
    assert shares(places) == pytest.approx([0.6, 0.2, 0.2], abs=0.02)


def test_a_large_group_goes_to_train() -> None:
    rows = np.concatenate([np.zeros(400, dtype=np.uint64), keys(600)])

    places, _ = split_rows(rows, np.zeros(1000), regression=False, seed=1)

    assert (places[:400] == 0).all()
    assert shares(places) == pytest.approx([0.6, 0.2, 0.2], abs=0.02)


def test_a_table_of_few_distinct_rows_is_split_row_by_row() -> None:
    rows = np.repeat(np.arange(8, dtype=np.uint64), 100)

    places, grouped = split_rows(rows, np.arange(800) % 2, regression=False, seed=1)

    assert not grouped
    assert shares(places) == [0.6, 0.2, 0.2]


@pytest.mark.parametrize(("rows", "expected"), [(1, {0}), (2, {0, 2}), (3, {0, 1, 2}), (4, {0, 1, 2}), (7, {0, 1, 2})])
def test_small_classes_reach_as_many_splits_as_they_can(rows: int, expected: set[int]) -> None:
    target = np.repeat([0, 1], [100, rows])

    places, _ = split_rows(keys(100 + rows), target, regression=False, seed=1)

    assert set(places[target == 1].tolist()) == expected


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_keys_see_through_rounding_case_and_spaces() -> None:
    rows = batch(
        x=pa.array([1234.50001, 1234.5, 1234.9, None, float("nan"), 0.0, -0.0]),
        s=pa.array(["Köln ", "köln", "köln", None, None, "a", "A"]),
        b=pa.array([True, True, True, None, None, False, False]),
    )

    found = row_keys(rows, ["x", "s", "b"])

    assert found[0] == found[1] != found[2]
    assert found[3] == found[4]
    assert found[5] == found[6]
    assert len(set(found.tolist())) == 4


def test_exact_keys_do_not() -> None:
    rows = batch(x=pa.array([1234.50001, 1234.5]), s=pa.array(["a", "a"]))

    first, second = row_keys(rows, ["x", "s"], exact=True)

    assert first != second


def test_keys_do_not_depend_on_the_batch() -> None:
    values = pa.array(["a", "b", None, "c", "a"])
    whole = row_keys(batch(s=values), ["s"])
    parts = [row_keys(batch(s=values.slice(start, 2)), ["s"]) for start in (0, 2, 4)]

    assert np.concatenate(parts).tolist() == whole.tolist()


def test_keys_tell_a_missing_value_from_its_neighbours() -> None:
    rows = batch(a=pa.array([1.0, None, None]), b=pa.array([None, 1.0, None]))

    assert len(set(row_keys(rows, ["a", "b"]).tolist())) == 3


def test_rounds_to_five_significant_digits_at_any_size() -> None:
    numbers = np.array([123456.7, -0.000123456, 1e300, 1e-310, 0.0, np.nan])

    assert rounded(numbers).tolist()[:5] == pytest.approx([123460.0, -0.00012346, 1e300, 1e-310, 0.0])
    assert np.isnan(rounded(numbers)[5])
