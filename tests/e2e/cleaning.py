"""Removes what the suite left in a cluster: `make e2e-clean KUBECONFIG=...`, and the end of a run without --keep."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import pods
from provider import Cluster

COMMAND = "make e2e-clean KUBECONFIG=..."
RELEASED = "inferenceservices,configmaps,leases,httproutes,poddisruptionbudgets,horizontalpodautoscalers"
KEPT = "persistentvolumeclaims,secrets"
OURS = "app.kubernetes.io/part-of=headrace"
SCHEDULE = "headrace-e2e"
"""Name of the recurring run that the suite makes."""


def clean(cluster: Cluster) -> list[str]:
    """Remove models, recurring run, the chart with its data, and the suite's own pods and namespaces.

    Returns:
        What could not be removed, in words; the rest is removed nevertheless.
    """
    known = set(cluster.kubectl("api-resources", "--output=name").split())
    served = ",".join(kind for kind in RELEASED.split(",") if any(name.split(".")[0] == kind for name in known))
    mine = ",".join(f"{key}={value}" for key, value in pods.OURS.items())
    steps = [
        lambda: _unschedule(cluster),
        lambda: cluster.kubectl("delete", served, f"--selector={OURS},app.kubernetes.io/managed-by=headrace", "--wait"),
        lambda: cluster.helm("uninstall", "headrace", "--ignore-not-found", "--wait", "--timeout=10m"),
        lambda: cluster.kubectl("delete", KEPT, f"--selector={OURS}", "--wait"),
        lambda: cluster.kubectl("delete", "pods,jobs,configmaps,networkpolicies", f"--selector={mine}", "--wait"),
    ]
    if "namespaces" in cluster.capabilities:
        steps.append(lambda: cluster.kubectl("delete", "namespaces", f"--selector={mine}", "--wait"))
    troubles = []
    for step in steps:
        try:
            step()
        except (AssertionError, OSError) as error:
            troubles.append(str(error))
    return troubles


def _unschedule(cluster: Cluster) -> None:
    """Remove the recurring run, if there is one and KFP answers."""
    if "pipelines" in cluster.capabilities and "namespaces" in cluster.capabilities:
        words = ("schedule", "--remove", "--name", SCHEDULE, "iris", "--host", cluster.pipelines_host())
        with contextlib.suppress(AssertionError):
            cluster.run(sys.executable, "-m", "pipelines", *words)


def main() -> int:
    """Clean the cluster of KUBECONFIG."""
    from real import Real

    with tempfile.TemporaryDirectory() as folder:
        cluster = Real(Path(folder), str(Path(os.environ["KUBECONFIG"]).expanduser()))
        try:
            troubles = clean(cluster)
        finally:
            cluster.close()
    for trouble in troubles:
        sys.stderr.write(f"{trouble}\n")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
