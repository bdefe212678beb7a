"""Releases against the emulated cluster: what serves, what is left, and what is said, whatever goes wrong."""

from __future__ import annotations

import pytest
from standins import Model

from components.releases import ReleaseError, record
from components.releases.kube import Pace


def test_a_first_release_serves(cluster):
    released = cluster.release("1")

    assert released.verified
    assert released.url == "http://heart-default.example.com"
    assert cluster.serving() == "1"


def test_a_first_release_that_is_wrong_leaves_nothing(cluster):
    cluster.workload.models["1"] = Model(answer=["no"])

    released = cluster.release("1")

    assert not released.verified
    assert "golden request 1" in released.reasons[0]
    assert cluster.api.get("inferenceservices", "heart") is None


def test_a_canary_takes_all_steps_and_is_promoted(cluster):
    cluster.release("1")
    cluster.release("2")

    assert cluster.serving() == "2"
    assert "canary" not in cluster.service["spec"]
    shares = [weights.get("heart-v2-predictor", 0) for weights in cluster.workload.history]
    assert list(dict.fromkeys(shares)) == [0, 5, 25, 50, 100]


def test_rolling_moves_no_share_of_the_traffic_before_the_golden_requests(cluster):
    cluster.release("1", "local")
    released = cluster.release("2", "local")

    assert released.verified
    assert cluster.serving() == "2"
    assert all(set(weights.values()) == {100} for weights in cluster.workload.history)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model(answer=["no"]), "predictions are ['no'], at training they were ['yes']"),
        (Model(errors=0.2), "requests failed"),
        (Model(slow=0.3), "requests were slow"),
    ],
    ids=["wrong predictions", "errors", "slow"],
)
def test_a_bad_canary_is_rolled_back_with_its_reason(cluster, model, said):
    cluster.release("1")
    cluster.workload.models["2"] = model

    released = cluster.release("2")

    assert not released.verified
    assert said in released.reasons[0]
    assert cluster.serving() == "1"
    assert "canary" not in cluster.service["spec"]
    assert cluster.api.get("deployments", "heart-v2-predictor") is None
    assert cluster.workload.weights == {"heart-v1-predictor": 100}
    assert record.read(cluster.kube(), "heart").entries[-1].outcome == record.ROLLED_BACK
    assert any(event["reason"] == "RolledBack" and said in event["message"] for event in cluster.api.list("events"))


def test_a_step_without_a_verdict_is_rolled_back(cluster):
    cluster.plan = {"patience": 0.2}
    cluster.release("1")
    cluster.prometheus._rate = 10.0

    released = cluster.release("2")

    assert "no verdict within" in released.reasons[0]
    assert cluster.serving() == "1"


def waiting(reason, message, *, init=False):
    container = {"name": "kserve-container", "state": {"waiting": {"reason": reason, "message": message}}}
    kind = "initContainerStatuses" if init else "containerStatuses"
    return {"ready": False, "pods": [{"suffix": "a", "status": {kind: [container]}}]}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (waiting("ImagePullBackOff", "not found: headrace/serving"), "ImagePullBackOff: not found: headrace/serving"),
        (waiting("CreateContainerConfigError", 'secret "headrace-serving-s3" not found'), "headrace-serving-s3"),
        (waiting("CrashLoopBackOff", "storage", init=True), "init container kserve-container"),
        (
            {
                "ready": False,
                "conditions": [
                    {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
                ],
            },
            "FailedCreate: exceeded quota",
        ),
        (
            {
                "ready": False,
                "pods": [
                    {
                        "suffix": "a",
                        "log": "Traceback\nBundleError: no model",
                        "status": {
                            "containerStatuses": [
                                {
                                    "name": "kserve-container",
                                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                                    "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
                                }
                            ]
                        },
                    }
                ],
            },
            "ended with Error 1: BundleError: no model",
        ),
        (
            {
                "ready": False,
                "pods": [
                    {
                        "suffix": "a",
                        "status": {
                            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}],
                        },
                    }
                ],
            },
            "cannot be scheduled: 0/1 nodes",
        ),
    ],
    ids=["image", "secret", "storage", "quota", "crash", "nodes"],
)
def test_pods_that_do_not_come_are_explained(cluster, state, said):
    cluster.plan = {"timeout": 1.0}
    cluster.release("1")
    cluster.workload.models["2"] = Model(state=state)

    released = cluster.release("2")

    assert not released.verified
    assert said in released.reasons[0]
    assert cluster.serving() == "1"


def test_a_failing_probe_is_quoted(cluster):
    cluster.plan = {"timeout": 0.5}
    status = {"containerStatuses": [{"name": "kserve-container", "ready": False, "state": {"running": {}}}]}
    cluster.workload.models["1"] = Model(state={"ready": False, "pods": [{"suffix": "a", "status": status}]})
    cluster.api.put(
        "events",
        {
            "metadata": {"name": "probe"},
            "involvedObject": {"name": "heart-v1-predictor-a"},
            "reason": "Unhealthy",
            "message": "Readiness probe failed: 503",
        },
    )

    released = cluster.release("1")

    assert "Readiness probe failed: 503" in released.reasons[0]


def test_releasing_twice_verifies_and_changes_nothing(cluster):
    cluster.release("1")
    before = cluster.service["metadata"]["generation"]

    released = cluster.release("1")

    assert released.verified
    assert cluster.service["metadata"]["generation"] == before


def test_a_changed_manifest_of_the_same_version_is_applied(cluster, monkeypatch):
    cluster.release("1")
    stamped = cluster.target("1")
    stamped.service["spec"]["predictor"]["maxReplicas"] = 12
    monkeypatch.setattr(cluster, "target", lambda *_: stamped)

    released = cluster.release("1")

    assert released.verified
    assert cluster.service["spec"]["predictor"]["maxReplicas"] == 12


def test_canary_without_prometheus_is_refused_or_rolls_as_the_plan_says(cluster):
    cluster.release("1")
    cluster.plan = {"prometheus": "http://127.0.0.1:9"}

    with pytest.raises(ReleaseError, match="a canary cannot be judged: Prometheus at"):
        cluster.release("2")
    assert cluster.serving() == "1"
    cluster.plan["fallback"] = "rolling"

    assert cluster.release("2").verified
    assert cluster.serving() == "2"


def test_canary_without_a_gateway_is_refused(cluster):
    cluster.release("1")
    cluster.plan = {"gateway": ""}

    with pytest.raises(ReleaseError, match="no gateway that could split traffic"):
        cluster.release("2")


def test_a_service_of_somebody_else_is_left_alone(cluster):
    foreign = cluster.target("7").service
    del foreign["spec"]["predictor"]["annotations"]["headrace/version"]
    cluster.api.put("inferenceservices", foreign)

    with pytest.raises(ReleaseError, match="was not released by Headrace"):
        cluster.release("2")
    assert not record.read(cluster.kube(), "heart").entries


def test_pace_of_production_keeps_a_lease_longer_than_a_retried_request():
    pace = Pace()

    assert pace.lease > pace.retry_limit + pace.poll
