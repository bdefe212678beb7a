"""Making the champion the only one that serves, whatever an InferenceService is in the middle of."""

from __future__ import annotations

from typing import Any

from components.releases.handover import hand_over
from components.releases.kube import SERVICE, Kube
from components.releases.lease import Lease


def restore(
    kube: Kube, lease: Lease, model: str, serving: dict[str, Any] | None, timeout: float
) -> dict[str, Any] | None:
    """Put back what served before, and return it as it serves now; nothing is put back when nothing did.

    Args:
        serving: The InferenceService of the champion as it was applied, None before the first release.
        timeout: Seconds until its pods must be ready, if they have to be started again.
    """
    lease.renew(now=True)
    if serving is None:
        kube.delete(SERVICE, model)
        return None
    return hand_over(kube, lease, serving, timeout)
