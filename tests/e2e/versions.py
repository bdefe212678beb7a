"""Versions of everything that a run of the suite ran on, as the cluster tells them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import record as records
from provider import ROOT, Cluster

PARTS = {
    "KServe": "kserve-controller",
    "Envoy Gateway": "envoyproxy/gateway",
    "Envoy": "envoyproxy/envoy",
    "Kubeflow Pipelines": "kfp-api-server",
    "Argo Workflows": "workflow-controller",
    "Prometheus operator": "prometheus-operator:",
    "Prometheus": "prometheus/prometheus:",
    "metrics-server": "metrics-server",
    "SeaweedFS": "seaweedfs",
    "Postgres": "postgres:",
}
"""Part -> what the name of its image contains."""


def write_record(cluster: Cluster, prefix: str, folder: Path) -> Path:
    """Write what was done on a cluster until now, and return the file."""
    text = records.page(cluster.record.steps, found(cluster.kubectl, prefix), cluster.described)
    return records.write(folder, text)


def found(kubectl: Callable[..., str], prefix: str) -> dict[str, str]:
    """Return part -> version.

    Args:
        prefix: Of the names of our images.
    """
    server = json.loads(kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
    images = sorted(_images(kubectl))
    parts = {"Headrace": _git(), "Kubernetes": server, **_nodes(kubectl), **_bundle(kubectl)}
    for part, word in PARTS.items():
        if known := [image for image in images if word in image]:
            parts[part] = ", ".join(_short(image) for image in known)
    if ours := [image for image in images if image.startswith(f"{prefix}/")]:
        parts["our images"] = ", ".join(image.removeprefix(f"{prefix}/") for image in ours)
    return parts


def _git() -> str:
    said = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def _images(kubectl: Callable[..., str]) -> set[str]:
    """Return the images of all pods."""
    pods = json.loads(kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"]
    specs = [pod["spec"] for pod in pods if "spec" in pod]
    return {item["image"] for spec in specs for kind in ("initContainers", "containers") for item in spec.get(kind, [])}


def _nodes(kubectl: Callable[..., str]) -> dict[str, str]:
    nodes = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    if not nodes:
        return {}
    one = nodes[0]["status"]
    names = one["nodeInfo"]
    size = f"{one['capacity']['cpu']} CPUs, {one['capacity']['memory']}"
    return {"nodes": f"{len(nodes)} of {size}, {names['containerRuntimeVersion']}, Linux {names['kernelVersion']}"}


def _bundle(kubectl: Callable[..., str]) -> dict[str, str]:
    """Return the version of the Gateway API, which its types carry."""
    kind = "customresourcedefinition/gateways.gateway.networking.k8s.io"
    said = json.loads(kubectl("get", kind, "--ignore-not-found", "--output=json") or "{}")
    version = said.get("metadata", {}).get("annotations", {}).get("gateway.networking.k8s.io/bundle-version")
    return {"Gateway API": version} if version else {}


def _short(image: str) -> str:
    """Return the tag of an image, or the beginning of its digest."""
    match = re.search(r":([^:@/]+)(?:@|$)", image)
    return match[1] if match else image.rpartition("@")[2][:19] or image
