"""A stand-in for KServe's controller in Standard mode, as far as releases can see it.

From the InferenceService it makes Deployments, pods and Services for the stable predictor and the canaries, starts
what the `Workload` says, writes status as KServe 0.21 does, moves the gateway's weights to ready canaries only, and
removes the Deployments that nothing refers to. Field behaviour follows KServe's
pkg/controller/v1beta1/inferenceservice/components/predictor.go at aaac4e2.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

from apiserver import ApiServer, Object

OWNER = "serving.kserve.io/inferenceservice"


class Workload(Protocol):
    """What runs in pods."""

    def start(self, deployment: str, model: str, predictor: Object, replicas: int) -> Object:
        """Make a Deployment's pods run a predictor; return its state: port (None: not ready), pods, conditions, log."""

    def stop(self, deployment: str) -> None:
        """End the pods of a Deployment."""

    def route(self, model: str, weights: dict[str, int]) -> None:
        """Send a model's traffic by Deployment name."""

    def overlay(self, model: str, http_route: Object | None) -> None:
        """Obey an HTTPRoute with more specific matches than KServe's."""


class KServe:
    """Reconciles until closed."""

    def __init__(self, api: ApiServer, workload: Workload) -> None:
        self._api, self._workload = api, workload
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reconciling and end all pods."""
        self._closed = True
        self._thread.join(10)
        for item in self._deployments():
            self._workload.stop(item["metadata"]["name"])

    def _run(self) -> None:
        while not self._closed:
            services = self._api.list("inferenceservices")
            wanted: set[str] = set()
            for service in services:
                wanted |= self._reconcile(service)
            for item in self._deployments():
                if item["metadata"]["name"] not in wanted:
                    self._remove(item["metadata"]["name"])
            with self._api.changed:
                self._api.changed.wait(0.05)

    def _deployments(self) -> list[Object]:
        return [item for item in self._api.list("deployments") if OWNER in item["metadata"].get("labels", {})]

    def _reconcile(self, service: Object) -> set[str]:
        name, stable = service["metadata"]["name"], service["spec"]["predictor"]
        status: Object = dict(service.get("status", {}))
        ready = self._deploy(name, stable, int(stable.get("minReplicas", 1)))
        weights, statuses = {}, []
        for entry in service["spec"].get("canary", []):
            predictor = _merged(stable, entry["predictor"])
            usable = self._deploy(name, predictor, int(predictor.get("minReplicas", 1)))
            percent = entry["trafficPercent"]
            statuses.append({"name": predictor["name"], "ready": usable, "trafficPercent": percent})
            if usable and percent:
                weights[_deployment(name, predictor)] = percent
        weights[_deployment(name, stable)] = 100 - sum(weights.values())
        self._workload.route(name, weights)
        self._publish(name)
        self._workload.overlay(name, self._api.get("httproutes", f"{name}-trial"))
        status["conditions"] = [{"type": "Ready", "status": "True" if ready else "False"}]
        status["url"] = f"http://{name}-{self._api.namespace}.example.com"
        status["canaryStatuses"] = statuses
        self._api.set_status("inferenceservices", name, status)
        entries = [_merged(stable, entry["predictor"]) for entry in service["spec"].get("canary", [])]
        return {_deployment(name, predictor) for predictor in [stable, *entries]}

    def _publish(self, name: str) -> None:
        """Make the HTTPRoute that others take gateway and host from; its rules are `route`."""
        gateway = {"name": "kserve-ingress-gateway", "namespace": "kserve"}
        spec = {"parentRefs": [gateway], "hostnames": [f"{name}-{self._api.namespace}.example.com"]}
        known = self._api.get("httproutes", name) or {"metadata": {"name": name}}
        if "httproutes" not in self._api.absent:
            self._api.put("httproutes", {**known, "spec": spec})

    def _deploy(self, model: str, predictor: Object, replicas: int) -> bool:
        name = _deployment(model, predictor)
        template = {"metadata": {"annotations": dict(predictor["annotations"])}}
        known = self._api.get("deployments", name) or {"metadata": {"name": name, "labels": {OWNER: model}}}
        written = self._api.put("deployments", {**known, "spec": {"replicas": replicas, "template": template}})
        state = self._workload.start(name, model, predictor, replicas)
        port = state.get("port")
        if port is not None:
            self._api.ports[name] = port
        pods = state.get("pods", [])
        if "log" in state:
            running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            pods = [{"suffix": predictor["annotations"]["headrace/version"].removeprefix("v"), "status": running}]
            self._api.logs[f"{name}-{pods[0]['suffix']}"] = state["log"]
        for pod in pods:
            metadata = {
                "name": f"{name}-{pod['suffix']}",
                "labels": {OWNER: model},
                "annotations": template["metadata"]["annotations"],
            }
            self._api.put("pods", {"metadata": metadata, "status": pod["status"], "log": pod.get("log", "")})
        available = replicas if state.get("ready") else 0
        counts = {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available}
        generation = written["metadata"]["generation"]
        status = {**counts, "observedGeneration": generation, "conditions": state.get("conditions", [])}
        self._api.set_status("deployments", name, status)
        return bool(available or state.get("old"))

    def _remove(self, name: str) -> None:
        self._api.ports.pop(name, None)
        self._workload.stop(name)
        self._api.remove("deployments", name)
        for pod in self._api.list("pods"):
            if pod["metadata"]["name"].startswith(f"{name}-"):
                self._api.remove("pods", pod["metadata"]["name"])


def _deployment(model: str, predictor: Object) -> str:
    return f"{model}-{predictor['name']}-predictor" if predictor.get("name") else f"{model}-predictor"


def _merged(stable: Any, canary: Any) -> Any:
    """KServe merges a canary over the stable predictor; empty values do not override."""
    if isinstance(stable, dict) and isinstance(canary, dict):
        return {**stable, **{key: _merged(stable.get(key), value) for key, value in canary.items()}}
    return canary if canary not in (None, "", [], {}) else stable
