"""Envoy as the gateway: what HTTPRoutes and shares are in its words, in files that it watches.

Envoy takes the first route that matches. The rules of these HTTPRoutes are in the order of the Gateway API's precedence
(more header matches first), so their order is kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from parts import free_port, wait_for_listener

Object = dict[str, Any]


HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP2 = {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
GRPC = "-grpc"
IS_GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
GONE = "gone"
"""A cluster that does not exist, in place of a Service that does not."""
NOBODY = 0
UNRESOLVED: Object = {"cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"}
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"


class Gateway:
    """An Envoy that divides the requests of each model, by the host they ask for; the first model gets other hosts too.

    Attributes:
        url: Where it listens.
        weights: Model -> Deployment -> share in percent, as last routed.
    """

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder, self._namespace = folder, namespace
        self._clusters: dict[str, tuple[int, int]] = {}
        self._trials: dict[str, list[Object]] = {}
        self.weights: dict[str, dict[str, int]] = {}
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._write_clusters()
        self._write_routes()
        self._envoy = self._start(port)
        wait_for_listener(port)

    def close(self) -> None:
        """End Envoy."""
        self._envoy.terminate()
        self._envoy.wait(20)

    def knows(self, deployment: str, port: int | None = None) -> bool:
        """Return whether a Deployment was once ready, at this port if one is given."""
        known = self._clusters.get(deployment)
        return known is not None and port in (None, known[0])

    def add(self, deployment: str, port: int, grpc: int) -> None:
        """Add the pods of a Deployment."""
        self._clusters[deployment] = port, grpc
        self._write_clusters()

    def route(self, model: str, weights: dict[str, int], gone: frozenset[str]) -> None:
        """Divide the requests of a model; the share of a Service that is gone is answered with an empty 500."""
        self._expect(set(weights) - gone)
        known = {GONE if name in gone else name: share for name, share in weights.items()}
        if known != self.weights.get(model):
            self.weights[model] = known
            self._write_routes()

    def overlay(self, model: str, http_route: Object | None, gone: frozenset[str]) -> None:
        """Put an HTTPRoute's rules before those of a model."""
        trial = routes(http_route, gone) if http_route else []
        if trial != self._trials.get(model, []):
            self._trials[model] = trial
            self._write_routes()

    def _expect(self, names: set[str]) -> None:
        """Make clusters without endpoints of Services whose pods have never been ready."""
        if new := names - set(self._clusters):
            self._clusters |= dict.fromkeys(new, (NOBODY, NOBODY))
            self._write_clusters()

    def _write_clusters(self) -> None:
        resources = [
            {
                "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                "name": name,
                "type": "STATIC",
                "connect_timeout": "2s",
                "load_assignment": {
                    "cluster_name": name,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}] if port else [],
                },
                **({"typed_extension_protocol_options": {HTTP_OPTIONS: HTTP2}} if name.endswith(GRPC) else {}),
            }
            for deployment, (http, grpc) in self._clusters.items()
            for name, port in ((deployment, http), (deployment + GRPC, grpc))
        ]
        replace(self._folder / "clusters.json", {"resources": resources})

    def _write_routes(self) -> None:
        resource = {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "models",
            "virtual_hosts": [self._host(model) for model in self.weights],
            "response_headers_to_add": [{"header": {"key": "served-by", "value": "%UPSTREAM_CLUSTER%"}}],
        }
        replace(self._folder / "routes.json", {"resources": [resource]})

    def _host(self, model: str) -> Object:
        shares = [{"name": name, "weight": weight} for name, weight in self.weights[model].items() if weight]
        action: Object = {"route": {"weighted_clusters": {"clusters": shares}, **UNRESOLVED}}
        route = {"match": {"prefix": "/"}, **(action if shares else {"direct_response": {"status": 503}})}
        over_grpc = [{**share, "name": share["name"] + GRPC} for share in shares]
        called = {
            "match": {"prefix": "/", "headers": [IS_GRPC]},
            "route": {"weighted_clusters": {"clusters": over_grpc}, **UNRESOLVED},
        }
        names = [f"{model}-{self._namespace}.example.com", *(["*"] if model == next(iter(self.weights)) else [])]
        return {
            "name": model,
            "domains": names,
            "routes": [*self._trials.get(model, []), *([called] if shares else []), route],
        }

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        manager = {
            "@type": f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "models",
            "use_remote_address": True,  # Envoy Gateway's default: callers are outside, their x-request-id is replaced
            "rds": {"route_config_name": "models", "config_source": self._source("routes.json")},
            "http_filters": [
                {
                    "name": "router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        listener = {
            "name": "models",
            "address": _address(port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        config = {
            "node": {"id": "gateway", "cluster": "gateway"},
            "dynamic_resources": {"cds_config": self._source("clusters.json")},
            "static_resources": {"listeners": [listener]},
        }
        path = self._folder / "envoy.json"
        path.write_text(json.dumps(config))
        binary = Path(sys.executable).parent / "envoy"
        command = [binary, "--config-path", path, "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
        with (self._folder / "envoy.log").open("wb") as log:
            return subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)

    def _source(self, name: str) -> Object:
        path = {"path": str(self._folder / name), "watched_directory": {"path": str(self._folder)}}
        return {"resource_api_version": "V3", "path_config_source": path}


def replace(path: Path, content: object) -> None:
    """Move a file into place: that is what Envoy and Prometheus watch for."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def routes(http_route: Object, gone: frozenset[str]) -> list[Object]:
    """Return Envoy's routes for an HTTPRoute."""
    return [
        {"match": _match(match), "route": _action(rule, gone)}
        for rule in http_route["spec"]["rules"]
        for match in rule["matches"]
    ]


def _match(match: Object) -> Object:
    assert match["path"]["type"] == "Exact"
    headers = []
    for header in match.get("headers", []):
        assert header["type"] == "RegularExpression"
        headers.append({"name": header["name"], "string_match": {"safe_regex": {"regex": header["value"]}}})
    return {"path": match["path"]["value"], "headers": headers}


def _action(rule: Object, gone: frozenset[str]) -> Object:
    shares = [{"name": _cluster(backend, gone), "weight": backend.get("weight", 1)} for backend in rule["backendRefs"]]
    copies = []
    for item in rule.get("filters", []):
        percent = item["requestMirror"]["percent"]
        fraction = {"default_value": {"numerator": percent, "denominator": "HUNDRED"}}
        copies.append({"cluster": _cluster(item["requestMirror"]["backendRef"], gone), "runtime_fraction": fraction})
    return {"weighted_clusters": {"clusters": shares}, "request_mirror_policies": copies, **UNRESOLVED}


def _cluster(backend: Object, gone: frozenset[str]) -> str:
    name = str(backend["name"])
    return GONE if name in gone else name + (GRPC if backend["port"] == 8081 else "")


def _address(port: int) -> Object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
