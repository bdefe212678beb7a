"""Waiting for the pods of a version, and the real reason when they do not come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from components.releases import ReleaseError
from components.releases.kube import DEPLOYMENT, EVENT, POD, SERVICE, Kube
from components.releases.lease import Lease
from components.releases.plans import VERSION

STUBBORN = (
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
    "FailedCreate",
)
"""Reasons that rarely go away by waiting."""


class NotReady(ReleaseError):
    """The pods of a version did not become ready in time; the message says why."""


def until_ready(kube: Kube, lease: Lease, model: str, name: str, version: str, timeout: float) -> None:
    """Return when the Deployment of a predictor runs this version on all its pods, and KServe agrees.

    Args:
        name: Of the Deployment.
        version: As its pods are annotated.

    Raises:
        NotReady: It does not within `timeout` seconds, or shows a reason that waiting will not cure.
    """
    deadline, stubborn_since = time.monotonic() + timeout, 0.0
    while True:
        lease.renew()
        service, found = kube.get(SERVICE, model), kube.get(DEPLOYMENT, name)
        if service and found and _is_rolled_out(found, version) and _agrees(service, version):
            return
        now = time.monotonic()
        reasons = list(_reasons(kube, model, service, found, version))
        stubborn = any(word in reason for reason in reasons for word in STUBBORN)
        stubborn_since = (stubborn_since or now) if stubborn else 0.0
        gave_up = stubborn and now - stubborn_since > kube.pace.give_up
        if now > deadline or gave_up:
            said = "; ".join(dict.fromkeys(reasons)) or "no pod reports a reason"
            raise NotReady(
                f"{name} did not become ready within {kube.pace.give_up if gave_up else timeout:.0f} s: {said}"
            )
        time.sleep(kube.pace.poll)


def until_gone(kube: Kube, lease: Lease, name: str, timeout: float) -> None:
    """Return when a Deployment is gone.

    Raises:
        NotReady: It is still there after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while kube.get(DEPLOYMENT, name) is not None:
        if time.monotonic() > deadline:
            raise NotReady(f"{name} was not removed within {timeout:.0f} s: does KServe's controller run?")
        lease.renew()
        time.sleep(kube.pace.poll)


def _is_rolled_out(found: dict[str, Any], version: str) -> bool:
    spec, status = found["spec"], found.get("status", {})
    replicas = int(spec.get("replicas", 1))
    annotations = spec["template"]["metadata"].get("annotations") or {}
    return (
        annotations.get(VERSION) == version
        and status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) >= replicas
        and status.get("availableReplicas", 0) >= replicas
    )


def _agrees(service: dict[str, Any], version: str) -> bool:
    """Return whether KServe routes to the version: it is ready and, as a canary, listed as ready."""
    status = service.get("status", {})
    canaries = [entry["predictor"] for entry in service["spec"].get("canary", [])]
    mine = [item["name"] for item in canaries if (item.get("annotations") or {}).get(VERSION) == version]
    ready = {item["name"] for item in status.get("canaryStatuses", []) if item.get("ready")}
    return _condition(status, "Ready").get("status") == "True" and all(name in ready for name in mine)


def _reasons(
    kube: Kube, model: str, service: dict[str, Any] | None, found: dict[str, Any] | None, version: str
) -> Iterator[str]:
    """Yield everything the cluster says about why a version is not ready, most specific first."""
    pods = kube.list(POD, f"serving.kserve.io/inferenceservice={model}")
    mine = [pod for pod in pods if (pod["metadata"].get("annotations") or {}).get(VERSION) == version]
    for pod in mine:
        yield from _pod_reasons(kube, pod)
    for condition in (found or {}).get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield f"{condition.get('reason')}: {condition.get('message')}"
    status = (service or {}).get("status", {})
    failure = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    if failure.get("message"):
        yield f"KServe: {failure.get('reason', 'failed')}: {failure['message']}"
    if found is None:
        ready = _condition(status, "Ready")
        yield f"KServe has not made the Deployment ({ready.get('message') or ready.get('reason') or 'no status yet'})"


def _pod_reasons(kube: Kube, pod: dict[str, Any]) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"{name} cannot be scheduled: {scheduled.get('message')}"
    for kind, title in (("initContainerStatuses", "init container "), ("containerStatuses", "")):
        for container in status.get(kind, []):
            yield from _container_reasons(kube, name, title, container)
    if any(
        not item.get("ready") and "running" in item.get("state", {}) for item in status.get("containerStatuses", [])
    ):
        yield from _probe_failures(kube, name)


def _container_reasons(kube: Kube, pod: str, title: str, container: dict[str, Any]) -> Iterator[str]:
    who = f"{title}{container['name']} of {pod}"
    waiting = container.get("state", {}).get("waiting") or {}
    ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated") or {}
    if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
        yield f"{who}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    if ended and ended.get("exitCode", 0) != 0:
        said = ended.get("message", "").strip() or kube.last_words(pod, container["name"])
        yield f"{who} ended with {ended.get('reason', 'Error')} {ended['exitCode']}" + (f": {said}" if said else "")


def _probe_failures(kube: Kube, pod: str) -> Iterator[str]:
    for event in kube.list(EVENT):
        if event["involvedObject"].get("name") == pod and event.get("reason") == "Unhealthy":
            yield f"{pod}: {event.get('message')}"


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((item for item in status.get("conditions", []) if item["type"] == kind), {})
