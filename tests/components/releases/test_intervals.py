"""Intervals against published examples, and by how often they hold what they promise."""

from __future__ import annotations

import random

import pytest

from components.releases.intervals import Interval, difference, needed, share


@pytest.mark.parametrize(
    ("found", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_the_published_one(found, total, low, high):
    """Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3."""
    interval = share(found, total)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(counts, low, high):
    """Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, method 10."""
    interval = difference(*counts)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_nothing_is_known_when_nothing_was_counted():
    assert share(0, 0) == Interval(0.0, 1.0)
    assert difference(0, 0, 3, 10) == Interval(-1.0, 1.0)


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says():
    source = random.Random(7)

    def count(total, rate):
        return sum(source.random() < rate for _ in range(total))

    covered = 0
    for _ in range(1000):
        interval = difference(count(150, 0.08), 150, count(400, 0.05), 400)
        covered += interval.low <= 0.03 <= interval.high

    assert 930 <= covered <= 975


def test_equal_groups_need_what_the_textbook_says():
    """Fleiss (1981), table A.3 without correction: 0.10 against 0.20, 95 %, power 0.8."""
    assert needed(0.1, 0.1, 1.0) == 199


def test_a_smaller_group_needs_fewer_requests_when_the_other_one_has_more():
    assert needed(0.1, 0.1, 9.0) < needed(0.1, 0.1, 1.0) < needed(0.1, 0.05, 1.0)
