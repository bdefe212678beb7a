"""Making the champion the only one that serves, whatever an InferenceService is in the middle of."""

from __future__ import annotations

import logging
import time
from typing import Any

from components.releases.kube import ROUTE, SERVICE, Kube
from components.releases.lease import Lease
from components.releases.plans import TRIAL, VERSION, canary_entry, deployment
from components.releases.routes import name_of
from components.releases.wait import until_gone, until_ready

log = logging.getLogger(__name__)


def restore(kube: Kube, lease: Lease, model: str, serving: dict[str, Any] | None, timeout: float) -> None:
    """Put back what served before; nothing is put back when nothing did.

    Args:
        serving: The InferenceService of the champion as it was applied, None before the first release.
        timeout: Seconds until its pods must be ready, if they have to be started again.
    """
    lease.renew(now=True)
    live = kube.get(SERVICE, model)
    if serving is None:
        kube.delete(SERVICE, model)
        return
    champion = serving["spec"]["predictor"]
    if live and trial_entry(live):  # its route first: it leads to pods that are about to go
        kube.delete(ROUTE, name_of(model))
        time.sleep(kube.pace.settle)
    spec = live["spec"] if live else {"predictor": champion}
    others = [spec["predictor"], *(entry["predictor"] for entry in spec.get("canary", []))]
    if live and champion.get("name") != live["spec"]["predictor"].get("name"):
        # Its Deployment went when the other one took over: start it again beside that, then change over.
        stable = applied(live)
        entry = canary_entry(champion, 100, stable["spec"]["predictor"])
        kube.apply({**stable, "spec": {**stable["spec"], "canary": [entry]}})
        _await(kube, lease, model, entry["predictor"], timeout)
        time.sleep(kube.pace.settle)
        lease.renew(now=True)
    kube.apply(serving)
    _await(kube, lease, model, champion, timeout)
    kept = deployment(model, champion)
    for name in {deployment(model, predictor) for predictor in others} - {kept}:
        until_gone(kube, lease, name, timeout)


def applied(live: dict[str, Any]) -> dict[str, Any]:
    """Return what must have been applied for the stable predictor of a live InferenceService."""
    metadata = {key: live["metadata"][key] for key in ("name", "labels", "annotations") if key in live["metadata"]}
    spec = {"predictor": live["spec"]["predictor"]}
    return {"apiVersion": SERVICE.api_version, "kind": SERVICE.kind, "metadata": metadata, "spec": spec}


def trial_entry(service: dict[str, Any]) -> dict[str, Any] | None:
    """Return the entry of spec.canary[] that a trial made, None when there is none."""
    entries = service.get("spec", {}).get("canary", [])
    return next((entry for entry in entries if TRIAL in (entry["predictor"].get("annotations") or {})), None)


def _await(kube: Kube, lease: Lease, model: str, predictor: dict[str, Any], timeout: float) -> None:
    until_ready(kube, lease, model, deployment(model, predictor), predictor["annotations"][VERSION], timeout)
