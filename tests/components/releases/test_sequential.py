"""The sequential test keeps its promises over thousands of simulated rollouts."""

from __future__ import annotations

import pytest

from benchmarks.releases.simulation import simulate
from components.releases.sequential import FALSE_PROMOTE, FALSE_ROLLBACK, MARGIN, SLOW_MARGIN, Counts, judge


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.002, 0.01), (0.01, 0.02), (0.05, 0.05)])
def test_a_version_as_good_as_the_champion_is_rarely_rolled_back(rates):
    outcome = simulate(rates, rates, rollouts=500 if rates[0] > 0.02 else 2000)

    assert outcome.rolled_back <= FALSE_ROLLBACK * outcome.rollouts
    assert outcome.promoted >= 0.97 * outcome.rollouts


@pytest.mark.parametrize(
    ("champion", "canary"),
    [
        ((0.002, 0.01), (0.002 + MARGIN, 0.01)),
        ((0.01, 0.01), (0.01 + MARGIN, 0.01)),
        ((0.002, 0.01), (0.002, 0.01 + SLOW_MARGIN)),
        ((0.001, 0.01), (0.5, 0.01)),
    ],
    ids=["errors", "errors of an imperfect champion", "slow", "broken"],
)
def test_a_version_that_is_worse_by_the_margin_is_rarely_promoted(champion, canary):
    outcome = simulate(champion, canary)

    assert outcome.promoted <= FALSE_PROMOTE * outcome.rollouts


def test_a_broken_version_is_found_within_few_requests():
    assert simulate((0.001, 0.01), (0.5, 0.01), rollouts=200).canary_requests < 50


def test_too_few_requests_are_no_verdict():
    verdict = judge(Counts(1000, 1, 5), Counts(20, 0, 0), steps=3)

    assert verdict.decision == "open"
    assert verdict.reason == "20 requests are too few to tell"


def test_the_reason_counts_both_sides():
    verdict = judge(Counts(1000, 1, 5), Counts(100, 40, 0), steps=3)

    assert verdict.decision == "worse"
    assert verdict.reason == "40 of 100 requests failed; of the champion's, 1 of 1000 did"
