"""The chart comes: refused where something is missing, installed, upgraded and taken back without losing data."""

from __future__ import annotations

import json
from typing import Any

import pytest
import reach
from provider import ROOT, Cluster
from real import Real

from components.releases import prometheus

pytestmark = pytest.mark.xdist_group("e2e")

CHART = ROOT / "helm/headrace"
LOGGED = "runtime.args={--access_log_sample=1,--access_log_payloads=true,--log_format=json}"
CLAIMS = "app.kubernetes.io/part-of=headrace"


def install(cluster: Cluster, *values: str, check: bool = True, with_errors: bool = False) -> str:
    """Install or upgrade the chart with the values of the suite and further ones, and return what helm says."""
    known = ["--values", CHART / "ci/kind.yaml", "--set=tests.model=", f"--set={LOGGED}", *cluster.chart_values]
    return cluster.helm("upgrade", "--install", "headrace", CHART, *known, *values, "--wait", "--timeout=15m",
                        check=check, with_errors=with_errors)  # fmt: skip


def generations(cluster: Cluster) -> dict[str, Any]:
    """Return what the chart's objects were made to be, and nothing that changes by itself."""
    workloads, access = "deployments,statefulsets,cronjobs,services", "serviceaccounts,roles,rolebindings"
    kinds = f"{workloads},{access},configmaps,secrets,networkpolicies"
    found = {}
    for item in cluster.objects(kinds, "app.kubernetes.io/part-of=headrace,app.kubernetes.io/managed-by=Helm"):
        rest = {key: item.get(key) for key in ("spec", "data", "rules", "subjects")}
        found[f"{item['kind']}/{item['metadata']['name']}"] = json.dumps(rest, sort_keys=True)
    return found


def kept(cluster: Cluster) -> dict[str, Any]:
    """Return the data: volumes by their identity, and generated keys."""
    claims = {item["metadata"]["name"]: item["metadata"]["uid"] for item in cluster.objects("pvc", CLAIMS)}
    secrets = cluster.objects("secrets", "app.kubernetes.io/managed-by=Helm,app.kubernetes.io/part-of=headrace")
    return claims | {item["metadata"]["name"]: item["data"] for item in secrets}


@pytest.mark.parametrize(("old", "said"), [(False, "KServe is not installed"), (True, "KServe is too old")])
def test_a_missing_prerequisite_is_named_with_its_remedy(cluster, old, said):
    cluster.need("removable")
    with cluster.without_kserve(old=old):
        refused = install(cluster, check=False)

    assert said in refused
    assert "0.21" in refused


def test_the_chart_installs(cluster):
    install(cluster, "--set=keep=true")

    listed = json.loads(cluster.helm("list", "--filter=^headrace$", "--output=json"))
    assert [entry["status"] for entry in listed] == ["deployed"]
    assert {"headrace-s3", "headrace-serving-s3", "headrace-database"} <= set(kept(cluster))
    assert {name.partition("-headrace-")[0] for name in kept(cluster) if name.endswith("-0")} == {"data"}


def test_an_upgrade_changes_what_was_asked_and_keeps_the_data(cluster):
    before, data = generations(cluster), kept(cluster)

    install(cluster, "--set=keep=true")
    same = generations(cluster)
    install(cluster, "--set=keep=true", "--set=sweep.schedule=*/5 * * * *")
    changed = generations(cluster)

    assert same == before
    assert {name for name in changed if changed[name] != before[name]} == {"CronJob/headrace-sweep"}
    assert kept(cluster) == data


def test_an_upgrade_is_taken_back(cluster):
    revisions = json.loads(cluster.helm("history", "headrace", "--output=json"))

    cluster.helm("rollback", "headrace", revisions[-2]["revision"], "--wait", "--timeout=10m")

    schedules = [item["spec"]["schedule"] for item in cluster.objects("cronjobs", "app.kubernetes.io/name=sweep")]
    assert schedules == ["*/2 * * * *"]
    assert json.loads(cluster.helm("history", "headrace", "--output=json"))[-1]["status"] == "deployed"


def test_the_platform_answers(cluster):
    cluster.prepare()

    assert cluster.settings.s3_endpoint
    assert cluster.kube().namespace == cluster.namespace


def test_gateway_and_prometheus_are_found_with_kubectl_alone(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("real.GIVEN", {"gateway": "", "prometheus": ""})
    monkeypatch.setattr(Real, "namespace", cluster.namespace)
    explorer = Real(tmp_path, str(cluster.kubeconfig))
    try:
        found = explorer.gateway, explorer.prometheus
        values = explorer.chart_values
    finally:
        explorer.close()

    assert reach.answers(found[0])
    assert prometheus.query(found[1], "vector(1)")
    assert ("--set=requirements.pipelines=false" in values) == ("pipelines" not in explorer.capabilities)
