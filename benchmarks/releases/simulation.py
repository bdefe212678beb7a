"""Canary rollouts with known error rates, judged by the code that judges real ones."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from components.releases.sequential import Counts, Decision, Verdict, judge


@dataclass(frozen=True)
class Outcome:
    """What became of simulated rollouts."""

    rollouts: int
    promoted: int
    rolled_back: int
    undecided: int
    canary_requests: float


def simulate(
    champion: tuple[float, float],
    canary: tuple[float, float],
    *,
    rollouts: int = 2000,
    steps: tuple[int, ...] = (5, 25, 50),
    per_look: int = 400,
    looks: int = 400,
    seed: int = 42,
) -> Outcome:
    """Run many rollouts with known error rates and return how they ended.

    Args:
        champion: Its true (error rate, slow rate).
        canary: The canary's.
        per_look: Requests to both together between two looks.
        looks: Looks per step before it is out of patience.
    """
    source = random.Random(seed)
    ends = {"better": 0, "worse": 0, "open": 0}
    requests = 0.0
    for _ in range(rollouts):
        decision: Decision = "open"
        for percent in steps:
            decision, used = _simulate_step(source, champion, canary, percent, len(steps), per_look, looks)
            requests += used
            if decision != "better":
                break
        ends[decision] += 1
    return Outcome(rollouts, ends["better"], ends["worse"], ends["open"], requests / rollouts)


def _simulate_step(
    source: random.Random,
    champion: tuple[float, float],
    canary: tuple[float, float],
    percent: int,
    steps: int,
    per_look: int,
    looks: int,
) -> tuple[Decision, float]:
    seen = {"champion": Counts(), "canary": Counts()}
    verdict = Verdict("open", "")
    for _ in range(looks):
        share = _binomial(source, per_look, percent / 100)
        seen["canary"] = _more(source, seen["canary"], share, canary)
        seen["champion"] = _more(source, seen["champion"], per_look - share, champion)
        verdict = judge(seen["champion"], seen["canary"], steps)
        if verdict.decision != "open":
            break
    return verdict.decision, seen["canary"].requests


def _more(source: random.Random, seen: Counts, requests: int, rates: tuple[float, float]) -> Counts:
    errors, slow = (_binomial(source, requests, rate) for rate in rates)
    return Counts(seen.requests + requests, seen.errors + errors, seen.slow + slow)


def _binomial(source: random.Random, count: int, rate: float) -> int:
    """Count successes by the gaps between them (Devroye 1986, X.2): fast for the small rates of failures."""
    if rate <= 0:
        return 0
    if rate > 0.5:
        return count - _binomial(source, count, 1 - rate)
    found, position, base = 0, 0, math.log1p(-rate)
    while True:
        position += int(math.log(1.0 - source.random()) / base) + 1
        if position > count:
            return found
        found += 1
