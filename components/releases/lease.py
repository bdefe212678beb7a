"""One release of a model at a time, in one cluster: a coordination.k8s.io Lease that is renewed while it is needed."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from components.releases import ReleaseError
from components.releases.kube import LEASE, Conflict, Kube, KubeError

FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class LeaseLost(ReleaseError):
    """Another release took over; this one must not write any more."""


class Lease:
    """A held lease."""

    def __init__(self, kube: Kube, name: str, holder: str) -> None:
        """Remember whose it is; `held` acquires it."""
        self._kube = kube
        self._name = name
        self.holder = holder
        self._renewed = time.monotonic()

    def renew(self, *, now: bool = False) -> None:
        """Tell the cluster that we are alive, if it is time; with `now`, prove that the lease is still ours.

        Raises:
            LeaseLost: It is not.
        """
        if not now and time.monotonic() - self._renewed < self._kube.pace.lease / 4:
            return
        for _ in range(5):
            found = self._kube.get(LEASE, self._name)
            if found is None or found["spec"].get("holderIdentity") != self.holder:
                holder = found["spec"].get("holderIdentity") if found else "nobody"
                raise LeaseLost(f"the lease {self._name} was taken over by {holder}: this release stops")
            found["spec"]["renewTime"] = _now()
            with contextlib.suppress(Conflict):
                self._kube.update(LEASE, found)
                self._renewed = time.monotonic()
                return
        raise LeaseLost(f"the lease {self._name} changes all the time: this release stops")

    def release(self) -> None:
        """Let the next one in; a lease that is no longer ours is left alone."""
        with contextlib.suppress(KubeError):  # a lease that cannot be given back runs out
            found = self._kube.get(LEASE, self._name)
            if found and found["spec"].get("holderIdentity") == self.holder:
                found["spec"]["holderIdentity"] = ""
                self._kube.update(LEASE, found)


@contextlib.contextmanager
def held(kube: Kube, name: str) -> Iterator[Lease]:
    """Hold a lease; a holder that has been silent for longer than it lasts is replaced.

    Raises:
        ReleaseError: Somebody living holds it for too long.
    """
    lease = Lease(kube, name, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    deadline = time.monotonic() + kube.pace.lease_wait
    while not _taken(kube, name, lease.holder):
        if time.monotonic() > deadline:
            holder = holder_of(kube, name)
            raise ReleaseError(f"another release holds {name} ({holder}): wait for it to finish and run again")
        time.sleep(kube.pace.poll)
    try:
        yield lease
    finally:
        lease.release()


def holder_of(kube: Kube, name: str) -> str:
    """Return who holds a lease and is alive, empty when it is free."""
    found = kube.get(LEASE, name)
    return "" if found is None or _is_free(kube, found) else str(found["spec"]["holderIdentity"])


def _taken(kube: Kube, name: str, holder: str) -> bool:
    """Try once to make the lease ours."""
    found = kube.get(LEASE, name)
    try:
        if found is None:
            kube.create(LEASE, _body(kube, name, holder))
            return True
        if found["spec"].get("holderIdentity") != holder and not _is_free(kube, found):
            return False
        found["spec"] = {**_body(kube, name, holder)["spec"], "leaseTransitions": _transitions(found) + 1}
        kube.update(LEASE, found)
        return True
    except Conflict:
        return False


def _body(kube: Kube, name: str, holder: str) -> dict[str, Any]:
    moment = _now()
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": max(1, round(kube.pace.lease)),
        "acquireTime": moment,
        "renewTime": moment,
        "leaseTransitions": 0,
    }
    labels = {"app.kubernetes.io/part-of": "headrace", "app.kubernetes.io/managed-by": "headrace"}
    return {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def _is_free(kube: Kube, found: dict[str, Any]) -> bool:
    spec = found["spec"]
    if not spec.get("holderIdentity"):
        return True
    renewed = datetime.strptime(spec["renewTime"], FORMAT).replace(tzinfo=UTC)
    silent = (datetime.now(UTC) - renewed).total_seconds()
    return silent > float(spec["leaseDurationSeconds"]) + kube.pace.skew


def _transitions(found: dict[str, Any]) -> int:
    return int(found["spec"].get("leaseTransitions", 0))


def _now() -> str:
    return datetime.now(UTC).strftime(FORMAT)
