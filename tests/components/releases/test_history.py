"""Questions after releases, with a registry and a store in memory of the process."""

from __future__ import annotations

import time

import pytest
from standins import Model

from components.deploy import step
from components.releases import ReleaseError, history
from components.releases import cluster as releasing


def test_deploy_moves_the_alias_only_after_a_verified_release(registry, cluster_settings):
    step.deploy("heart", "1", "production")
    cluster_settings.workload.models["2"] = Model(["no"])

    with pytest.raises(ReleaseError, match="heart version 2 was not released to production: golden request 1"):
        step.deploy("heart", "2", "production")

    assert registry.champions == ["1"]
    assert registry.tags["1"]["headrace.release.production"] == "released"
    assert registry.tags["2"]["headrace.release.production"] == "rolled back"
    assert "golden request 1" in registry.tags["2"]["headrace.release.production.reason"]


def test_a_bundle_that_was_changed_after_publishing_is_refused(registry, cluster_settings):
    registry.content["s3://models/heart/1/bundle.json"] += b" "

    with pytest.raises(ReleaseError, match="does not match its digest"):
        step.deploy("heart", "1", "production")
    assert registry.tags["1"]["headrace.release.production"] == "refused"
    assert cluster_settings.api.get("inferenceservices", "heart") is None


def test_a_version_that_nobody_registered_or_published_is_refused(registry, cluster_settings):
    with pytest.raises(ReleaseError, match="has no version '9': choose one of 1, 2, 3"):
        releasing.prepare(None, "heart", "9", "production", "")
    del registry.content["s3://models/heart/1/bundle.json"]
    with pytest.raises(ReleaseError, match="is not published"):
        releasing.prepare(None, "heart", "1", "production", "")


def test_status_and_history_tell_what_happened(registry, cluster_settings):
    step.deploy("heart", "1", "production")
    cluster_settings.workload.models["2"] = Model(["no"])
    with pytest.raises(ReleaseError):
        step.deploy("heart", "2", "production")

    deadline = time.monotonic() + 30
    while not (status := history.status("heart")).ready and time.monotonic() < deadline:
        time.sleep(0.05)  # the controller writes the status of what it has just put back in a turn of its own

    assert (status.champion, status.canary, status.ready, status.releasing) == ("1", "", True, "")
    assert [(entry.version, entry.outcome) for entry in history.history("heart")] == [
        ("1", "released"),
        ("2", "rolled back"),
    ]


def test_status_of_a_model_that_was_never_released_is_empty(cluster_settings):
    status = history.status("heart")

    assert (status.champion, status.url, status.last) == ("", "", None)


def test_rollback_releases_the_one_before_and_makes_it_the_champion(registry, cluster_settings):
    step.deploy("heart", "1", "production")
    step.deploy("heart", "2", "production")

    released = history.rollback(None, "heart", "production")

    assert released.version == "1"
    assert cluster_settings.serving() == "1"
    assert registry.champions == ["1", "2", "1"]


def test_rollback_without_an_earlier_release_says_so(registry, cluster_settings):
    step.deploy("heart", "1", "production")

    with pytest.raises(ReleaseError, match="no earlier release"):
        history.rollback(None, "heart", "production")


def test_diff_shows_what_a_release_would_change(registry, cluster_settings):
    step.deploy("heart", "1", "production")

    lines = history.diff(None, "heart", "2", "production").splitlines()

    assert "+      storageUri: s3://models/heart/2/" in lines
    assert history.diff(None, "heart", "1", "production") == ""


def test_trace_leads_from_the_endpoint_back_to_the_data(registry, cluster_settings):
    step.deploy("heart", "1", "production")

    origin = history.trace(None, "heart")

    assert (origin.version, origin.run, origin.dataset, origin.champion) == ("1", "run-1", "data-1", True)
    assert origin.uri == "s3://models/heart/1"


def test_trace_of_nothing_says_so(registry, cluster_settings):
    with pytest.raises(ReleaseError, match="nothing serves 'heart' here"):
        history.trace(None, "heart")
