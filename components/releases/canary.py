"""Judging a new version while it serves a share of the traffic."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from components.releases.plans import Plan
from components.releases.prometheus import PrometheusError, Watch
from components.releases.sequential import Verdict, judge

BLIND_LOOKS = 5
"""Looks in a row that Prometheus may leave unanswered."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """What a step is judged with.

    Attributes:
        prove: Returns why the canary's own pods disagree with the golden requests, empty when they do not.
        reach: Returns why the public endpoint does not answer, empty when it does.
        alive: Called at every look; raises when this release must stop.
    """

    plan: Plan
    model: str
    namespace: str
    champion: str
    version: str
    prove: Callable[[], str]
    reach: Callable[[], str]
    alive: Callable[[], None]


def judge_step(bench: Bench, percent: int) -> Verdict:
    """Return the verdict on one share of the traffic; `open` means that patience ran out."""
    watch = Watch(bench.plan.prometheus, bench.model, bench.namespace, bench.plan.slow)
    deadline = time.monotonic() + bench.plan.patience
    verdict, blind = Verdict("open", "nothing was seen yet"), 0
    while True:
        bench.alive()
        if trouble := bench.prove() or bench.reach():
            return Verdict("worse", trouble)
        try:
            counts = watch.look()
            verdict, blind = judge(counts(bench.champion), counts(bench.version), len(bench.plan.steps)), 0
        except PrometheusError as error:
            blind += 1
            if blind == BLIND_LOOKS:
                return Verdict("worse", str(error))
        if verdict.decision != "open":
            log.info("step judged", extra={"percent": percent, "verdict": verdict.decision, "reason": verdict.reason})
            return verdict
        if time.monotonic() > deadline:
            return Verdict("open", f"no verdict within {bench.plan.patience:.0f} s: {verdict.reason}")
        time.sleep(bench.plan.scrape)
