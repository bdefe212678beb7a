"""Finding the gateway and Prometheus of a cluster by what does not change about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.releases import ReleaseError, addresses, plans
from components.releases.kube import Kube

ENVOY = {
    "gateway.envoyproxy.io/owning-gateway-name": "kserve-ingress-gateway",
    "gateway.envoyproxy.io/owning-gateway-namespace": "kserve",
}
STANDARD = {"gateway.networking.k8s.io/gateway-name": "kserve-ingress-gateway"}
OPERATED = {"operated-prometheus": "true"}


@pytest.fixture
def put(cluster):
    """Write an object in any namespace."""
    for namespace in ("envoy-gateway-system", "monitoring", "kserve"):
        cluster.api.state.write(cluster.api._kind("namespaces"), "", {"metadata": {"name": namespace}})

    def write(plural: str, namespace: str, name: str, **content: Any) -> None:
        labels = content.pop("labels", {})
        item = {"metadata": {"name": name, "labels": labels}, **content}
        cluster.api.state.write(cluster.api._kind(plural), namespace, item)

    parents = [{"name": "kserve-ingress-gateway", "namespace": "kserve"}]
    write("httproutes", "default", "heart", spec={"parentRefs": parents, "rules": []})
    return write


@pytest.fixture
def inside(cluster) -> Kube:
    kube = cluster.kube()
    return Kube(kube._request, "default", inside=True, pace=kube.pace)


@pytest.fixture
def plan() -> plans.Plan:
    return plans.stamp("production", "heart", "1", "s3://models/heart/1", {}).plan


def ports(*numbers: int) -> dict[str, Any]:
    return {"ports": [{"name": f"port-{number}", "port": number} for number in numbers]}


def test_production_leaves_both_to_be_found(plan):
    assert (plan.gateway, plan.prometheus) == ("auto", "auto")


def test_envoy_gateways_service_is_found_whatever_its_hash(put, inside, plan):
    put("services", "envoy-gateway-system", "envoy-other-gateway-1a2b", labels={**ENVOY, next(iter(ENVOY)): "other"})
    put("services", "envoy-gateway-system", "envoy-kserve-3f4c", labels=ENVOY, spec=ports(443, 80))
    put("services", "monitoring", "prometheus-operated", labels=OPERATED, spec=ports(9090))

    found = addresses.found(inside, "heart", plan)

    assert found.gateway == "http://envoy-kserve-3f4c.envoy-gateway-system:80"
    assert found.prometheus == "http://prometheus-operated.monitoring:9090"


def test_other_gateways_are_found_by_the_standard_label(put, inside, plan):
    put("services", "kserve", "kserve-ingress-gateway-istio", labels=STANDARD, spec=ports(15021, 80))

    assert addresses.reachable(inside, "heart", plan).gateway == "http://kserve-ingress-gateway-istio.kserve:80"


def test_a_gateway_without_a_service_is_found_by_its_own_address(put, inside, plan, cluster):
    if "gateways" not in {kind.plural for kind in cluster.api.kinds}:
        pytest.skip("needs the CRDs of the Gateway API in ../shared/crds")
    put("gateways", "kserve", "kserve-ingress-gateway", status={"addresses": [{"value": "203.0.113.7"}]})

    assert addresses.reachable(inside, "heart", plan).gateway == "http://203.0.113.7"


def test_from_outside_only_an_address_of_its_own_counts(put, cluster, plan):
    put("services", "envoy-gateway-system", "envoy-kserve-3f4c", labels=ENVOY, spec=ports(80))
    assert addresses.reachable(cluster.kube(), "heart", plan).gateway == ""

    balanced = {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}]}}
    put("services", "envoy-gateway-system", "envoy-kserve-3f4c", labels=ENVOY, spec=ports(80), status=balanced)

    assert addresses.reachable(cluster.kube(), "heart", plan).gateway == "http://203.0.113.8:80"


def test_a_url_in_the_plan_is_not_second_guessed(put, inside, plan):
    named = replace(plan, gateway="http://mine", prometheus="http://also-mine")

    assert addresses.found(inside, "heart", named) == named


def test_what_is_not_found_is_refused_before_anything_starts_with_the_line_to_set(put, inside, plan):
    with pytest.raises(
        ReleaseError, match=r"the gateway kserve/kserve-ingress-gateway was not found .* `gateway: http"
    ):
        addresses.found(inside, "heart", plan)
    put("services", "envoy-gateway-system", "envoy-kserve-3f4c", labels=ENVOY, spec=ports(80))
    with pytest.raises(ReleaseError, match=r"no Service has the label operated-prometheus=true.*`prometheus: http"):
        addresses.found(inside, "heart", plan)


def test_several_prometheus_are_not_chosen_from(put, inside, plan):
    put("services", "envoy-gateway-system", "envoy-kserve-3f4c", labels=ENVOY, spec=ports(80))
    for namespace in ("monitoring", "kserve"):
        put("services", namespace, "prometheus-operated", labels=OPERATED, spec=ports(9090))

    with pytest.raises(ReleaseError, match=r"there are several: http://prometheus-operated\.kserve:9090, http://prom"):
        addresses.found(inside, "heart", plan)


def test_without_the_right_to_look_the_line_to_set_is_said(put, inside, plan, cluster):
    cluster.api.fault = lambda method, path: (403, {}) if path.startswith("/api/v1/services") else None

    with pytest.raises(ReleaseError, match=r"not allowed to list services in all namespaces.*`gateway: http://"):
        addresses.found(inside, "heart", plan)


def test_without_a_gateway_api_nothing_splits_traffic(inside, plan, cluster):
    cluster.api.absent.add("httproutes")

    assert addresses.reachable(inside, "heart", plan).gateway == ""
