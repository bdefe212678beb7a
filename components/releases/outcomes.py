"""What Prometheus has counted of two versions since a trial began: requests, errors, slow ones, what was predicted.

Counters are read raw at the beginning and as they last were, and subtracted, so pods that are gone count too. What a
container counted before it crashed and started again under the name of its pod is lost. The server counts probes of
kubelet among the requests of V2, about one every two seconds and pod: rates of models that are asked less often than
that are diluted, of both versions alike.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from components.releases.prometheus import query

BEFORE = "5m"
"""How old the last sample may be when the trial begins; Prometheus itself looks back as far."""


@dataclass(frozen=True)
class Outcomes:
    """Of one version.

    Attributes:
        measured: Requests whose latency was measured.
        slow: Of those, how many took longer than the plan allows.
        predictions: Counts by class, or by range of the predicted number.
        scores: Counts by range of the score.
    """

    version: str
    requests: float = 0.0
    errors: float = 0.0
    measured: float = 0.0
    slow: float = 0.0
    predictions: Counter[str] = field(default_factory=Counter)
    scores: Counter[str] = field(default_factory=Counter)


def read(url: str, model: str, namespace: str, version: str, slow: float, since: float) -> Outcomes:
    """Return the outcomes of a version since a moment.

    Args:
        slow: Seconds from which a request counts as slow; a bound of the histogram.

    Raises:
        PrometheusError: It does not answer.
    """
    where = f'model_name="{model}",namespace="{namespace}",version="{version}"'
    requests = errors = quick = measured = 0.0
    predictions: Counter[str] = Counter()
    scores: Counter[str] = Counter()
    for labels, count in _grown(url, f"headrace_requests_total{{{where}}}", since):
        requests += count
        errors += count if labels["code"].startswith("5") else 0.0
    for labels, count in _grown(url, f"headrace_request_seconds_bucket{{{where}}}", since):
        measured += count if labels["le"] == "+Inf" else 0.0
        quick += count if labels["le"] != "+Inf" and float(labels["le"]) == slow else 0.0
    for labels, count in _grown(url, f"headrace_predictions_total{{{where}}}", since):
        predictions[labels["value"]] += round(count)
    for labels, count in _grown(url, f"headrace_scores_total{{{where}}}", since):
        scores[labels["bucket"]] += round(count)
    return Outcomes(version, requests, errors, measured, max(0.0, measured - quick), predictions, scores)


def _grown(url: str, series: str, since: float) -> Iterator[tuple[dict[str, str], float]]:
    """Yield what each series has grown by; one that is lower than it was has started again."""
    before = dict(query(url, f"last_over_time({series}[{BEFORE}])", since))
    seconds = max(1, round(time.time() - since))
    for labels, value in query(url, f"last_over_time({series}[{seconds}s])"):
        start = before.get(labels, 0.0)
        yield dict(labels), value - start if value >= start else value
