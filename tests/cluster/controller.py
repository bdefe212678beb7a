"""A stand-in for KServe's controller in Standard mode, as far as releases can see it.

From the InferenceService it makes Deployments, Services, autoscalers and HTTPRoutes for the stable predictor and the
canaries, starts what the `Workload` says, and writes status as KServe 0.21 does. The order is KServe's: predictors
first, and what no predictor needs any more is deleted at once; the HTTPRoutes a moment later, and only while the stable
predictor is ready; then status. Autoscalers of predictors that went stay behind, as KServe leaves them. Field behaviour
follows pkg/controller/v1beta1/inferenceservice at aaac4e2 (components/predictor.go, reconcilers/ingress, hpa), and what
was seen of it on a real cluster.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from apiserver import ApiServer, Object
from envoygateway import EnvoyGateway
from loop import Loop

OWNER, COMPONENT = "serving.kserve.io/inferenceservice", "component"
CLASS = "serving.kserve.io/autoscalerClass"
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "kserve"}
LAG_SECONDS = 0.15
"""Measured on a real cluster between the deletion of a Service and the change of the HTTPRoute: 0.15 to 0.2 s."""


class Workload(Protocol):
    """What runs in pods, and the gateway before it."""

    def start(self, deployment: str, model: str, predictor: Object, replicas: int) -> Object:
        """Make a Deployment's pods run a predictor; return its state: port (None: not ready), pods, conditions, log."""

    def stop(self, deployment: str) -> None:
        """End the pods of a Deployment."""

    def route(self, model: str, weights: dict[str, int], gone: frozenset[str]) -> None:
        """Send a model's traffic by Service name; to those that are gone it fails."""

    def overlay(self, model: str, http_route: Object | None, gone: frozenset[str]) -> None:
        """Obey an HTTPRoute with more specific matches than KServe's."""


class KServe:
    """Reconciles until closed; an `EnvoyGateway` follows its routes."""

    def __init__(self, api: ApiServer, workload: Workload, lag: float = LAG_SECONDS) -> None:
        """Start.

        Args:
            lag: Seconds between what happens to predictors and what happens to routes, and until the gateway follows.
        """
        self._api, self._workload, self._lag = api, workload, lag
        self._running: set[str] = set()
        self.gateway = EnvoyGateway(api, workload, lag / 2)
        self._loop = Loop(api, self._look, 0.05)

    def close(self) -> None:
        """Stop reconciling and end all pods."""
        self._loop.close()
        self.gateway.close()
        for name in self._running:
            self._workload.stop(name)

    def _look(self) -> None:
        for service in self._api.list("inferenceservices"):
            self._reconcile(service)
        self._end_pods()

    def _reconcile(self, service: Object) -> None:
        name, stable, entries = service["metadata"]["name"], service["spec"]["predictor"], _entries(service)
        status: Object = dict(service.get("status", {}))
        ready = self._deploy(service, stable, _stable_replicas(service), scaled=True)
        statuses = []
        for entry, predictor in entries:
            usable = self._deploy(service, predictor, _canary_replicas(service, entry), scaled=False)
            percent = entry.get("trafficPercent", 0)
            statuses.append({"name": predictor["name"], "ready": usable, "trafficPercent": percent})
        self._clean_up(name, {_deployment(name, predictor) for predictor in [stable, *(one for _, one in entries)]})
        routed = self._route(service, statuses) if ready else self._is_routed(name)
        conditions = {"PredictorReady": ready, "IngressReady": routed, "Ready": ready and routed}
        if entries:
            conditions["CanaryPredictorReady"] = all(item["ready"] for item in statuses)
        status["conditions"] = [
            {"type": kind, "status": "True" if true else "False"} for kind, true in conditions.items()
        ]
        status |= {"url": f"http://{self._host(name)}", "canaryStatuses": statuses, "deploymentMode": "Standard"}
        if self._api.get("inferenceservices", name):
            self._api.set_status("inferenceservices", name, status)

    def _clean_up(self, model: str, expected: set[str]) -> None:
        """Delete the Deployments and Services that no predictor has any more, whatever routes name them."""
        for plural in ("deployments", "services"):
            for item in self._api.list(plural):
                name = item["metadata"]["name"]
                if item["metadata"].get("labels", {}).get(OWNER) == model and name not in expected:
                    self._api.remove(plural, name)

    def _end_pods(self) -> None:
        """End the pods of Deployments that were deleted, by clean-up or with their InferenceService."""
        for name in self._running - {item["metadata"]["name"] for item in self._api.list("deployments")}:
            self._running.discard(name)
            self._api.ports.pop(name, None)
            self._workload.stop(name)
            for pod in self._api.list("pods"):
                if pod["metadata"]["name"].startswith(f"{name}-"):
                    self._api.remove("pods", pod["metadata"]["name"])

    def _deploy(self, service: Object, predictor: Object, replicas: int, *, scaled: bool) -> bool:
        model = service["metadata"]["name"]
        name = _deployment(model, predictor)
        template = {"metadata": {"annotations": dict(predictor["annotations"])}}
        written = self._owned(service, "deployments", name, {"replicas": replicas, "template": template})
        ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "grpc", "port": 8081, "targetPort": 8081}]
        self._owned(service, "services", name, {"selector": {"app": f"isvc.{name}"}, "ports": ports})
        self._scale(service, predictor, name, replicas, scaled=scaled)
        self._running.add(name)
        state = self._workload.start(name, model, predictor, replicas)
        port = state.get("port")
        if port is not None:
            self._api.ports[name] = port
        self._write_pods(model, name, template, state)
        available = replicas if state.get("ready") else 0
        counts = {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available}
        generation = written["metadata"]["generation"]
        status = {**counts, "observedGeneration": generation, "conditions": state.get("conditions", [])}
        self._api.set_status("deployments", name, status)
        return bool(available or state.get("old"))

    def _scale(self, service: Object, predictor: Object, name: str, replicas: int, *, scaled: bool) -> None:
        """Make the autoscaler of a predictor; that of a canary has one size."""
        if (service["metadata"].get("annotations") or {}).get(CLASS, "hpa") != "hpa":
            self._api.remove("horizontalpodautoscalers", name)
            return
        most = max(replicas, predictor.get("maxReplicas", replicas)) if scaled else replicas
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        spec = {"scaleTargetRef": target, "minReplicas": replicas, "maxReplicas": most}
        self._owned(service, "horizontalpodautoscalers", name, spec)

    def _write_pods(self, model: str, name: str, template: Object, state: Object) -> None:
        pods = state.get("pods", [])
        if "log" in state:
            running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            version = template["metadata"]["annotations"]["headrace/version"].removeprefix("v")
            pods = [{"suffix": version, "status": running}]
            self._api.logs[f"{name}-{version}"] = state["log"]
        for pod in pods:
            metadata = {
                "name": f"{name}-{pod['suffix']}",
                "labels": {OWNER: model},
                "annotations": template["metadata"]["annotations"],
            }
            self._api.put("pods", {"metadata": metadata, "status": pod["status"], "log": pod.get("log", "")})

    def _route(self, service: Object, statuses: list[Object]) -> bool:
        """Bring both HTTPRoutes up to date, a moment after the predictors; return whether a gateway takes them."""
        name = service["metadata"]["name"]
        if "httproutes" in self._api.absent:
            return self._ingress(name, service)
        shares = {item["name"]: item["trafficPercent"] for item in statuses if item["ready"]}
        stable = {"name": _deployment(name, service["spec"]["predictor"])}
        if _entries(service):
            stable["weight"] = 100 - sum(shares.values())
        canaries = [{"name": _deployment(name, {"name": one}), "weight": share} for one, share in shares.items()]
        for route in (f"{name}-predictor", name):
            rules = [
                {"matches": matches, "backendRefs": [{**one, "port": port} for one in [stable, *canaries]]}
                for port, matches in ((8081, _GRPC), (80, _HTTP))
            ]
            parents = [{**GATEWAY, "name": "kserve-ingress-gateway"}]
            spec = {"parentRefs": parents, "hostnames": [self._host(route)], "rules": rules}
            known = self._api.get("httproutes", route)
            if known is None or known["spec"] != spec:
                time.sleep(self._lag)
                self._owned(service, "httproutes", route, spec)
        return self._is_routed(name)

    def _ingress(self, name: str, service: Object) -> bool:
        """Without the Gateway API: all traffic goes to the stable predictor."""
        self._workload.route(name, {_deployment(name, service["spec"]["predictor"]): 100}, frozenset())
        return True

    def _is_routed(self, name: str) -> bool:
        found = self._api.get("httproutes", name) or {}
        parents = found.get("status", {}).get("parents", [])
        refused = [item for parent in parents for item in parent["conditions"] if item["status"] == "False"]
        return "httproutes" in self._api.absent or bool(parents and not refused)

    def _host(self, name: str) -> str:
        return f"{name}-{self._api.namespace}.example.com"

    def _owned(self, service: Object, plural: str, name: str, spec: Object) -> Object:
        """Write an object that goes with the InferenceService."""
        metadata = service["metadata"]
        owner = {"apiVersion": service["apiVersion"], "kind": service["kind"], "name": metadata["name"]}
        owner |= {"uid": metadata["uid"], "controller": True}
        known = self._api.get(plural, name) or {"metadata": {"name": name}}
        labels = {OWNER: metadata["name"], COMPONENT: "predictor"}
        written = {**known["metadata"], "labels": labels, "ownerReferences": [owner]}
        with self._api.changed:  # its owner may have been deleted meanwhile
            if self._api.get("inferenceservices", metadata["name"]) is None:
                return {"metadata": {"name": name, "generation": 0}}
            return self._api.put(plural, {**known, "metadata": written, "spec": spec})


_GRPC: list[Object] = [
    {"headers": [{"name": "content-type", "type": "RegularExpression", "value": "application/grpc.*"}]}
]
_HTTP: list[Object] = [{"path": {"type": "PathPrefix", "value": "/"}}]


def _deployment(model: str, predictor: Object) -> str:
    return f"{model}-{predictor['name']}-predictor" if predictor.get("name") else f"{model}-predictor"


def _entries(service: Object) -> list[tuple[Object, Object]]:
    """Return the canaries: as they are written, and merged with the stable predictor."""
    stable = service["spec"]["predictor"]
    return [(entry, _merged(stable, entry["predictor"])) for entry in service["spec"].get("canary") or []]


def _canary_replicas(service: Object, entry: Object) -> int:
    least = service["spec"]["predictor"].get("minReplicas", 1)
    return int(entry["predictor"].get("minReplicas", -(-least * entry.get("trafficPercent", 0) // 100)))


def _stable_replicas(service: Object) -> int:
    """Return the stable predictor's pods: those of the canaries that were ready when last looked at are taken off."""
    least = int(service["spec"]["predictor"].get("minReplicas", 1))
    ready = {item["name"] for item in service.get("status", {}).get("canaryStatuses", []) if item["ready"]}
    taken = [_canary_replicas(service, entry) for entry, predictor in _entries(service) if predictor["name"] in ready]
    return max(1, least - sum(taken)) if taken else least


def _merged(stable: Any, canary: Any) -> Any:
    """KServe merges a canary over the stable predictor; empty values do not override."""
    if isinstance(stable, dict) and isinstance(canary, dict):
        return {**stable, **{key: _merged(stable.get(key), value) for key, value in canary.items()}}
    return canary if canary not in (None, "", [], {}) else stable
