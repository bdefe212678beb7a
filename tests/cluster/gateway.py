"""What a gateway makes of the HTTPRoutes of trials, in Envoy's words: paths, headers, weights, mirrors.

Envoy takes the first route that matches. The rules of these HTTPRoutes are in the order of the Gateway API's precedence
(more header matches first), so their order is kept.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def routes(http_route: Object) -> list[Object]:
    """Return Envoy's routes for an HTTPRoute."""
    return [
        {"match": _match(match), "route": _action(rule)}
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


def _action(rule: Object) -> Object:
    shares = [{"name": backend["name"], "weight": backend.get("weight", 1)} for backend in rule["backendRefs"]]
    copies = []
    for item in rule.get("filters", []):
        percent = item["requestMirror"]["percent"]
        fraction = {"default_value": {"numerator": percent, "denominator": "HUNDRED"}}
        copies.append({"cluster": item["requestMirror"]["backendRef"]["name"], "runtime_fraction": fraction})
    return {"weighted_clusters": {"clusters": shares}, "request_mirror_policies": copies}
