"""The test that judges a canary while requests come in: Wald's sequential probability ratio test, twice.

Looking at a fixed-size test again and again until it is significant makes its error rate grow with every look. Wald's
test (Annals of Mathematical Statistics 16, 1945) may be looked at after every request: with a = log((1 - beta) / alpha)
and b = log(beta / (1 - alpha)) it rejects a good version with probability of about alpha at most and accepts a bad one
with probability of about beta at most, whenever it stops.

Good is as bad as the champion at the same time, but never better than `FLOOR`; bad is `MARGIN` worse than that. The
champion's share is itself uncertain, so each decision uses the end of its interval that makes it harder. Errors
and slow requests are judged apart. A rollout of several steps shares alpha between its steps and both judgements, so
the rate of false rollbacks holds for the whole rollout; a bad version must pass every step, so beta holds as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

FALSE_ROLLBACK = 0.02
"""Probability that a rollout of a version as good as the champion is rolled back."""
FALSE_PROMOTE = 0.02
"""Probability that a version that is worse by the margin, in errors or in latency, is promoted."""
FLOOR = 0.002
MARGIN = 0.02
SLOW_FLOOR = 0.01
SLOW_MARGIN = 0.05
DEVIATIONS = 2.5
"""Half the width of the interval that the champion's own share is believed to be in, in standard deviations."""

Decision = Literal["better", "worse", "open"]


@dataclass(frozen=True)
class Counts:
    """Requests, how many of them failed, and how many were slow."""

    requests: float = 0.0
    errors: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What can be said by now: `better` means good enough, `worse` means roll back, `open` means look again."""

    decision: Decision
    reason: str


def judge(champion: Counts, canary: Counts, steps: int) -> Verdict:
    """Return the verdict on one step from the requests both versions answered during it.

    Args:
        steps: How many judged steps the rollout has.
    """
    alpha = FALSE_ROLLBACK / (2 * steps)
    errors = _decide(champion.errors, champion.requests, canary.errors, canary.requests, FLOOR, MARGIN, alpha)
    slow = _decide(champion.slow, champion.requests, canary.slow, canary.requests, SLOW_FLOOR, SLOW_MARGIN, alpha)
    if errors == "worse":
        return Verdict("worse", _said("failed", canary.errors, canary.requests, champion.errors, champion.requests))
    if slow == "worse":
        return Verdict("worse", _said("were slow", canary.slow, canary.requests, champion.slow, champion.requests))
    if errors == slow == "better":
        return Verdict("better", _said("failed", canary.errors, canary.requests, champion.errors, champion.requests))
    return Verdict("open", f"{canary.requests:.0f} requests are too few to tell")


def _decide(
    champion_bad: float, champion_all: float, bad: float, total: float, floor: float, margin: float, alpha: float
) -> Decision:
    """Wald's test on `bad` of `total`: to reject, the champion gets the highest share it plausibly has; to accept, the
    lowest, so that not knowing the champion well costs requests and not errors.
    """
    low, high = _interval(champion_bad, champion_all)
    if _ratio(bad, total, max(high, floor), margin) >= math.log((1 - FALSE_PROMOTE) / alpha):
        return "worse"
    if _ratio(bad, total, max(low, floor), margin) <= math.log(FALSE_PROMOTE / (1 - alpha)):
        return "better"
    return "open"


def _ratio(bad: float, total: float, good: float, margin: float) -> float:
    """Return the log likelihood ratio of a share of `good + margin` to one of `good`."""
    good = min(good, 1.0 - 2 * margin)
    worse = good + margin
    return bad * math.log(worse / good) + (total - bad) * math.log((1 - worse) / (1 - good))


def _interval(bad: float, total: float) -> tuple[float, float]:
    """Return Wilson's interval of a share (JASA 22, 1927), `DEVIATIONS` wide on both sides."""
    if total <= 0:
        return 0.0, 0.0
    share, square = bad / total, DEVIATIONS * DEVIATIONS
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = DEVIATIONS * math.sqrt(share * (1 - share) / total + square / (4 * total * total)) / (1 + square / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def _said(what: str, bad: float, total: float, champion_bad: float, champion_all: float) -> str:
    return f"{bad:.0f} of {total:.0f} requests {what}; of the champion's, {champion_bad:.0f} of {champion_all:.0f} did"
