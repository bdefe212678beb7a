"""The emulator refuses what KServe's webhooks refuse, and writes back what they write back."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import admission
from apiserver import ApiServer

from components.releases import kube, plans
from components.releases.kube import Kube, KubeError, Pace

Object = dict[str, Any]


def service(version: str = "1", environment: str = "production") -> Object:
    return plans.stamp(environment, "heart", version, f"s3://models/heart/{version}", {plans.DIGEST: version}).service


def with_canary(change: Object | None = None, stable: Object | None = None) -> Object:
    """Return version 1 with version 2 as its canary, both changed."""
    found = service("1")
    entry = plans.canary_entry(service("2")["spec"]["predictor"], 20, found["spec"]["predictor"])
    entry["predictor"] |= change or {}
    found["spec"]["predictor"] |= stable or {}
    found["spec"]["canary"] = [entry]
    return found


def named(found: Object) -> Object:
    found["spec"]["predictor"]["model"]["name"] = "kserve-container"
    return found


def share(found: Object, *percents: int) -> Object:
    entry = found["spec"]["canary"][0]
    names = [f"v{number}" for number in range(2, 2 + len(percents))]
    found["spec"]["canary"] = [
        {"predictor": {**copy.deepcopy(entry["predictor"]), "name": name}, "trafficPercent": percent}
        for name, percent in zip(names, percents, strict=True)
    ]
    return found


def annotated(found: Object, key: str, value: str) -> Object:
    found["metadata"]["annotations"][key] = value
    return found


@pytest.mark.parametrize("environment", ["local", "production", "production-windows"])
def test_the_reviewed_manifests_pass(environment):
    assert admission.refusal(admission.defaulted(service("1", environment)), None) == ""
    assert admission.refusal(admission.defaulted(with_canary()), service("1")) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (named(service()), "the 'name' field is not allowed in standard predictor"),
        (with_canary({"name": ""}), "predictor.name is required"),
        (with_canary({"name": "v1"}), "conflicts with stable predictor name"),
        (share(with_canary(), 20, 20) | {}, ""),
        (share(with_canary(), 60, 50), "sum of canary trafficPercent values (110) must be <= 100"),
        (share(with_canary(), 101), "trafficPercent must be between 0 and 100, got 101"),
        (with_canary({"minReplicas": 3}), "minReplicas (3) must not exceed stable predictor minReplicas (2)"),
        (with_canary({"maxReplicas": 3}), "must not set maxReplicas"),
        (with_canary({"scaleTarget": 70}), "must not set scaleTarget"),
        (annotated(with_canary(), admission.MODE, "Knative"), "canary is only supported in Standard deployment mode"),
        (annotated(service(), admission.CLASS, "vpa"), "[vpa] is not a supported autoscaler class type"),
        (with_canary(stable={"minReplicas": 20}), "'MinReplicas' cannot be greater than MaxReplicas"),
        (with_canary(stable={"scaleMetric": "rps"}), "[rps] is not a supported metric"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_validator_refuses(found, said):
    refused = admission.refusal(found, None)

    assert (said in refused) if said else refused == ""


def test_another_name_needs_another_model():
    renamed = service("1")
    renamed["spec"]["predictor"]["name"] = "other"

    assert "requires a model change" in admission.refusal(renamed, service("1"))
    assert admission.refusal(service("2"), service("1")) == ""


def test_the_mode_stays():
    before = {**service("1"), "status": {"deploymentMode": "Knative"}}

    assert "cannot be changed from 'Knative' to 'Standard'" in admission.refusal(service("1"), before)


def test_what_was_left_out_is_written_back():
    written = admission.defaulted(with_canary())
    bare = service("1")
    del bare["spec"]["predictor"]["automountServiceAccountToken"]

    assert written["spec"]["predictor"]["model"]["name"] == ""
    assert written["spec"]["canary"][0]["predictor"]["model"]["name"] == "kserve-container"
    assert written["metadata"]["annotations"]["modelFormat"] == "headrace"
    assert admission.defaulted(bare)["spec"]["predictor"]["automountServiceAccountToken"] is False


def test_the_api_server_asks_and_the_release_says_what_was_answered():
    import urllib3

    api, pool = ApiServer(), urllib3.PoolManager()

    def request(method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: Any) -> Any:
        return pool.request(method, api.url + path, body=body, headers=headers, timeout=5.0, retries=False)

    client = Kube(request, "default", pace=Pace(retry_limit=1.0))
    try:
        with pytest.raises(KubeError, match=r"could not patch inferenceservices.*the 'name' field is not allowed"):
            client.apply(named(service()))
        client.apply(service())
        stored = client.get(kube.SERVICE, "heart")
    finally:
        api.close()

    assert stored is not None
    assert stored["spec"]["predictor"]["model"]["name"] == ""
