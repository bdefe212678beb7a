"""Finishes what a killed releaser left: `python -m components.releases.sweep`, run by the chart's CronJob.

A release that is told to stop puts the champion back by itself. One whose node dies cannot; its lease runs out, and
the next sweep puts the champion back and records why. A step that is retried meanwhile holds the lease, and is left
alone.
"""

from __future__ import annotations

import json
import logging
import sys

from components.releases import record
from components.releases.kube import SERVICE, Kube, connect
from components.releases.lease import held, holder_of
from components.releases.restore import restore

TIMEOUT_SECONDS = 600.0
REASON = "the releaser disappeared"

log = logging.getLogger(__name__)


def sweep(kube: Kube) -> list[str]:
    """Return the models whose champion was put back."""
    swept = []
    for service in kube.list(SERVICE, "app.kubernetes.io/part-of=headrace"):
        model = service["metadata"]["name"]
        if record.read(kube, model).unfinished is None or holder_of(kube, f"{model}-release"):
            continue
        with held(kube, f"{model}-release") as lease:
            known = record.read(kube, model)
            if known.unfinished is None:
                continue  # it was finished while we waited for the lease
            serving = restore(kube, lease, model, known.serving, TIMEOUT_SECONDS)
            record.end(kube, known, record.ROLLED_BACK, REASON, serving)
            swept.append(model)
    return swept


def main() -> int:
    """Sweep once and say so in one line."""
    sys.stdout.write(json.dumps({"event": "swept", "models": sweep(connect())}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
