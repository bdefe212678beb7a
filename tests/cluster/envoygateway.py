"""A stand-in for Envoy Gateway's controller: the gateway does what HTTPRoutes say, and their status says so.

It follows a changed route a moment later, and then accepts that generation. A Service that a route names and that does
not exist is noticed at once: its share of the traffic fails, as Envoy Gateway answers it with an empty 500.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from apiserver import ApiServer, Object
from loop import Loop

if TYPE_CHECKING:
    from controller import Workload

CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
TRIAL = "-trial"


class EnvoyGateway:
    """Follows until closed.

    Attributes:
        lag: Seconds from a change of a route until the gateway does it.
    """

    def __init__(self, api: ApiServer, workload: Workload, lag: float) -> None:
        """Start."""
        self._api, self._workload, self.lag = api, workload, lag
        self._told: dict[str, tuple[int, frozenset[str]]] = {}
        self._loop = Loop(api, self._look, 0.05)

    def close(self) -> None:
        """Stop following."""
        self._loop.close()

    def _look(self) -> None:
        found = {route["metadata"]["name"]: route for route in self._api.list("httproutes")}
        for name in set(self._told) - set(found):
            del self._told[name]
            if name.endswith(TRIAL):
                self._workload.overlay(name.removesuffix(TRIAL), None, frozenset())
        for route in found.values():
            self._follow(route)

    def _follow(self, route: Object) -> None:
        name, generation = route["metadata"]["name"], route["metadata"]["generation"]
        gone = frozenset(service for service in _named(route) if self._api.get("services", service) is None)
        before = self._told.get(name)
        if before == (generation, gone):
            return
        if before is None or before[0] != generation:
            time.sleep(self.lag)
            if (self._api.get("httproutes", name) or {"metadata": {}})["metadata"].get("generation") != generation:
                return  # it changed again meanwhile: the next look has it
        self._told[name] = generation, gone
        self._tell(route, gone)
        self._accept(route, gone)

    def _tell(self, route: Object, gone: frozenset[str]) -> None:
        name = route["metadata"]["name"]
        if name.endswith(TRIAL):
            self._workload.overlay(name.removesuffix(TRIAL), route, gone)
        elif self._api.get("inferenceservices", name):  # the other route of a model has a host of its own
            shares = {item["name"]: item.get("weight", 100) for item in route["spec"]["rules"][-1]["backendRefs"]}
            self._workload.route(name, {service: share for service, share in shares.items() if share}, gone)

    def _accept(self, route: Object, gone: frozenset[str]) -> None:
        generation = route["metadata"]["generation"]
        states = {"Accepted": True, "ResolvedRefs": not gone}
        conditions = [
            {"type": kind, "status": "True" if true else "False", "observedGeneration": generation}
            for kind, true in states.items()
        ]
        parents = [
            {"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}
            for parent in route["spec"]["parentRefs"]
        ]
        self._api.set_status("httproutes", route["metadata"]["name"], {"parents": parents})


def _named(route: Object) -> set[str]:
    """Return the Services that a route names with or without a share."""
    found = set()
    for rule in route["spec"].get("rules", []):
        found |= {backend["name"] for backend in rule.get("backendRefs", [])}
        found |= {
            item["requestMirror"]["backendRef"]["name"] for item in rule.get("filters", []) if "requestMirror" in item
        }
    return found
