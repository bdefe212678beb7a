"""A version beside the champion for as long as a person wants: pods of its own, and a route of the trial.

A trial promotes nothing. Its pods are an entry of spec.canary[] without a share, so that KServe starts and removes
them; what reaches them is decided by the trial's own HTTPRoute. The route is made last and removed first, so dying
anywhere leaves the champion answering. A release, and so a rollback too, ends the trial of its model.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.releases import ReleaseError, goldens, record, routes
from components.releases.cluster import orderly_end
from components.releases.handover import trial_entry
from components.releases.kube import ROUTE, SERVICE, Kube
from components.releases.lease import Lease, held
from components.releases.plans import TRIAL, VERSION, Target, canary_entry, deployment
from components.releases.restore import restore
from components.releases.wait import until_ready

KIND, SINCE, PERCENT = "headrace/trial", "headrace/since", "headrace/percent"
"""Annotations of the trial's route."""
DISCOVERY_SECONDS = 10.0
"""Until Prometheus scrapes pods that are new: it takes up changes of its targets every 5 s."""

Kind = Literal["compare", "shadow"]
MakeRoute = Callable[[dict[str, Any], str, str], dict[str, Any]]
"""Makes the route from KServe's and the Services of champion and version."""


@dataclass(frozen=True)
class Trial:
    """A trial that runs.

    Attributes:
        percent: Share of the clients, or of the requests that are copied.
        since: From when on it counts, in seconds since the epoch. A comparison counts once Prometheus has seen what the
            new pods answered to probes and golden requests.
    """

    kind: str
    model: str
    champion: str
    version: str
    percent: int
    since: float


def find(kube: Kube, model: str) -> Trial | None:
    """Return the trial of a model, None when there is none."""
    service = kube.get(SERVICE, model)
    entry = trial_entry(service or {})
    route = kube.get(ROUTE, routes.name_of(model)) if entry else None
    if service is None or entry is None or route is None:
        return None
    facts = route["metadata"]["annotations"]
    champion, version = _version(service["spec"]["predictor"]), _version(entry["predictor"])
    return Trial(facts[KIND], model, champion, version, int(facts[PERCENT]), float(facts[SINCE]))


def expect(kube: Kube, model: str, kind: Kind) -> Trial:
    """Return the trial of a model.

    Raises:
        ReleaseError: There is none of this kind.
    """
    trial = find(kube, model)
    if trial is None or trial.kind != kind:
        raise ReleaseError(f"no {kind} of {model!r} runs here: start one with python -m pipelines {kind}")
    return trial


def begin(
    kube: Kube,
    target: Target,
    golden: Mapping[str, Any],
    kind: Kind,
    percent: int,
    make: MakeRoute,
    champion: str = "",
) -> Trial:
    """Start a trial, or change the share of the one that runs; return when requests reach the version.

    Args:
        champion: The version that is believed to serve; empty is whichever does.

    Raises:
        ReleaseError: Nothing or another version serves, another trial runs, or the version fails its golden requests.
    """
    if not 0 < percent <= 100:
        raise ReleaseError(f"a share of {percent} %: expected 1 to 100")
    model = target.model
    with orderly_end(), held(kube, f"{model}-release") as lease:
        serving = _check(kube, target, kind, champion)
        live = kube.get(ROUTE, model)
        if live is None:
            raise ReleaseError(
                f"KServe made no HTTPRoute {model}: a trial needs the Gateway API (ingress.enableGatewayApi in KServe)"
            )
        try:
            return _begin(kube, lease, target, golden, kind, percent, serving, live, make)
        except BaseException:
            restore(kube, lease, model, serving, target.plan.timeout)
            raise


def end(kube: Kube, model: str, timeout: float) -> None:
    """End the trial of a model, if one runs; return when the champion is alone again."""
    with orderly_end(), held(kube, f"{model}-release") as lease:
        serving = record.read(kube, model).serving
        if serving is None or trial_entry(kube.get(SERVICE, model) or {}) is None:
            kube.delete(ROUTE, routes.name_of(model))
            return
        restore(kube, lease, model, serving, timeout)


def _check(kube: Kube, target: Target, kind: Kind, champion: str) -> dict[str, Any]:
    """Return the InferenceService of the champion, when a trial beside it may start."""
    model, known, live = target.model, record.read(kube, target.model), kube.get(SERVICE, target.model)
    if live is None or known.serving is None or known.unfinished:
        raise ReleaseError(f"{model!r} does not serve a released version here: release one first")
    serves = _version(known.serving["spec"]["predictor"])
    if champion and champion != serves:
        raise ReleaseError(f"{model} {champion} does not serve here, {serves} does: compare with that")
    if serves == target.version:
        raise ReleaseError(f"{model} {target.version} is what serves: name another version to try beside it")
    entry, running = trial_entry(live), find(kube, model)
    found = _version(entry["predictor"]) if entry else target.version
    if found != target.version or (running and running.kind != kind):
        raise ReleaseError(
            f"{model} {found} is in a trial already ({running.kind if running else 'unfinished'}): "
            "end it first, with --end"
        )
    return known.serving


def _begin(
    kube: Kube,
    lease: Lease,
    target: Target,
    golden: Mapping[str, Any],
    kind: Kind,
    percent: int,
    serving: dict[str, Any],
    live: dict[str, Any],
    make: MakeRoute,
) -> Trial:
    entry = _entry(target, percent, serving)
    lease.renew(now=True)
    kube.apply(_beside(serving, entry))
    host = deployment(target.model, entry["predictor"])
    annotation = entry["predictor"]["annotations"][VERSION]
    until_ready(kube, lease, target.model, host, annotation, target.plan.timeout)
    trouble = goldens.disagreement(lambda path, body: kube.ask(host, path, body), target.model, golden, kube.pace.retry)
    if trouble:
        raise ReleaseError(f"{target.model} {target.version} is not tried: {trouble}")
    champion = deployment(target.model, serving["spec"]["predictor"])
    route = make(live, champion, host)
    before = kube.get(ROUTE, route["metadata"]["name"])
    same = before is not None and before["metadata"].get("annotations", {}).get(PERCENT) == str(percent)
    now = time.time() + (kube.pace.settle + DISCOVERY_SECONDS + target.plan.scrape if kind == "compare" else 0.0)
    since = before["metadata"]["annotations"][SINCE] if before and same else f"{now:.3f}"
    route["metadata"]["annotations"] = {KIND: kind, PERCENT: str(percent), SINCE: since}
    lease.renew(now=True)
    kube.apply(route)
    time.sleep(kube.pace.settle)
    return Trial(kind, target.model, _version(serving["spec"]["predictor"]), target.version, percent, float(since))


def _entry(target: Target, percent: int, serving: dict[str, Any]) -> dict[str, Any]:
    entry = canary_entry(target.predictor, percent, serving["spec"]["predictor"])
    entry["trafficPercent"] = 0
    entry["predictor"]["annotations"][TRIAL] = "true"
    return entry


def _beside(serving: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Return the InferenceService with an entry, and as many pods of the champion as before.

    KServe takes the ready pods of canaries off the champion's minimum, so that is raised by as many.
    """
    stable = copy.deepcopy(serving["spec"]["predictor"])
    stable["minReplicas"] = int(stable.get("minReplicas", 1)) + int(entry["predictor"]["minReplicas"])
    if "maxReplicas" in stable:
        stable["maxReplicas"] = max(int(stable["maxReplicas"]), stable["minReplicas"])
    return {**serving, "spec": {**serving["spec"], "predictor": stable, "canary": [entry]}}


def _version(predictor: dict[str, Any]) -> str:
    return str((predictor.get("annotations") or {}).get(VERSION, "")).removeprefix("v")
