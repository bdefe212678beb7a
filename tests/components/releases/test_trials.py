"""Trials on the emulated cluster: the champion serves throughout, and nothing is left of them."""

from __future__ import annotations

import pytest
from standins import GOLDEN, Model

from components.releases import ReleaseError, compare, record, routes, shadow, trials
from components.releases.kube import KubeError
from components.releases.sweep import sweep


@pytest.fixture
def served(cluster):
    """A cluster that serves version 1."""
    cluster.release("1")
    return cluster


def start_compare(cluster, version="2", percent=20):
    return compare.start(cluster.kube(), cluster.target(version), GOLDEN, "1", percent)


def start_shadow(cluster, version="2", percent=100):
    return shadow.start(cluster.kube(), cluster.target(version), GOLDEN, percent)


def deployments(cluster):
    return cluster.api.list("deployments")


def assert_alone(cluster, version="1"):
    assert cluster.serving() == version
    assert "canary" not in cluster.service["spec"]
    assert cluster.api.get("httproutes", "heart-trial") is None
    alone = {f"heart-v{version}-predictor"}
    with cluster.api.changed:  # a release does not wait until the pods of the version before are gone
        cluster.api.changed.wait_for(lambda: {item["metadata"]["name"] for item in deployments(cluster)} == alone, 5)
    assert {item["metadata"]["name"] for item in deployments(cluster)} == alone


def test_a_comparison_gives_the_version_its_clients_and_promotes_nothing(served):
    trial = start_compare(served)

    route = served.api.get("httproutes", "heart-trial")
    assert trials.find(served.kube(), "heart") == trial
    assert (trial.kind, trial.champion, trial.version, trial.percent) == ("compare", "1", "2", 20)
    assert route["spec"]["hostnames"] == ["heart-default.example.com"]
    assert route["spec"]["rules"][2]["backendRefs"] == [
        {"name": "heart-v2-predictor", "port": 80, "weight": 51},
        {"name": "heart-v1-predictor", "port": 80, "weight": 205},
    ]
    assert served.serving() == "1"
    assert served.workload.weights == {"heart-v1-predictor": 100}


def test_the_champion_keeps_its_pods_though_kserve_takes_the_canarys_off(served):
    before = served.service["spec"]["predictor"]["minReplicas"]

    start_shadow(served)

    spec = served.service["spec"]
    assert spec["predictor"]["minReplicas"] - spec["canary"][0]["predictor"]["minReplicas"] == before


def test_the_end_of_a_trial_leaves_the_champion_alone(served):
    before = served.service["spec"]
    start_shadow(served)

    trials.end(served.kube(), "heart", 20)

    assert_alone(served)
    assert served.service["spec"] == before
    trials.end(served.kube(), "heart", 20)


def test_the_route_goes_before_the_pods_it_leads_to(served):
    start_compare(served)
    seen = []

    def watch(method, plural):
        route, entry = served.api.get("httproutes", "heart-trial"), served.service["spec"].get("canary")
        seen.append((route is not None, bool(entry)))

    served.api.after = watch
    trials.end(served.kube(), "heart", 20)

    assert (True, False) not in seen
    assert (False, True) in seen


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model(answer=["no"]), "heart 2 is not tried: golden request 1"),
        (Model(state={"ready": False}), "heart-v2-predictor did not become ready"),
    ],
    ids=["wrong", "never ready"],
)
def test_a_version_that_is_broken_is_not_tried(served, model, said):
    served.plan = {"timeout": 0.5}
    served.workload.models["2"] = model

    with pytest.raises(ReleaseError, match=said):
        start_shadow(served)
    assert_alone(served)


@pytest.mark.parametrize("writes", range(1, 5))
def test_dying_after_any_write_leaves_the_champion_answering_and_the_trial_can_be_ended(served, writes):
    count = 0

    def die(method, path):
        nonlocal count
        count += method in ("PATCH", "PUT", "POST", "DELETE") and "predictor" not in path
        return (0, {}) if count >= writes else None

    served.api.fault = die
    with pytest.raises(KubeError):
        compare.start(served.kube(), served.target("2"), GOLDEN, "1", 20)
    served.api.fault = lambda method, path: None

    assert served.serving() == "1"
    assert served.workload.weights == {"heart-v1-predictor": 100}
    trials.end(served.kube(), "heart", 20)
    assert_alone(served)


def test_a_release_ends_the_trial(served):
    start_compare(served)

    released = served.release("3")

    assert released.verified, released.reasons
    assert_alone(served, "3")


def test_the_version_that_is_tried_can_be_released(served):
    start_compare(served)

    assert served.release("2").verified
    assert_alone(served, "2")


def test_releasing_the_champion_again_ends_the_trial_and_never_puts_it_beside_itself(served):
    start_compare(served)
    names = []

    def watch(method, plural):
        spec = served.service["spec"]
        names.append([spec["predictor"]["name"], *(entry["predictor"]["name"] for entry in spec.get("canary", []))])

    served.api.after = watch
    released = served.release("1")

    assert released.verified, released.reasons
    assert all(len(set(pair)) == len(pair) for pair in names), "KServe refuses a canary with the stable one's name"
    assert_alone(served)


def test_a_sweep_leaves_a_trial_alone(served):
    trial = start_compare(served)

    assert sweep(served.kube()) == []
    assert trials.find(served.kube(), "heart") == trial
    assert record.read(served.kube(), "heart").unfinished is None


def test_a_new_share_begins_a_new_count_and_the_same_one_does_not(served):
    first = start_compare(served)

    assert start_compare(served) == first
    changed = start_compare(served, percent=50)

    assert changed.percent == 50
    assert changed.since > first.since


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (lambda cluster: start_shadow(cluster, "1"), "heart 1 is what serves"),
        (lambda cluster: start_shadow(cluster, "2"), "heart 2 is in a trial already"),
        (lambda cluster: start_compare(cluster, "3"), "heart 2 is in a trial already"),
        (lambda cluster: start_compare(cluster, percent=100), "leaves no clients to compare with"),
        (lambda cluster: start_shadow(cluster, percent=0), "expected 1 to 100"),
        (lambda cluster: compare.start(cluster.kube(), cluster.target("2"), GOLDEN, "7", 5), "heart 7 does not serve"),
    ],
    ids=["serves", "other kind", "other version", "all", "none", "not the champion"],
)
def test_what_cannot_be_tried_is_refused_and_changes_nothing(served, start, said):
    trial = start_compare(served)

    with pytest.raises(ReleaseError, match=said):
        start(served)
    assert trials.find(served.kube(), "heart") == trial


def test_a_trial_of_a_model_that_does_not_serve_is_refused(cluster):
    with pytest.raises(ReleaseError, match="does not serve a released version"):
        start_shadow(cluster)


def test_a_cluster_without_the_gateway_api_is_named(served):
    served.api.absent.add("httproutes")

    with pytest.raises(ReleaseError, match="install the Gateway API and let KServe use it"):
        start_shadow(served)
    assert "canary" not in served.service["spec"]


def test_asking_for_a_trial_that_does_not_run_says_how_to_start_one(served):
    start_compare(served)

    with pytest.raises(ReleaseError, match="no shadow of 'heart' runs here: start one with python -m pipelines shadow"):
        trials.expect(served.kube(), "heart", "shadow")


def test_the_route_has_a_name_of_its_own():
    assert routes.name_of("heart") != "heart"
