"""Several namespaces: Pod Security enforced as `restricted`, and a release of the same name in each."""

from __future__ import annotations

import pytest
from clients import Client, Load
from models import MODEL, Models
from provider import ENVIRONMENT
from test_1_install import install

from components.releases import history

pytestmark = pytest.mark.xdist_group("e2e")

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


def test_a_restricted_namespace_takes_chart_and_model_without_a_warning_beside_the_other_release(
    cluster, models, serving, tmp_path
):
    here = Client(cluster, MODEL)
    with (
        Load(here, models.rows(serving)[0], threads=1) as load,
        cluster.elsewhere("headrace-e2e", **RESTRICTED) as other,
    ):
        warned = install(other, "--set=keep=false", "--set=requirements.pipelines=false", with_errors=True)
        other.prepare()
        theirs = Models(tmp_path)
        theirs.settings = other.settings
        version = theirs.publish(seed=21, edges=(2, 6))
        warned += other.release(MODEL, version, "production")
        url = other.objects_named("inferenceservice", MODEL)["status"]["url"]
        there = Client(other, MODEL, url)
        answered = there.v1(theirs.rows(version))["predictions"]
        events = [str(item["message"]) for item in other.objects("events")]

    assert "would violate" not in warned
    assert [message for message in events if "violates PodSecurity" in message] == []
    assert answered == theirs.predictions(version)
    assert here.host != there.host
    assert load.lost == 0, load.failures
    assert set(load.answers) == {serving}
    assert history.status(MODEL).champion == serving
    assert history.status(MODEL).last.environment == ENVIRONMENT
