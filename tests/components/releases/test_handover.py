"""The order in which what serves is replaced: whatever takes a Service away, no route may still lead to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from standins import GOLDEN, Model

from components.releases import compare, handover, history, record, shadow, trials
from components.releases.handover import NotReady, fit, hand_over
from components.releases.lease import held
from components.releases.sweep import sweep

Object = dict[str, Any]


def shares(route: Object) -> dict[str, int]:
    """Return Service -> the largest weight in a route; a mirror counts."""
    found: dict[str, int] = {}
    for rule in route["spec"]["rules"]:
        copies = [item["requestMirror"]["backendRef"] for item in rule.get("filters", []) if "requestMirror" in item]
        for backend in [*rule["backendRefs"], *copies]:
            found[backend["name"]] = max(found.get(backend["name"], 0), backend.get("weight", 1))
    return found


def is_accepted(route: Object) -> bool:
    conditions = [item for parent in route.get("status", {}).get("parents", []) for item in parent["conditions"]]
    accepted = [item for item in conditions if item["type"] == "Accepted" and item["status"] == "True"]
    return any(item["observedGeneration"] == route["metadata"]["generation"] for item in accepted)


def removed(cluster: Any) -> tuple[set[str], list[str]]:
    """Return the Services that were ever deleted, and what routes had to say about each at that moment."""
    gone: set[str] = set()
    wrong: list[str] = []
    routes: dict[str, Object] = {}
    for change in cluster.api.state.log:
        name = change.item["metadata"]["name"]
        if change.plural == "httproutes":
            routes[name] = change.item
            if change.type == "DELETED":
                del routes[name]
        if change.plural == "services" and change.type == "DELETED":
            gone.add(name)
            for route in routes.values():
                if shares(route).get(name):
                    wrong.append(f"{name} was deleted while {route['metadata']['name']} gives it {shares(route)}")
                elif name in {item for known in routes.values() for item in shares(known)} and not is_accepted(route):
                    wrong.append(f"{name} was deleted before a gateway had accepted {route['metadata']['name']}")
    return gone, wrong


def promotion(cluster: Any) -> set[str]:
    assert cluster.release("2").verified
    return {"heart-v1-predictor"}


def canary_undone(cluster: Any) -> set[str]:
    cluster.workload.models["2"] = Model(errors=0.2)
    assert not cluster.release("2").verified
    return {"heart-v2-predictor"}


def rolling_release(cluster: Any) -> set[str]:
    assert cluster.release("2", strategy="rolling").verified
    return {"heart-v1-predictor"}


def rollback(cluster: Any) -> set[str]:
    cluster.release("2", strategy="rolling")
    assert cluster.release("1", strategy="rolling").verified
    return {"heart-v1-predictor", "heart-v2-predictor"}


def swept(cluster: Any) -> set[str]:
    cluster.prometheus._rate = 0.0  # no verdict comes
    pid = os.fork()
    if pid == 0:
        try:
            cluster.release("2")
        finally:
            os._exit(0)
    while cluster.workload.weights.get("heart-v2-predictor") != 5:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    time.sleep(1.5)
    assert sweep(cluster.kube()) == ["heart"]
    return {"heart-v2-predictor"}


def comparison_ended(cluster: Any) -> set[str]:
    compare.start(cluster.kube(), cluster.target("2"), GOLDEN, "1", 50)
    trials.end(cluster.kube(), "heart", 5)
    return {"heart-v2-predictor"}


def shadow_ended(cluster: Any) -> set[str]:
    shadow.start(cluster.kube(), cluster.target("2"), GOLDEN, 100)
    trials.end(cluster.kube(), "heart", 5)
    return {"heart-v2-predictor"}


def release_during_a_trial(cluster: Any) -> set[str]:
    compare.start(cluster.kube(), cluster.target("2"), GOLDEN, "1", 50)
    assert cluster.release("3", strategy="rolling").verified
    return {"heart-v1-predictor", "heart-v2-predictor"}


def restored_after_its_pods_went(cluster: Any) -> set[str]:
    """The new version took over, and is found wrong only then."""
    answers = iter(range(1000))
    cluster.workload.models["2"] = Model()

    def spoil(method: str, plural: str) -> None:
        stable = cluster.service["spec"]["predictor"]["annotations"]["headrace/version"]
        if plural == "inferenceservices" and stable == "v2":
            cluster.workload.models["2"].answer = ["no", next(answers)]

    cluster.api.after = spoil
    assert not cluster.release("2", strategy="rolling").verified
    cluster.api.after = lambda method, plural: None
    assert cluster.serving() == "1"
    return {"heart-v1-predictor", "heart-v2-predictor"}


WAYS = [
    promotion,
    canary_undone,
    rolling_release,
    rollback,
    swept,
    comparison_ended,
    shadow_ended,
    release_during_a_trial,
    restored_after_its_pods_went,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.replace("_", " "))
def test_nothing_that_a_route_may_still_name_is_removed(cluster, way: Callable[[Any], set[str]]):
    cluster.release("1")
    cluster.controller.gateway.lag = 0.2  # whoever does not wait for it is early

    expected = way(cluster)

    gone, wrong = removed(cluster)
    assert gone == expected
    assert wrong == []


@pytest.mark.parametrize("way", [promotion, canary_undone, rollback], ids=lambda way: way.__name__.replace("_", " "))
def test_no_autoscaler_stays_behind(cluster, way):
    cluster.release("1")

    way(cluster)

    served = cluster.api.list("deployments")
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in cluster.api.list("horizontalpodautoscalers")}
    assert scaled == {item["metadata"]["name"] for item in served}


def test_a_champion_without_a_live_pod_is_replaced_at_once(cluster):
    """KServe leaves the routes of a dead predictor as they are: waiting for them would leave it dead."""
    cluster.release("1")
    with held(cluster.kube(), "heart-release") as lease:
        cluster.workload.models["2"] = Model(state={"ready": False})
        cluster.api.put("inferenceservices", {**cluster.service, "spec": cluster.target("2").service["spec"]})
        with cluster.api.changed:
            cluster.api.changed.wait_for(lambda: cluster.api.get("deployments", "heart-v2-predictor"), 5)

        hand_over(cluster.kube(), lease, cluster.target("1").service, 10)

    assert cluster.serving() == "1"
    assert cluster.workload.weights == {"heart-v1-predictor": 100}


def test_a_gateway_that_does_not_follow_keeps_everything_alive(cluster, monkeypatch):
    cluster.release("1")
    monkeypatch.setattr(handover, "_accepted", lambda parent, generation: "gateway kserve has not looked")
    with held(cluster.kube(), "heart-release") as lease, pytest.raises(NotReady, match="traffic did not move within 0"):
        hand_over(cluster.kube(), lease, cluster.target("2").service, 0.4)

    assert cluster.serving() == "1"
    assert removed(cluster)[0] == set()


def predictor(version: str, name: str = "") -> Object:
    annotations = {"headrace/version": f"v{version}", "headrace/digest": version}
    named = {"name": name} if name else {}
    return {**named, "annotations": annotations, "model": {"storageUri": f"s3://models/heart/{version}/"}}


def service(version: str, name: str = "") -> Object:
    return {"metadata": {"name": "heart"}, "spec": {"predictor": predictor(version, name)}}


@pytest.mark.parametrize(
    ("live", "wanted", "splits", "name"),
    [
        (service("1", "v1"), service("2", "v2"), True, "v2"),
        (service("1"), service("2", "v2"), True, "v2"),
        (service("1"), service("2"), True, ""),
        (service("1", "v1"), service("2"), True, "v2"),
        (service("1"), service("1", "v1"), True, ""),
        (service("1", "v1"), service("1"), True, "v1"),
        (service("1", "v1"), service("2", "v2"), False, "v1"),
        (service("1"), service("2", "v2"), False, ""),
    ],
    ids=[
        "another version",
        "named from now on",
        "never named",
        "a named one takes over from a named one",
        "the same model keeps having no name",
        "the same model keeps its name",
        "without shares the pods are replaced in place",
        "without shares no name appears",
    ],
)
def test_a_predictor_takes_over_under_a_name_that_it_can_take_over_with(live, wanted, splits, name):
    fitted = fit(wanted, live, splits=splits)

    assert fitted["spec"]["predictor"].get("name", "") == name
    assert fitted["spec"]["predictor"]["model"] == wanted["spec"]["predictor"]["model"]


@pytest.mark.parametrize(
    "order", [("production", "local"), ("local", "production"), ("production", "production-windows")]
)
def test_a_version_moves_from_one_environment_to_another(cluster, order):
    for environment in order:
        cluster.release("1", environment)
    released = cluster.release("1", order[1])
    cluster.release("2", order[1])

    assert released.verified
    assert cluster.serving() == "2"
    assert [entry.outcome for entry in history.history("heart", cluster.kube())] == [record.RELEASED] * 3
    name = handover.deployment("heart", cluster.service["spec"]["predictor"])
    scaled = [item["spec"]["scaleTargetRef"]["name"] for item in cluster.api.list("horizontalpodautoscalers")]
    assert scaled == [name]
    assert removed(cluster)[1] == []
