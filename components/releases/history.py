"""What people ask about releases afterwards: what serves, what happened, what differs, where from, and back again."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from components import tracking
from components.errors import InputError
from components.releases import Release, ReleaseError, cluster, record, trials
from components.releases.kube import SERVICE, Kube, connect
from components.releases.lease import holder_of
from components.releases.plans import VERSION

if TYPE_CHECKING:
    from components.settings import Settings


@dataclass(frozen=True)
class Status:
    """What an endpoint is doing.

    Attributes:
        champion: Version of the stable predictor, empty when nothing is released.
        canary: Version that has a share of the traffic, empty when there is none.
        percent: That share.
        releasing: Who is releasing, empty when nobody is.
        trial: `compare` or `shadow` when a person tries the canary beside the champion, else empty.
        last: How the last release went, None before the first.
    """

    model: str
    url: str
    ready: bool
    champion: str
    canary: str
    percent: int
    releasing: str
    trial: str
    last: record.Entry | None


@dataclass(frozen=True)
class Origin:
    """Where a version came from, back to its data."""

    model: str
    version: str
    uri: str
    digest: str
    run: str
    dataset: str
    champion: bool


def status(model: str, kube: Kube | None = None) -> Status:
    """Return what the endpoint of a model is doing."""
    kube = kube or connect()
    live = kube.get(SERVICE, model) or {}
    spec, state = live.get("spec", {}), live.get("status", {})
    canary: dict[str, Any] = next(iter(spec.get("canary", [])), {"predictor": {}, "trafficPercent": 0})
    entries = record.read(kube, model).entries
    return Status(
        model=model,
        url=str(state.get("url", "")),
        ready=any(item["type"] == "Ready" and item["status"] == "True" for item in state.get("conditions", [])),
        champion=_version(spec.get("predictor", {})),
        canary=_version(canary["predictor"]),
        percent=int(canary["trafficPercent"]),
        releasing=holder_of(kube, f"{model}-release"),
        trial=trial.kind if (trial := trials.find(kube, model)) else "",
        last=entries[-1] if entries else None,
    )


def history(model: str, kube: Kube | None = None) -> tuple[record.Entry, ...]:
    """Return the releases of a model, oldest first."""
    return record.read(kube or connect(), model).entries


def diff(settings: Settings, model: str, version: str, environment: str, kube: Kube | None = None) -> str:
    """Return what a release of a version would change, as a unified diff; empty when nothing."""
    target, _ = cluster.prepare(settings, model, version, environment, "")
    serving = record.read(kube or connect(), model).serving
    before = _lines(serving) if serving else []
    return "".join(difflib.unified_diff(before, _lines(target.service), "serving", f"version {version}"))


def trace(settings: Settings, model: str, version: str = "", kube: Kube | None = None) -> Origin:
    """Return where a version came from; without one, what its endpoint serves.

    Raises:
        InputError: The version that was named is not registered.
        ReleaseError: Nothing serves, or what serves is not registered.
    """
    wanted = version or _version(
        (((kube or connect()).get(SERVICE, model) or {}).get("spec") or {}).get("predictor", {})
    )
    if not wanted:
        raise ReleaseError(f"nothing serves {model!r} here: release a version, or name one to trace")
    found = tracking.versions(settings, model)
    for item in found:
        if str(item.number) == wanted:
            dataset = item.tags.get(tracking.DATASET_TAG, "")
            is_champion = tracking.champion(settings, model) == wanted
            return Origin(model, wanted, item.uri, item.digest, item.run, dataset, is_champion)
    told = f"model {model!r} has no version {wanted!r} in the registry"
    if version and found:
        raise InputError(f"{told}: choose one of {', '.join(str(item.number) for item in found)}")
    raise ReleaseError(told)


def rollback(settings: Settings, model: str, environment: str, to: str = "", kube: Kube | None = None) -> Release:
    """Release an earlier version again, rolling; it is verified like any other, and becomes the champion by it.

    Args:
        to: The version; empty takes the one released before the one that serves.

    Raises:
        ReleaseError: There is no earlier version.
    """
    kube = kube or connect()
    version = to or _previous(kube, model)
    target, golden = cluster.prepare(settings, model, version, environment, "rolling")
    released = cluster.roll_out(kube, target, golden, environment)
    if released.verified:
        tracking.set_champion(settings, model, version)
    return released


def _previous(kube: Kube, model: str) -> str:
    released = [entry.version for entry in record.read(kube, model).entries if entry.outcome == record.RELEASED]
    earlier = [version for version in released if version != released[-1]]
    if not earlier:
        raise ReleaseError(f"{model!r} has no earlier release here to go back to: name a version")
    return earlier[-1]


def _version(predictor: dict[str, Any]) -> str:
    return str((predictor.get("annotations") or {}).get(VERSION, "")).removeprefix("v")


def _lines(service: dict[str, Any]) -> list[str]:
    return yaml.safe_dump(service).splitlines(keepends=True)
