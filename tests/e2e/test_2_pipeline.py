"""The compiled pipeline runs, on KFP or by the local runner, and ends with a model that the cluster serves."""

from __future__ import annotations

import json
import re
import sys
import time

import pytest
from cleaning import SCHEDULE
from test_1_install import install

from components import tracking
from components.releases import goldens, history
from components.store import Store, parse

pytestmark = pytest.mark.xdist_group("e2e")

USE_CASE = "iris"


def test_the_pipeline_ends_with_a_served_champion(cluster):
    cluster.need("pipelines")
    cluster.train(USE_CASE)

    status = history.status(USE_CASE)
    assert status.ready
    assert status.champion == tracking.champion(cluster.settings, USE_CASE)
    assert status.last is not None
    assert status.last.outcome == "released"


def test_it_answers_as_at_training(cluster):
    cluster.need("pipelines")
    origin = history.trace(cluster.settings, USE_CASE)
    golden = json.loads(Store(cluster.settings).get(parse(origin.uri) / "golden.json"))
    kube = cluster.kube()

    assert origin.dataset
    assert origin.run
    assert goldens.disagreement(lambda *asked: kube.ask(f"{USE_CASE}-predictor", *asked), USE_CASE, golden, 1.0) == ""


def test_the_chart_passes_its_tests_and_the_model_answers_from_within(cluster):
    """The pods of `helm test` prove bucket, MLflow, runtime, and a prediction of the model named here."""
    cluster.need("pipelines")
    install(cluster, "--set=keep=true", f"--set=tests.model={USE_CASE}")

    said = cluster.test_chart()

    assert said.count("Phase:          Succeeded") >= 4, said


def test_a_recurring_run_is_made_listed_run_once_paused_and_removed(cluster):
    cluster.need("pipelines")
    host = cluster.pipelines_host()

    def schedule(*words: str) -> str:
        return cluster.run(sys.executable, "-m", "pipelines", "schedule", *words, "--name", SCHEDULE, "--host", host)

    try:
        made = schedule(USE_CASE, "--every", "1m", "--environment", "local")
        listed = schedule("--list")
        ended = a_scheduled_run(cluster, host)
        paused = schedule(USE_CASE, "--pause")
    finally:
        removed = schedule(USE_CASE, "--remove")

    assert f"schedule {SCHEDULE}" in made
    assert re.search(rf"{SCHEDULE} .* on ", listed), listed
    assert "succeeded" in ended
    assert "paused" in paused
    assert "removed" in removed
    assert SCHEDULE not in schedule("--list")


def a_scheduled_run(cluster, host: str) -> str:
    """Return the line of the first run that a schedule began, once it has ended; one runs at a time."""
    deadline = time.monotonic() + 1500
    while time.monotonic() < deadline:
        listed = cluster.run(sys.executable, "-m", "pipelines", "runs", "--experiment", USE_CASE, "--host", host)
        for line in listed.splitlines():
            if re.search(r"\bschedule\b", line) and re.search(r"\b(succeeded|failed)\b", line):
                return line
        time.sleep(10)
    raise AssertionError("no scheduled run ended in time")
