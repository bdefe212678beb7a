"""What a model's releases leave in the cluster: one ConfigMap that tells re-runs, rollbacks and people what happened.

`serving` is the InferenceService as it was last applied for the champion; going back applies exactly that. It is a
ConfigMap and not annotations, because KServe copies annotations to every pod and would restart them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from components.releases.kube import CONFIG_MAP, EVENT, SERVICE, Kube, KubeError

KEPT = 20
STARTED, RELEASED, ROLLED_BACK = "started", "released", "rolled back"


@dataclass(frozen=True)
class Entry:
    """One release, as history tells it.

    Attributes:
        outcome: `started`, `released` or `rolled back`; one that stays `started` died on the way.
        by: Who held the lease.
    """

    version: str
    digest: str
    environment: str
    strategy: str
    outcome: str
    reason: str
    run: str
    by: str
    time: str


@dataclass(frozen=True)
class Record:
    """The ConfigMap of a model's releases.

    Attributes:
        serving: The InferenceService that the champion was released with, None before the first release.
        entries: Oldest first, the last `KEPT`.
    """

    model: str
    serving: dict[str, Any] | None
    entries: tuple[Entry, ...]

    @property
    def unfinished(self) -> Entry | None:
        """The last release, if it never ended."""
        return self.entries[-1] if self.entries and self.entries[-1].outcome == STARTED else None

    @property
    def champion(self) -> Entry | None:
        """The last release that succeeded."""
        return next((entry for entry in reversed(self.entries) if entry.outcome == RELEASED), None)


def read(kube: Kube, model: str) -> Record:
    """Return what is recorded about a model; empty before its first release."""
    found = kube.get(CONFIG_MAP, _name(model))
    data = (found or {}).get("data", {})
    entries = tuple(Entry(**json.loads(line)) for line in data.get("history", "").splitlines())
    return Record(model, json.loads(data["serving"]) if "serving" in data else None, entries)


def begin(kube: Kube, record: Record, entry: Entry) -> Record:
    """Record that a release starts."""
    return _write(kube, replace(record, entries=(*record.entries, entry)[-KEPT:]))


def end(kube: Kube, record: Record, outcome: str, reason: str, serving: dict[str, Any] | None) -> Record:
    """Record how the last release ended and what serves now, and say so in an event of the InferenceService."""
    last = replace(record.entries[-1], outcome=outcome, reason=reason[:1000], time=now())
    written = _write(kube, replace(record, serving=serving, entries=(*record.entries[:-1], last)))
    _tell(kube, record.model, last)
    return written


def now() -> str:
    """Return the time, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(kube: Kube, record: Record) -> Record:
    data = {"history": "\n".join(json.dumps(asdict(entry), sort_keys=True) for entry in record.entries)}
    if record.serving is not None:
        data["serving"] = json.dumps(record.serving, sort_keys=True)
    labels = {"app.kubernetes.io/name": record.model, "app.kubernetes.io/part-of": "headrace"}
    metadata = {"name": _name(record.model), "labels": {**labels, "app.kubernetes.io/managed-by": "headrace"}}
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return record


def _tell(kube: Kube, model: str, entry: Entry) -> None:
    """Write an event; a release does not fail because nobody could be told."""
    service = kube.get(SERVICE, model) or {"metadata": {"name": model}}
    reference = {"apiVersion": SERVICE.api_version, "kind": SERVICE.kind, "name": model, "namespace": kube.namespace}
    good = entry.outcome == RELEASED
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{model}-release-"},
        "involvedObject": {**reference, "uid": service["metadata"].get("uid", "")},
        "type": "Normal" if good else "Warning",
        "reason": "Released" if good else "RolledBack",
        "message": f"version {entry.version} {entry.outcome}: {entry.reason}"[:1000],
        "source": {"component": "headrace"},
        "firstTimestamp": now(),
        "lastTimestamp": now(),
        "count": 1,
    }
    try:
        kube.create(EVENT, event)
    except KubeError:
        return


def _name(model: str) -> str:
    return f"{model}-releases"
