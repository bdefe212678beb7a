"""Releases: the first, a canary under load, a bad version, a killed releaser, two at once, and the way back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from clients import Client, Load, over_grpc
from models import MODEL
from provider import ENVIRONMENT, RELEASE, ROOT

from components import tracking
from components.deploy import step
from components.releases import ReleaseError, answers, history, prometheus
from components.releases.kube import EVENT, SERVICE
from pipelines.__main__ import main

pytestmark = pytest.mark.xdist_group("e2e")


@pytest.fixture
def client(cluster) -> Client:
    """A client of the released model."""
    return Client(cluster, MODEL)


def served() -> str:
    """Return the version that serves."""
    return history.status(MODEL).champion


def is_tidy(cluster, model: str = MODEL) -> bool:
    """Return whether nothing is left of versions that went, which may take a moment."""
    champion = history.status(model).champion
    kinds = "deployments,services,horizontalpodautoscalers,configmaps"
    found = [item["metadata"]["name"] for item in cluster.objects(kinds)]
    named = [re.fullmatch(rf"{model}-v(\d+)-predictor.*", name) for name in found]
    return {match[1] for match in named if match} == {champion}


def tags(cluster, version: str) -> dict[str, str]:
    known = {str(item.number): dict(item.tags) for item in tracking.versions(cluster.settings, MODEL)}
    prefix = f"headrace.release.{ENVIRONMENT}"
    return {key.removeprefix(prefix): value for key, value in known[version].items() if key.startswith(prefix)}


def test_a_first_version_is_released(cluster, models):
    version = models.publish(seed=1)

    released = step.deploy(MODEL, version, ENVIRONMENT)

    assert released.verified
    assert served() == version == tracking.champion(cluster.settings, MODEL)
    assert tags(cluster, version)[""] == "released"
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{served()}-predictor") == "table"


def test_the_endpoint_answers_as_at_training_in_every_protocol(cluster, models, client):
    version = served()
    rows, wanted = models.rows(version), models.predictions(version)

    first, second = client.v1(rows), client.v2(rows)

    assert first["predictions"] == wanted
    outputs = {output["name"]: output["data"] for output in second["outputs"]}
    assert outputs["prediction"] == wanted
    assert second["model_version"] == version
    assert client.metadata()["platform"] == "headrace_table"


def test_the_endpoint_answers_over_grpc(models, client):
    version = served()

    found = over_grpc(client, models.rows(version))

    assert found == (version, models.predictions(version))


def test_the_requests_are_counted(cluster, models, client):
    cluster.need("prometheus")
    version = served()
    expression = (
        f'sum(headrace_requests_total{{model_name="{MODEL}",version="{version}",namespace="{cluster.namespace}"}})'
    )
    for _ in range(20):
        client.v1(models.rows(version)[:1])

    def counted() -> float:
        return sum(value for _, value in prometheus.query(cluster.prometheus, expression))

    until(lambda: counted() >= 20, 120)


def test_a_canary_is_promoted_and_no_request_fails(cluster, models, client):
    cluster.need("prometheus")
    before, version = served(), models.publish(seed=2)

    with Load(client, models.rows(version)[0]) as load:
        released = step.deploy(MODEL, version, ENVIRONMENT)

    assert released.verified, released.reasons
    assert load.lost == 0, load.failures
    assert load.answers[before] > 100
    assert load.answers[version] > 100
    assert served() == version == tracking.champion(cluster.settings, MODEL)
    assert [entry.strategy for entry in history.history(MODEL)][-1] == "canary"
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{served()}-predictor") == "table"


def test_a_version_that_fails_its_golden_requests_is_taken_back_with_its_reason(cluster, models, client):
    cluster.need("prometheus")

    def spoil(golden: dict[str, Any]) -> None:
        for request in golden["requests"]:
            request["predictions"] = [2 - value for value in request["predictions"]]

    before, version = served(), models.publish(seed=3, spoil=spoil)

    with Load(client, models.rows(before)[0], threads=1) as load, pytest.raises(ReleaseError) as raised:
        step.deploy(MODEL, version, ENVIRONMENT)

    assert "golden" in str(raised.value)
    assert load.lost == 0, load.failures
    assert set(load.answers) == {before}
    assert served() == before == tracking.champion(cluster.settings, MODEL)
    assert tags(cluster, version)[""] == "rolled back"
    assert "golden" in tags(cluster, version)[".reason"]
    events = [item for item in cluster.kube().list(EVENT) if item["reason"] == "RolledBack"]
    assert any(item["involvedObject"]["name"] == MODEL and "golden" in item["message"] for item in events)
    assert (cluster.kube().get(SERVICE, MODEL) or {})["spec"].get("canary", []) == []
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{served()}-predictor") == "table"


def test_a_releaser_that_is_killed_leaves_the_champion_and_can_be_run_again(cluster, models, client):
    cluster.need("prometheus")
    before, version = served(), models.publish(seed=4)
    with Load(client, models.rows(version)[0]) as load:
        command = [sys.executable, "-c", RELEASE, MODEL, version, ENVIRONMENT]
        with subprocess.Popen(command, cwd=ROOT) as releaser:
            until(lambda: history.status(MODEL).percent > 0, 300)
            releaser.send_signal(signal.SIGKILL)
        halfway = history.status(MODEL)
        released = step.deploy(MODEL, version, ENVIRONMENT)

    assert (halfway.champion, halfway.canary) == (before, version)
    assert released.verified
    assert load.lost == 0, load.failures
    assert served() == version == tracking.champion(cluster.settings, MODEL)
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{served()}-predictor") == "table"


def test_a_releaser_that_never_comes_back_is_swept_up(cluster, models, client):
    cluster.need("prometheus")
    before, version = served(), models.publish(seed=7)
    with Load(client, models.rows(version)[0], threads=1) as load:
        command = [sys.executable, "-c", RELEASE, MODEL, version, ENVIRONMENT]
        with subprocess.Popen(command, cwd=ROOT) as releaser:
            until(lambda: history.status(MODEL).canary == version, 300)
            releaser.send_signal(signal.SIGKILL)
        until(lambda: not history.status(MODEL).releasing, 60)
        said = cluster.sweep()

    assert json.loads(said.splitlines()[-1]) == {"event": "swept", "models": [MODEL]}
    assert load.lost == 0, load.failures
    assert served() == before == tracking.champion(cluster.settings, MODEL)
    assert history.history(MODEL)[-1].reason == "the releaser disappeared"
    assert history.status(MODEL).canary == ""
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{served()}-predictor") == "table"


def test_two_releases_of_a_model_wait_for_each_other(cluster, models, serving, client):
    versions = [models.publish(seed=5), models.publish(seed=6)]
    failures: list[BaseException] = []
    holders: list[str] = []
    done = threading.Event()

    def release(version: str) -> None:
        try:
            step.deploy(MODEL, version, ENVIRONMENT, "rolling")
        except BaseException as error:
            failures.append(error)

    def watch() -> None:
        while not done.is_set():
            holders.append(history.status(MODEL).releasing)
            time.sleep(0.2)

    threads = [threading.Thread(target=release, args=(version,)) for version in versions]
    watcher = threading.Thread(target=watch)
    with Load(client, models.rows(served())[0], threads=1) as load:
        for thread in [*threads, watcher]:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        watcher.join()

    assert failures == []
    assert load.lost == 0, load.failures
    entries = history.history(MODEL)[-2:]
    assert {entry.version for entry in entries} == set(versions)
    assert [entry.outcome for entry in entries] == ["released", "released"]
    assert served() == entries[-1].version == tracking.champion(cluster.settings, MODEL)
    working = [holder for holder in holders if holder]
    turns = [holder for number, holder in enumerate(working) if not number or holder != working[number - 1]]
    assert len(turns) == len(set(turns)) == 2, "a releaser worked again after another one had begun"
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{served()}-predictor") == "table"


@pytest.fixture
def say(cluster, capsys) -> Iterator[Any]:
    """Return what the command line says in the environment of the suite."""

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        found = main([*words, "--environment", ENVIRONMENT])
        said = capsys.readouterr()
        assert found == code, said.out + said.err
        return said.out

    return run


def test_the_verbs_tell_what_serves_and_where_it_came_from(cluster, say):
    version = served()

    assert f"champion  {version}\n" in say("status", MODEL)
    story = say("history", MODEL).splitlines()
    assert any(" rolled back " in line for line in story)
    assert story[-1].split()[:2] == [version, "released"]
    assert f"version   {MODEL} {version}, the champion" in say("trace", MODEL)
    assert "no difference" in say("diff", MODEL, version)
    assert "storageUri" in say("diff", MODEL, "1")


def test_a_request_is_traced_to_the_version_that_answered_it(cluster, models, client, say):
    version = served()
    identity = client.identity(models.rows(version)[:1], **{"X-Request-Id": f"request-{time.time_ns()}"})

    until(lambda: identity in str(list(answers.pods(cluster.kube(), MODEL))), 60)

    assert f"request   {identity} answered 200 by version {version}" in say("trace", MODEL, "--request", identity)


def test_a_rollback_brings_the_version_before_back(cluster, models, client, say):
    before = served()
    earlier = [entry.version for entry in history.history(MODEL) if entry.outcome == "released"]
    expected = [version for version in earlier if version != before][-1]

    with Load(client, models.rows(before)[0], threads=1) as load:
        said = say("rollback", MODEL)

    assert f"{MODEL} {expected} serves at" in said
    assert load.lost == 0, load.failures
    assert served() == expected == tracking.champion(cluster.settings, MODEL)
    until(lambda: is_tidy(cluster), 60)
    assert cluster.evaluator(f"{MODEL}-v{served()}-predictor") == "table"


def until(claim, seconds: float) -> None:
    """Return when a claim is true."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.3)
