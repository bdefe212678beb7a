"""The HTTPRoute that a trial lays over the one KServe made: which predictions go to which version.

KServe writes its own HTTPRoute again whenever it is changed, so a trial has one beside it, for the same host and the
same gateway. Its matches are exact paths, which the Gateway API puts before every other match; what is no prediction
(metadata, health, explanations) goes on taking KServe's route. Over gRPC the host alone says which model is asked:
KServe serves both protocols on one host, and its Services publish the port named `grpc` for HTTP/2.

Sticky: the standard channel of the Gateway API (v1.6) has neither session persistence nor hashing. So the clients say
who they are, in the header `CLIENT`, and a regular expression over its last two characters, read as one of 256
buckets, picks the version. The same client gets the same version from every gateway, with no state anywhere. What that
asks for: ids that end in hexadecimal digits, evenly spread (UUIDs and hashes do), and a gateway that matches headers
by regular expression (an implementation-specific match; Envoy Gateway and Istio do, full match). Requests without
the header are shared out by weight, which is not sticky; ids that end otherwise stay with the champion.
"""

from __future__ import annotations

import hashlib
from typing import Any

from components.releases.kube import ROUTE

CLIENT = "x-client-id"
BUCKETS = 256
DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "aA", "bB", "cC", "dD", "eE", "fF")
PORT, GRPC_PORT = 80, 8081
"""Of the Services KServe makes."""
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"

Route = dict[str, Any]


def buckets(percent: int) -> int:
    """Return how many of the buckets come closest to a share, at least one and not all."""
    return min(BUCKETS - 1, max(1, round(percent * BUCKETS / 100)))


def split(live: Route, model: str, champion: str, version: str, percent: int, seed: str) -> Route:
    """Return the route that gives a version a fixed share of the clients.

    Args:
        live: The HTTPRoute KServe made.
        champion: Service of the version that serves.
        version: Service of the other one.
        seed: Decides which clients; another seed picks others.
    """
    count = buckets(percent)
    picked = {"name": CLIENT, "type": "RegularExpression", "value": pattern(count, seed)}
    known = {"name": CLIENT, "type": "RegularExpression", "value": "^.+$"}
    rules = []
    for port, paths in ((PORT, _paths(model)), (GRPC_PORT, (GRPC_PATH,))):
        new, old = _backend(version, port), _backend(champion, port)
        weights = [{**new, "weight": count}, {**old, "weight": BUCKETS - count}]
        rules += [
            {"matches": _matches(paths, picked), "backendRefs": [new]},
            {"matches": _matches(paths, known), "backendRefs": [old]},
            {"matches": _matches(paths), "backendRefs": weights},
        ]
    return _over(live, model, rules)


def mirror(live: Route, model: str, champion: str, version: str, percent: int) -> Route:
    """Return the route that answers every prediction by the champion and sends a share of copies to a version."""
    rules = []
    for port, paths in ((PORT, _paths(model)), (GRPC_PORT, (GRPC_PATH,))):
        mirrored = {"backendRef": _backend(version, port), "percent": percent}
        copied = {"type": "RequestMirror", "requestMirror": mirrored}
        rules.append({"matches": _matches(paths), "filters": [copied], "backendRefs": [_backend(champion, port)]})
    return _over(live, model, rules)


def alone(route: Route, leaving: set[str], champion: str) -> Route:
    """Return the route of a trial without the Services that leave: the champion answers, and nothing is copied."""
    rules = []
    for rule in route["spec"]["rules"]:
        kept = [backend for backend in rule["backendRefs"] if backend["name"] not in leaving]
        backends = kept or [_backend(champion, rule["backendRefs"][0]["port"])]
        filters = [item for item in rule.get("filters", []) if item["type"] != "RequestMirror"]
        rules.append({"matches": rule["matches"], "backendRefs": backends, **({"filters": filters} if filters else {})})
    metadata = {key: route["metadata"][key] for key in ("name", "labels", "annotations") if key in route["metadata"]}
    spec = {**route["spec"], "rules": rules}
    return {"apiVersion": ROUTE.api_version, "kind": ROUTE.kind, "metadata": metadata, "spec": spec}


def name_of(model: str) -> str:
    """Return the name of the route of a model's trial."""
    return f"{model}-trial"


def pattern(count: int, seed: str) -> str:
    """Return the regular expression of the ids in `count` buckets, beginning where the seed says."""
    first = hashlib.sha256(seed.encode()).digest()[0]
    wanted = {(first + step) % BUCKETS for step in range(count)}
    ends = []
    for high, digit in enumerate(DIGITS):
        low = "".join(DIGITS[bucket % 16] for bucket in sorted(wanted) if bucket // 16 == high)
        if low:
            ends.append(f"[{digit}][{low}]")
    return f"^.*(?:{'|'.join(ends)})$"


def _paths(model: str) -> tuple[str, ...]:
    return f"/v1/models/{model}:predict", f"/v2/models/{model}/infer"


def _matches(paths: tuple[str, ...], header: dict[str, str] | None = None) -> list[dict[str, Any]]:
    extra = {"headers": [header]} if header else {}
    return [{"path": {"type": "Exact", "value": path}, **extra} for path in paths]


def _backend(service: str, port: int) -> dict[str, Any]:
    return {"name": service, "port": port}


def _over(live: Route, model: str, rules: list[dict[str, Any]]) -> Route:
    labels = {"app.kubernetes.io/name": model, "app.kubernetes.io/part-of": "headrace"}
    return {
        "apiVersion": ROUTE.api_version,
        "kind": ROUTE.kind,
        "metadata": {"name": name_of(model), "labels": {**labels, "app.kubernetes.io/managed-by": "headrace"}},
        "spec": {"parentRefs": live["spec"]["parentRefs"], "hostnames": live["spec"]["hostnames"], "rules": rules},
    }
