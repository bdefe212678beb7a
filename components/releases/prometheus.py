"""What Prometheus knows about the versions of a model: requests, errors and slow requests since a moment.

Counters are read raw and subtracted here. `increase()` would extrapolate, and miss the first errors of a series that
did not exist before, which is just what a new version's first errors are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import urllib3

from components.releases import ReleaseError
from components.releases.sequential import Counts

TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)
Labels = tuple[tuple[str, str], ...]


class PrometheusError(ReleaseError):
    """Prometheus is absent, or answers something else than numbers."""


@dataclass
class Watch:
    """Counts by version since the first look.

    Attributes:
        slow: Seconds from which a request counts as slow.
    """

    url: str
    model: str
    namespace: str
    slow: float
    _seen: dict[Labels, float] = field(default_factory=dict)
    _grown: dict[Labels, float] = field(default_factory=dict)
    _looked: bool = False

    def look(self) -> Callable[[str], Counts]:
        """Read all counters and return what each version has counted since the first look.

        Raises:
            PrometheusError: It does not answer.
        """
        selector = f'{{model_name="{self.model}",namespace="{self.namespace}"}}'
        for name in ("headrace_requests_total", "headrace_request_seconds_bucket"):
            for labels, value in query(self.url, name + selector):
                self._grow(labels, value)
        self._looked = True
        return self._counts

    def _grow(self, labels: Labels, value: float) -> None:
        """Add what a series has grown by: all of a new one, all of one that started again."""
        before = self._seen.get(labels, 0.0 if self._looked else value)
        self._seen[labels] = value
        self._grown[labels] = self._grown.get(labels, 0.0) + (value - before if value >= before else value)

    def _counts(self, version: str) -> Counts:
        requests = errors = quick = measured = 0.0
        for series, grown in self._grown.items():
            labels = dict(series)
            if labels.get("version") != version:
                continue
            if labels["__name__"] == "headrace_requests_total":
                requests += grown
                errors += grown if labels["code"].startswith("5") else 0.0
            elif labels["le"] == "+Inf":
                measured += grown
            elif float(labels["le"]) == self.slow:
                quick += grown
        # Both tests need the number of requests; a latency that nobody measured must not pass for a good one.
        return Counts(min(requests, measured), errors, max(0.0, measured - quick))


def query(url: str, expression: str, moment: float | None = None) -> list[tuple[Labels, float]]:
    """Return the series of an instant query.

    Args:
        moment: Seconds since the epoch at which it is evaluated; None is now.

    Raises:
        PrometheusError: It does not answer, or refuses the query.
    """
    parameters = {"query": expression} | ({} if moment is None else {"time": f"{moment:.3f}"})
    address = f"{url}/api/v1/query?{urlencode(parameters)}"
    try:
        response = urllib3.request("GET", address, timeout=TIMEOUT, retries=False)
        document = json.loads(response.data)
        if document.get("status") != "success":
            raise PrometheusError(f"Prometheus at {url} refuses {expression}: {document.get('error')}")
        return [(tuple(sorted(item["metric"].items())), float(item["value"][1])) for item in document["data"]["result"]]
    except (urllib3.exceptions.HTTPError, ValueError, KeyError, AttributeError) as error:
        raise PrometheusError(
            f"Prometheus at {url} does not answer ({error}): correct `prometheus` in the plan of this environment"
        ) from error
