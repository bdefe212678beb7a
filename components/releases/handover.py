"""The one order in which what serves is replaced: nothing that a route may still name is removed.

When a predictor leaves an InferenceService, KServe deletes its Deployment and its Service at once and updates the
HTTPRoutes afterwards, and the gateway follows later still; measured, that is a fifth of a second in which the share of
the traffic that names the deleted Service is answered with an empty 500. So every change that takes a predictor away
goes this way, and no other:

    quiet      shares of the canaries that leave become 0, routes of trials lead to the champion only
    carry      a new stable predictor of another name takes all of the traffic as a canary first
    accepted   no HTTPRoute gives a share to what leaves, and every gateway has accepted that generation of it
    replace    the InferenceService is applied; routes have forgotten what left, its pods and its autoscalers are gone

Dying between any two of these leaves everything that is named alive.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from components.releases import routes
from components.releases.kube import AUTOSCALER, DEPLOYMENT, ROUTE, SERVICE, Kube, Unserved
from components.releases.lease import Lease
from components.releases.plans import DIGEST, TRIAL, VERSION, canary_entry, deployment
from components.releases.wait import NotReady, until_gone, until_ready

log = logging.getLogger(__name__)

OWNER_LABEL = "serving.kserve.io/inferenceservice"
Object = dict[str, Any]


def hand_over(
    kube: Kube,
    lease: Lease,
    wanted: Object,
    timeout: float,
    prove: Callable[[], None] = lambda: None,
) -> Object:
    """Make an InferenceService what serves, and return it as it was applied (see `fit`).

    Args:
        wanted: As it is to be applied; what it does not name leaves.
        timeout: Seconds for pods to be ready, and for gateways to follow.
        prove: Called when all of the traffic goes to a new stable predictor and the old one could still take it back.

    Raises:
        NotReady: Pods did not come, or a gateway did not follow; nothing that is named was removed.
    """
    model = wanted["metadata"]["name"]
    live = kube.get(SERVICE, model)
    leaving: set[str] = set()
    if live is not None:
        wanted = fit(wanted, live, splits=has_routes(kube, model))
        leaving = deployments(live) - deployments(wanted)
        if leaving and _is_alive(kube, live):
            _empty(kube, lease, live, wanted, leaving, timeout, prove)
    lease.renew(now=True)
    kube.apply(wanted)
    predictor = wanted["spec"]["predictor"]
    until_ready(kube, lease, model, deployment(model, predictor), predictor["annotations"][VERSION], timeout)
    if leaving:
        until_quiet(kube, lease, leaving | deployments(wanted), leaving, timeout, settle=False)
    for name in sorted(leaving):
        until_gone(kube, lease, name, timeout)
    tidy(kube, model)
    return wanted


def fit(wanted: Object, live: Object, *, splits: bool) -> Object:
    """Return an InferenceService under the predictor name that it can take over with.

    A predictor's name is the name of its pods. KServe refuses another name for the same model, and another name is
    another Service, which traffic can only be moved to where routes have shares.

    Args:
        splits: Whether there are HTTPRoutes.
    """
    before, after = live["spec"]["predictor"], wanted["spec"]["predictor"]
    if bundle(before) == bundle(after) or not splits:
        name = before.get("name", "")
    elif before.get("name") and not after.get("name"):
        name = after["annotations"][VERSION]
    else:
        return wanted
    predictor = {key: value for key, value in after.items() if key != "name"}
    if name:
        predictor = {"name": name, **predictor}
    return {**wanted, "spec": {**wanted["spec"], "predictor": predictor}}


def bundle(predictor: Object) -> tuple[str, str, str]:
    """Return what a predictor serves: version, digest and address of its bundle."""
    annotations = predictor.get("annotations") or {}
    address = str(predictor["model"].get("storageUri", "")).rstrip("/")
    return annotations.get(VERSION, ""), annotations.get(DIGEST, ""), address


def applied(live: Object) -> Object:
    """Return what must have been applied for the stable predictor of a live InferenceService."""
    metadata = {key: live["metadata"][key] for key in ("name", "labels", "annotations") if key in live["metadata"]}
    spec = {"predictor": live["spec"]["predictor"]}
    return {"apiVersion": SERVICE.api_version, "kind": SERVICE.kind, "metadata": metadata, "spec": spec}


def trial_entry(service: Object) -> Object | None:
    """Return the entry of spec.canary[] that a trial made, None when there is none."""
    entries = service.get("spec", {}).get("canary", [])
    return next((entry for entry in entries if TRIAL in (entry["predictor"].get("annotations") or {})), None)


def deployments(service: Object) -> set[str]:
    """Return the names of the Deployments, which are those of the Services, of an InferenceService."""
    model, spec = service["metadata"]["name"], service["spec"]
    predictors = [spec["predictor"], *(entry["predictor"] for entry in spec.get("canary", []))]
    return {deployment(model, predictor) for predictor in predictors}


def has_routes(kube: Kube, model: str) -> bool:
    """Return whether KServe makes HTTPRoutes for a model, so that its predictors can have shares."""
    try:
        return kube.get(ROUTE, model) is not None
    except Unserved:
        return False


def routes_of(kube: Kube, services: set[str]) -> list[Object]:
    """Return the HTTPRoutes that name one of some Services, with a share or without."""
    try:
        found = kube.list(ROUTE)
    except Unserved:  # no Gateway API: nothing has shares
        return []
    return [route for route in found if services & set(_shares(route))]


def until_quiet(
    kube: Kube, lease: Lease, services: set[str], leaving: set[str], timeout: float, *, settle: bool = True
) -> None:
    """Return when no HTTPRoute gives `leaving` a share, and all gateways have accepted the routes as they are.

    Args:
        services: Whose routes are looked at.
        settle: Whether a share was just moved: a gateway accepts before the last of its proxies has heard of it.

    Raises:
        NotReady: They have not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        lease.renew()
        pending = [reason for route in routes_of(kube, services) for reason in _pending(route, leaving)]
        if not pending:
            time.sleep(kube.pace.settle if settle else 0)
            return
        settle = True
        if time.monotonic() > deadline:
            raise NotReady(f"traffic did not move within {timeout:.0f} s: {'; '.join(pending)}")
        time.sleep(kube.pace.poll)


def tidy(kube: Kube, model: str) -> None:
    """Remove the autoscalers of predictors that are gone; KServe leaves them, and they complain for ever."""
    live = kube.get(SERVICE, model)
    if live is None:
        return  # the garbage collector takes them with their owner
    kept = deployments(live)
    for item in kube.list(AUTOSCALER, f"{OWNER_LABEL}={model}"):
        if item["spec"]["scaleTargetRef"]["name"] not in kept:
            kube.delete(AUTOSCALER, item["metadata"]["name"])


def _empty(
    kube: Kube,
    lease: Lease,
    live: Object,
    wanted: Object,
    leaving: set[str],
    timeout: float,
    prove: Callable[[], None],
) -> None:
    """Take every share from what leaves, and return when the gateways have accepted that."""
    model, stable = live["metadata"]["name"], applied(live)
    champion = deployment(model, live["spec"]["predictor"])
    services = deployments(live) | deployments(wanted)
    _end_trial(kube, lease, model, services, leaving - {champion}, champion, timeout)
    before = live["spec"].get("canary", [])
    entries = [{**entry, "trafficPercent": 0} if _named(model, entry) in leaving else entry for entry in before]
    moved = entries != before
    if moved:
        lease.renew(now=True)
        kube.apply({**stable, "spec": {**stable["spec"], "canary": entries}})
    until_quiet(kube, lease, services, leaving - {champion}, timeout, settle=moved)
    if champion in leaving:  # it keeps its name where nothing has shares
        entry = canary_entry(wanted["spec"]["predictor"], 100, live["spec"]["predictor"])
        lease.renew(now=True)
        kube.apply({**stable, "spec": {**stable["spec"], "canary": [entry]}})
        version = entry["predictor"]["annotations"][VERSION]
        until_ready(kube, lease, model, _named(model, entry), version, timeout)
        until_quiet(kube, lease, services, leaving, timeout)
        prove()


def _end_trial(
    kube: Kube, lease: Lease, model: str, services: set[str], leaving: set[str], champion: str, timeout: float
) -> None:
    """Let the route of a trial lead to the champion only, and remove it once the gateway has accepted that."""
    route = kube.get(ROUTE, routes.name_of(model)) if leaving else None
    if route is None:
        return
    lease.renew(now=True)
    kube.apply(routes.alone(route, leaving, champion))
    until_quiet(kube, lease, services, leaving, timeout)
    kube.delete(ROUTE, routes.name_of(model))
    time.sleep(kube.pace.settle)


def _is_alive(kube: Kube, live: Object) -> bool:
    """Return whether the stable predictor has pods that answer; KServe leaves the routes of a dead one as they are."""
    found = kube.get(DEPLOYMENT, deployment(live["metadata"]["name"], live["spec"]["predictor"])) or {}
    alive = int(found.get("status", {}).get("availableReplicas") or 0) > 0
    if not alive:
        log.warning("no pod of the stable predictor answers", extra={"model": live["metadata"]["name"]})
    return alive


def _named(model: str, entry: Object) -> str:
    return deployment(model, entry["predictor"])


def _shares(route: Object) -> dict[str, int]:
    """Return Service -> the largest weight that any rule of a route gives it; a mirror counts as one."""
    found: dict[str, int] = {}
    for rule in route["spec"].get("rules", []):
        mirrors = [item["requestMirror"]["backendRef"] for item in rule.get("filters", []) if "requestMirror" in item]
        for backend in (*rule.get("backendRefs", []), *mirrors):
            weight = int(backend.get("weight", 1))  # the Gateway API's default
            found[backend["name"]] = max(weight, found.get(backend["name"], 0))
    return found


def _pending(route: Object, leaving: set[str]) -> list[str]:
    """Return what is still to happen before a route is done with Services."""
    name, generation = route["metadata"]["name"], int(route["metadata"].get("generation", 0))
    shares = _shares(route)
    reasons = [f"HTTPRoute {name} still names {service}" for service in sorted(leaving) if shares.get(service)]
    parents = route.get("status", {}).get("parents", [])
    states = [_accepted(parent, generation) for parent in parents] or ["no gateway has looked at it"]
    return reasons + [f"HTTPRoute {name}: {state}" for state in states if state]


def _accepted(parent: Object, generation: int) -> str:
    """Return why a gateway has not accepted a generation of a route, empty when it has."""
    gateway = parent.get("parentRef", {}).get("name", "")
    for condition in parent.get("conditions", []):
        if condition["type"] == "Accepted":
            if int(condition.get("observedGeneration", 0)) < generation:
                return f"gateway {gateway} has not looked at generation {generation}"
            if condition["status"] != "True":
                return f"gateway {gateway} refuses it: {condition.get('message') or condition.get('reason')}"
            return ""
    return f"gateway {gateway} has not said whether it accepts it"
