"""How far apart two shares can be, given what was counted, and how much must be counted to tell.

Wilson's interval of one share (JASA 22, 1927), Newcombe's interval of the difference of two (hybrid score, method 10 of
Statistics in Medicine 17, 1998, 873-890), and the usual size of two groups (Fleiss, Statistical Methods for Rates and
Proportions, 1981, section 3.2, without the continuity correction). All take requests to be independent. The requests
of one client are not: where few clients send most of them, the true intervals are wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

POWER = 0.8
"""Probability that a difference as large as was asked for is found at the size that `needed` returns."""


@dataclass(frozen=True)
class Interval:
    """Where a share, or a difference, is believed to be."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is outside."""
        return self.low > 0 or self.high < 0


def share(found: float, total: float, level: float = 0.95) -> Interval:
    """Return Wilson's interval of `found` of `total`; everything is possible when nothing was counted."""
    if total <= 0:
        return Interval(0.0, 1.0)
    z = _deviations(level)
    rate, square = found / total, z * z / total
    middle = (rate + square / 2) / (1 + square)
    half = z * math.sqrt(rate * (1 - rate) / total + square / (4 * total)) / (1 + square)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def difference(found: float, total: float, other_found: float, other_total: float, level: float = 0.95) -> Interval:
    """Return Newcombe's interval of the first share minus the other one."""
    if total <= 0 or other_total <= 0:
        return Interval(-1.0, 1.0)
    one, two = share(found, total, level), share(other_found, other_total, level)
    rate, other = found / total, other_found / other_total
    below = math.hypot(rate - one.low, two.high - other)
    above = math.hypot(one.high - rate, other - two.low)
    return Interval(rate - other - below, rate - other + above)


def needed(rate: float, margin: float, ratio: float, level: float = 0.95, power: float = POWER) -> int:
    """Return how many requests the smaller group needs to show that its share is `margin` above or below `rate`.

    Args:
        ratio: Requests of the larger group per request of the smaller one.
    """
    other = min(1.0, rate + margin)
    pooled = (other + ratio * rate) / (1 + ratio)
    z, z_power = _deviations(level), NormalDist().inv_cdf(power)
    same = z * math.sqrt((1 + 1 / ratio) * pooled * (1 - pooled))
    apart = z_power * math.sqrt(other * (1 - other) + rate * (1 - rate) / ratio)
    return math.ceil(((same + apart) / margin) ** 2)


def _deviations(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
