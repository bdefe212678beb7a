"""A/B: two versions, each with a fixed share of the clients, compared by what Prometheus counted meanwhile.

There is no verdict before the version with fewer requests has as many as it takes to see the difference that was asked
for: whoever stops at the first significant look finds differences where there are none. Errors and slow requests
share the chance of a false verdict (Bonferroni), and so do the values of the prediction distribution, which is told and
not judged: predicting otherwise is neither better nor worse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.releases import ReleaseError, outcomes, routes, trials
from components.releases.intervals import Interval, difference, needed, share
from components.releases.kube import Kube
from components.releases.outcomes import Outcomes
from components.releases.plans import Plan, Target
from components.releases.trials import Trial

LEVEL = 0.95
DETECT = 0.01
"""Difference of a share that a comparison is to find, unless told otherwise: one request of a hundred."""


@dataclass(frozen=True)
class Shares:
    """One kind of outcome, of both versions.

    Attributes:
        a: Its share in the first version's requests.
        b: In the second one's.
        apart: The second minus the first.
    """

    name: str
    a: float
    b: float
    a_within: Interval
    b_within: Interval
    apart: Interval


@dataclass(frozen=True)
class Comparison:
    """What can be said about two versions by now.

    Attributes:
        verdict: One sentence.
        needed: Requests that the smaller group must have before there is one.
        judged: Errors and slow requests: less is better.
        predicted: Values and scores whose shares differ, told and not judged.
    """

    verdict: str
    needed: int
    a: Outcomes
    b: Outcomes
    judged: tuple[Shares, ...]
    predicted: tuple[Shares, ...]


def start(kube: Kube, target: Target, golden: Mapping[str, Any], champion: str, percent: int) -> Trial:
    """Give a version a share of the clients, beside the champion, until `trials.end`.

    Raises:
        ReleaseError: It cannot be tried.
    """
    if percent >= 100:
        raise ReleaseError(f"a share of {percent} % leaves no clients to compare with: expected 1 to 99")
    seed = f"{target.model} {champion} {target.version}"

    def make(live: dict[str, Any], first: str, second: str) -> dict[str, Any]:
        return routes.split(live, target.model, first, second, percent, seed)

    return trials.begin(kube, target, golden, "compare", percent, make, champion)


def report(trial: Trial, plan: Plan, namespace: str, detect: float = DETECT) -> Comparison:
    """Return what the trial has shown so far.

    Args:
        detect: Smallest difference of a share worth finding.

    Raises:
        PrometheusError: It does not answer.
    """
    a, b = (
        outcomes.read(plan.prometheus, trial.model, namespace, version, plan.slow, trial.since)
        for version in (trial.champion, trial.version)
    )
    return judge(a, b, detect)


def judge(a: Outcomes, b: Outcomes, detect: float = DETECT) -> Comparison:
    """Return the comparison of two versions' outcomes."""
    level = 1 - (1 - LEVEL) / 2
    judged = (
        _shares("failed", a.errors, a.requests, b.errors, b.requests, level),
        _shares("slow", a.slow, a.measured, b.slow, b.measured, level),
    )
    size = max(
        _size(a.errors, a.requests, b.errors, b.requests, detect, level),
        _size(a.slow, a.measured, b.slow, b.measured, detect, level),
    )
    predicted = (*_distribution("predicted", a.predictions, b.predictions), *_distribution("score", a.scores, b.scores))
    return Comparison(_verdict(a, b, judged, size, detect), size, a, b, judged, predicted)


def _verdict(a: Outcomes, b: Outcomes, judged: tuple[Shares, ...], size: int, detect: float) -> str:
    fewer = min(a.requests, a.measured, b.requests, b.measured)
    if fewer < size:
        return f"too early: {fewer:.0f} of {size} requests to the version with fewer"
    worse = [shares.name for shares in judged if shares.apart.low > 0]
    better = [shares.name for shares in judged if shares.apart.high < 0]
    if worse and better:
        return f"mixed: {b.version} has fewer {' and '.join(better)} requests, but more {' and '.join(worse)} ones"
    if worse:
        return f"{a.version} is better: fewer {' and '.join(worse)} requests"
    if better:
        return f"{b.version} is better: fewer {' and '.join(better)} requests"
    return f"no difference at this size, which finds one of {100 * detect:g} points in four of five cases"


def _distribution(what: str, a: Counter[str], b: Counter[str]) -> tuple[Shares, ...]:
    """Return the values whose shares differ, at a level that holds for all values together."""
    values = sorted(set(a) | set(b))
    if not values:
        return ()
    level = 1 - (1 - LEVEL) / len(values)
    found = [_shares(f"{what} {value}", a[value], a.total(), b[value], b.total(), level) for value in values]
    return tuple(shares for shares in found if shares.apart.excludes_zero)


def _shares(name: str, a: float, a_total: float, b: float, b_total: float, level: float) -> Shares:
    return Shares(
        name,
        a / a_total if a_total else 0.0,
        b / b_total if b_total else 0.0,
        share(a, a_total, level),
        share(b, b_total, level),
        difference(b, b_total, a, a_total, level),
    )


def _size(a: float, a_total: float, b: float, b_total: float, detect: float, level: float) -> int:
    """Return the requests the smaller group needs; a rate that is hardly known counts as no smaller than `detect`."""
    total = a_total + b_total
    rate = max((a + b) / total if total else 0.0, detect)
    fewer = min(a_total, b_total)
    return needed(rate, detect, max(a_total, b_total) / fewer if fewer else 1.0, level)
