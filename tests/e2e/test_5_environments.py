"""Environments and versions in numbers: production on the gateway's defaults, moves to and fro, ten versions."""

from __future__ import annotations

import pytest
from clients import Client, Load
from models import MODEL
from provider import ENVIRONMENT
from test_3_release import is_tidy, until

from components import tracking
from components.deploy import step
from components.releases import history
from components.releases.kube import AUTOSCALER, SERVICE

pytestmark = pytest.mark.xdist_group("e2e")

MANY = "meadow"


@pytest.fixture
def client(cluster, serving) -> Client:
    """A client of the released model."""
    return Client(cluster, MODEL)


def test_a_version_moves_to_production_and_back_and_no_request_fails(cluster, models, serving, client):
    """The gateway and Prometheus of production are looked for: its plan names neither."""
    with Load(client, models.rows(serving)[0]) as load:
        said = cluster.release(MODEL, serving, "production")
        there = (cluster.kube().get(SERVICE, MODEL) or {})["spec"]["predictor"]["minReplicas"]
        returned = step.deploy(MODEL, serving, ENVIRONMENT)

    assert said.split()[-1] == "True"
    assert there == 2
    assert returned.verified
    assert load.lost == 0, load.failures
    assert set(load.answers) == {serving}
    assert [entry.environment for entry in history.history(MODEL)][-2:] == ["production", ENVIRONMENT]
    assert (cluster.kube().get(SERVICE, MODEL) or {})["spec"]["predictor"]["minReplicas"] == 1
    assert cluster.kube().get(AUTOSCALER, MODEL) is None
    until(lambda: is_tidy(cluster), 60)


@pytest.mark.long
def test_a_second_version_is_promoted_in_production_and_no_request_fails(cluster, models, serving, client):
    cluster.need("prometheus")
    version = models.publish(seed=11)

    with Load(client, models.rows(version)[0]) as load:
        said = cluster.release(MODEL, version, "production")

    assert said.split()[-1] == "True"
    assert load.lost == 0, load.failures
    assert load.answers[serving] > 100
    assert load.answers[version] > 100
    entry = history.history(MODEL)[-1]
    assert (entry.environment, entry.strategy, entry.outcome) == ("production", "canary", "released")
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{version}-predictor") == "table"
    step.deploy(MODEL, version, ENVIRONMENT)


def test_the_pod_of_version_1_holds_its_own_files_and_not_those_of_version_10(cluster, models):
    first = models.publish(MANY, seed=1)
    while int(models.publish(MANY, seed=1)) < 10 * int(first):
        pass

    released = step.deploy(MANY, first, "local")

    assert released.verified
    uri = (cluster.kube().get(SERVICE, MANY) or {})["spec"]["predictor"]["model"]["storageUri"]
    assert uri.endswith(f"/{first}/")
    assert {item.uri[-1] for item in tracking.versions(cluster.settings, MANY)} == {"/"}
    files = cluster.files(f"{MANY}-predictor")
    assert "model.onnx" in files
    assert [name for name in files if "/" in name] == []
    assert cluster.evaluator(f"{MANY}-predictor") == "table"
