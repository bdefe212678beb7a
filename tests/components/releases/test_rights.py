"""Everything releases ask of the API server is allowed by the chart's Role, verb by verb."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from resources import PATH
from standins import GOLDEN, Model

from components.releases import ReleaseError, compare, history, shadow, sweep, trials

GOLDENS = Path(__file__).parents[2] / "helm" / "goldens"
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def asked(requests: list[tuple[str, str]]) -> set[tuple[str, str, str]]:
    """Return (group, resource, verb) of requests, as RBAC names them."""
    found = set()
    for method, path in requests:
        match = PATH.match(path)
        assert match, path
        if match["sub"] == "proxy":  # inside the cluster, Services are asked by their names
            continue
        resource = match["plural"] + (f"/{match['sub']}" if match["sub"] else "")
        verb = VERBS.get(method) or ("get" if match["name"] else "list")
        found.add((match["group"] or "", resource, verb))
        if verb == "patch":  # server-side apply creates what is not there
            found.add((match["group"] or "", resource, "create"))
    return found


def allowed() -> set[tuple[str, str, str]]:
    """Return what the Role and the ClusterRole of releases allow."""
    items = [item for item in yaml.safe_load_all((GOLDENS / "default.yaml").read_text()) if item]
    named = ("headrace-release", "headrace-discovery-kubeflow")
    roles = [item for item in items if item["kind"] in ("Role", "ClusterRole") and item["metadata"]["name"] in named]
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def leave_an_autoscaler(cluster):
    """As KServe does when a version goes."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "heart-v0-predictor"}
    labels = {"serving.kserve.io/inferenceservice": "heart"}
    metadata = {"name": "heart-v0-predictor", "labels": labels}
    cluster.api.put("horizontalpodautoscalers", {"metadata": metadata, "spec": {"scaleTargetRef": target}})


@pytest.mark.parametrize("environment", ["local", "production", "production-windows"])
def test_releases_do_nothing_that_the_role_forbids(cluster, environment):
    cluster.workload.models["9"] = Model(answer=["no"])
    crashed = {"waiting": {"reason": "CrashLoopBackOff"}}
    container = {"name": "kserve-container", "state": crashed, "lastState": {"terminated": {"exitCode": 1}}}
    running = {"name": "kserve-container", "ready": False, "state": {"running": {}}}
    status = {"containerStatuses": [container, running]}
    cluster.workload.models["8"] = Model(state={"ready": False, "pods": [{"suffix": "a", "status": status}]})
    cluster.plan = {"timeout": 1.0}

    for version in ("1", "2", "9", "8", "2"):
        cluster.release(version, environment)
    cluster.plan |= {"gateway": "auto", "prometheus": "auto"}
    with pytest.raises(ReleaseError, match="was not found"):
        cluster.release("3", "production")
    del cluster.plan["gateway"], cluster.plan["prometheus"]
    leave_an_autoscaler(cluster)
    kube = cluster.kube()
    compare.start(kube, cluster.target("3"), GOLDEN, "2", 20)
    trials.end(kube, "heart", 5)
    shadow.start(kube, cluster.target("3"), GOLDEN, 20)
    history.status("heart", kube)
    cluster.release("1", environment)
    sweep.sweep(kube)

    assert asked(cluster.api.requests) - allowed() == set()


def test_a_first_release_may_take_away_what_it_made(cluster):
    cluster.workload.models["1"] = Model(answer=["no"])
    cluster.release("1")
    with pytest.raises(ReleaseError):
        trials.expect(cluster.kube(), "heart", "shadow")

    assert ("serving.kserve.io", "inferenceservices", "delete") in asked(cluster.api.requests)
    assert asked(cluster.api.requests) - allowed() == set()


def test_the_role_allows_no_verb_that_nothing_uses(cluster):
    test_releases_do_nothing_that_the_role_forbids(cluster, "production-windows")

    assert allowed() - asked(cluster.api.requests) == {("serving.kserve.io", "inferenceservices", "delete")}
