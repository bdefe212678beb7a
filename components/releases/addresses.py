"""Where the gateway and Prometheus of a cluster are, when the plan of an environment says `auto`.

A gateway's Service is named by whatever installed it: Envoy Gateway's defaults put a hash into it, and keep it in a
namespace of their own. So it is looked up by what does not change: the HTTPRoute that KServe made for the model names
the Gateway, and the implementations label the Service that belongs to one. Prometheus is found by the label that its
operator gives the Service of every Prometheus. A plan that names a URL is not second-guessed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from components.releases import ReleaseError
from components.releases.kube import EVERYWHERE, GATEWAY, NETWORK_SERVICE, ROUTE, Kube, KubeError, Unserved
from components.releases.plans import Plan

AUTO = "auto"
ENVOY = "gateway.envoyproxy.io/owning-gateway-name={name},gateway.envoyproxy.io/owning-gateway-namespace={namespace}"
STANDARD = "gateway.networking.k8s.io/gateway-name={name}"
"""Of the implementations that follow GEP-1762 (Istio, NGINX Gateway Fabric, ...): in the Gateway's namespace."""
PROMETHEUS = "operated-prometheus=true"
"""Of the prometheus-operator."""
Object = dict[str, Any]


def found(kube: Kube, model: str, plan: Plan) -> Plan:
    """Return the plan with addresses in place of `auto`.

    Raises:
        ReleaseError: One cannot be found; the message has the line to set.
    """
    gateway = _gateway(kube, model) if plan.gateway == AUTO else plan.gateway
    prometheus = _prometheus(kube) if plan.prometheus == AUTO else plan.prometheus
    return replace(plan, gateway=gateway, prometheus=prometheus)


def reachable(kube: Kube, model: str, plan: Plan) -> Plan:
    """Return the plan with a gateway in place of `auto`, empty where none is found: a rolling release does without."""
    gateway = plan.gateway
    if gateway == AUTO:
        try:
            gateway = _gateway(kube, model)
        except ReleaseError:
            gateway = ""
    return replace(plan, gateway=gateway)


def _gateway(kube: Kube, model: str) -> str:
    try:
        route = kube.get(ROUTE, model)
    except Unserved:
        route = None
    parents = route["spec"].get("parentRefs", []) if route else []
    if not parents:
        return ""  # no Gateway API, or no route yet: nothing splits traffic
    name, namespace = parents[0]["name"], parents[0].get("namespace", kube.namespace)
    what = f"the gateway {namespace}/{name}"
    services = _services(kube, EVERYWHERE, ENVOY.format(name=name, namespace=namespace), what, "gateway")
    services = services or _services(kube, namespace, STANDARD.format(name=name), what, "gateway")
    for service in services:
        if url := _url(kube, service, 80):
            return url
    try:
        gateway = kube.get(GATEWAY, name, namespace) or {}
    except KubeError as error:
        raise _missing(what, str(error), "gateway") from error
    for address in gateway.get("status", {}).get("addresses", []):
        return f"http://{address['value']}"
    where = "" if kube.inside else " from outside the cluster"
    raise _missing(what, f"no Service or address of it can be reached{where}", "gateway")


def _prometheus(kube: Kube) -> str:
    services = _services(kube, EVERYWHERE, PROMETHEUS, "Prometheus", "prometheus")
    urls = sorted({url for service in services if (url := _url(kube, service, 9090))})
    if len(urls) != 1:
        several = f"there are several: {', '.join(urls)}"
        where = "" if kube.inside else " that can be reached from outside the cluster"
        raise _missing("Prometheus", several if urls else f"no Service has the label {PROMETHEUS}{where}", "prometheus")
    return urls[0]


def _services(kube: Kube, namespace: str, selector: str, what: str, key: str) -> list[Object]:
    try:
        return kube.list(NETWORK_SERVICE, selector, namespace)
    except KubeError as error:
        raise _missing(what, str(error), key) from error


def _url(kube: Kube, service: Object, usual: int) -> str:
    """Return where a Service is reached from here: by its name inside the cluster, at its own address outside."""
    ports = [int(item["port"]) for item in service["spec"].get("ports", [])]
    if not ports:
        return ""
    port = usual if usual in ports else ports[0]
    if kube.inside:
        return f"http://{service['metadata']['name']}.{service['metadata']['namespace']}:{port}"
    for ingress in service.get("status", {}).get("loadBalancer", {}).get("ingress", []):
        if host := ingress.get("ip") or ingress.get("hostname"):
            return f"http://{host}:{port}"
    return ""


def _missing(what: str, why: str, key: str) -> ReleaseError:
    return ReleaseError(
        f"{what} was not found ({why}): set `{key}: http://...` in the plan of this environment "
        f"(manifests/overlays/<environment>/plan.yaml)"
    )
