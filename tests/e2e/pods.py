"""Pods that the suite starts in a cluster: the client that makes the load, strangers for network policies."""

from __future__ import annotations

import json
from typing import Any

from provider import HERE, Cluster

OURS = {"headrace-e2e": "true"}
"""What the suite makes carries this label, and goes by it."""
CLIENT, PROBE = "headrace-e2e-client", "headrace-e2e-port"
SEALED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
PERSON = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
KEYS = [{"secretRef": {"name": "headrace-s3"}}]


def platform(namespace: str) -> list[dict[str, str]]:
    """Return the variables that lead a pod to the chart's store and registry."""
    places = {
        "AWS_ENDPOINT_URL": f"http://headrace-store.{namespace}:8333",
        "MLFLOW_TRACKING_URI": f"http://headrace-mlflow.{namespace}:5000",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return [{"name": name, "value": value} for name, value in places.items()]


def client(cluster: Cluster, image: str) -> None:
    """Start the client's pod, once; `caller.py` is in its folder /client."""
    data = {"caller.py": (HERE / "caller.py").read_text()}
    metadata = {"name": CLIENT, "labels": OURS}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    mounts = [{"name": "program", "mountPath": "/client"}]
    volumes = [{"name": "program", "configMap": {"name": CLIENT}}]
    if not cluster.kubectl("get", "pod", CLIENT, "--ignore-not-found"):
        sleeping = "import signal; signal.pause()"
        cluster.apply(_pod(CLIENT, image, sleeping, {"volumeMounts": mounts}, {"volumes": volumes}))
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{CLIENT}", "--timeout=120s")


def connects(cluster: Cluster, image: str, host: str, port: int) -> bool:
    """Return whether a pod that nobody knows can open a connection to a Service."""
    name = f"headrace-e2e-stranger-{port}"
    script = f"import socket; socket.create_connection(({host!r}, {port}), 5).close()"
    pod = _pod(name, image, script, {}, {"restartPolicy": "Never"})
    pod["metadata"]["labels"] = {**OURS, PROBE: str(port)}
    cluster.apply(pod)
    try:
        words = ("wait", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", f"pod/{name}")
        cluster.kubectl(*words, "--timeout=120s")
        status = cluster.objects_named("pod", name)["status"]
        return bool(status["phase"] == "Succeeded")
    finally:
        cluster.kubectl("delete", "pod", name, "--wait")


def are_policies_enforced(cluster: Cluster, image: str) -> bool:
    """Return whether a policy that lets a pod reach nothing keeps it from reaching the API server."""
    if not connects(cluster, image, "kubernetes.default", 443):
        return False  # something else is in the way: nothing can be told
    metadata = {"name": "headrace-e2e-nothing", "labels": OURS}
    spec = {"podSelector": {"matchLabels": {PROBE: "443"}}, "policyTypes": ["Egress"], "egress": []}
    item = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    cluster.apply(item)
    try:
        return not connects(cluster, image, "kubernetes.default", 443)
    finally:
        cluster.kubectl("delete", "networkpolicy", metadata["name"])


def _pod(name: str, image: str, script: str, container: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    known = {
        "name": "client",
        "image": image,
        "command": ["python", "-c", script],
        "securityContext": SEALED,
        "resources": {"requests": {"cpu": "50m", "memory": "48Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}},
        **container,
    }
    whole = {"automountServiceAccountToken": False, "securityContext": PERSON, "containers": [known]}
    metadata = {"name": name, "labels": OURS}
    written = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**whole, **spec}}
    return dict(json.loads(json.dumps(written)))
