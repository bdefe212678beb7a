"""The chart goes: what was chosen to be kept stays and is found again, and otherwise nothing is left."""

from __future__ import annotations

import json
import time

import pytest
from test_1_install import install, kept

pytestmark = pytest.mark.xdist_group("e2e")

OURS = "app.kubernetes.io/part-of=headrace"
RELEASED = "inferenceservices,configmaps,leases,httproutes,poddisruptionbudgets,horizontalpodautoscalers"
INSTALLED = (
    "deployments,statefulsets,cronjobs,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,"
    "persistentvolumeclaims,servingruntimes,pods"
)


def test_what_was_chosen_to_be_kept_is_found_again(cluster):
    data = kept(cluster)

    cluster.helm("uninstall", "headrace", "--wait", "--timeout=10m")
    left = {item["kind"] for item in cluster.objects(INSTALLED, f"{OURS},app.kubernetes.io/managed-by=Helm")}
    stayed = kept(cluster)
    install(cluster, "--set=keep=true")
    cluster.prepare()

    assert left == {"Secret"}
    assert stayed == data
    assert kept(cluster) == data


def test_models_go_with_everything_that_releases_left(cluster):
    assert cluster.objects(RELEASED, f"{OURS},app.kubernetes.io/managed-by=headrace")

    cluster.kubectl("delete", RELEASED, f"--selector={OURS},app.kubernetes.io/managed-by=headrace", "--wait")

    until_gone(cluster, "deployments,pods", ",serving.kserve.io/inferenceservice")
    assert cluster.objects(RELEASED, f"{OURS},app.kubernetes.io/managed-by=headrace") == []


def test_nothing_is_left_when_nothing_was_to_be_kept(cluster):
    install(cluster, "--set=keep=false")

    cluster.helm("uninstall", "headrace", "--wait", "--timeout=10m")

    until_gone(cluster, INSTALLED)
    assert json.loads(cluster.helm("list", "--filter=^headrace$", "--output=json")) == []


def test_what_kfp_owns_stays(cluster):
    cluster.need("pipelines")

    found = json.loads(cluster.kubectl("get", "configmap", "kfp-launcher", "--output=json"))

    assert "headrace" not in str(found["metadata"].get("labels"))
    assert "defaultPipelineRoot" in found["data"]


def until_gone(cluster, kinds: str, more: str = "") -> None:
    """Return when nothing of ours is left; owned objects and volumes go a moment after their owners."""
    deadline = time.monotonic() + 180
    while left := [f"{item['kind']}/{item['metadata']['name']}" for item in cluster.objects(kinds, OURS + more)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
