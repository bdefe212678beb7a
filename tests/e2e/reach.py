"""Where a Service of a cluster answers this machine: nothing is assumed of how the cluster was made, it is tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import urllib3

TRIED_SECONDS = 2.0
Object = dict[str, Any]


def address(service: Object, nodes: list[Object], port: int) -> str:
    """Return the first URL of a Service's port that answers HTTP from here, empty when none does.

    Tried in this order: load balancer, the port on every node, the cluster's own address (a node may run the suite).
    """
    return next((url for url in candidates(service, nodes, port) if answers(url)), "")


def candidates(service: Object, nodes: list[Object], port: int) -> Iterator[str]:
    """Yield the URLs at which a port of a Service might be reached from outside its cluster."""
    ports = service["spec"].get("ports", [])
    wanted = next((item for item in ports if item["port"] == port), ports[0] if ports else None)
    if wanted is None:
        return
    for ingress in service.get("status", {}).get("loadBalancer", {}).get("ingress", []):
        if host := ingress.get("ip") or ingress.get("hostname"):
            yield url(host, wanted["port"])
    if number := wanted.get("nodePort"):
        known = [item for node in nodes for item in node.get("status", {}).get("addresses", [])]
        for kind in ("ExternalIP", "InternalIP"):
            yield from (url(item["address"], number) for item in known if item["type"] == kind)
    if (own := service["spec"].get("clusterIP", "None")) not in ("None", ""):
        yield url(own, wanted["port"])


def url(host: str, port: int) -> str:
    """Return the URL of a host, which may be an IPv6 address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def answers(base: str) -> bool:
    """Return whether anything speaks HTTP there, whatever it says."""
    try:
        urllib3.request("GET", base, timeout=TRIED_SECONDS, retries=False)
    except urllib3.exceptions.HTTPError:
        return False
    return True
