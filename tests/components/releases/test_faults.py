"""A release whose API server is busy, broken or closed to it, and whose releaser dies at any moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from standins import Model

from components.releases import ReleaseError, record
from components.releases.kube import LEASE
from components.releases.lease import LeaseLost, held, holder_of


@pytest.mark.parametrize("fault", [(429, {"Retry-After": "0"}), (500, {}), (503, {}), (0, {})])
def test_a_busy_api_server_is_asked_again(cluster, fault):
    countdown = iter(range(1000))
    cluster.api.fault = lambda method, path: fault if next(countdown) % 3 == 0 else None

    assert cluster.release("1").verified


def test_an_api_server_that_stays_away_is_given_up(cluster):
    cluster.api.fault = lambda method, path: (503, {})

    with pytest.raises(ReleaseError, match="the API server answers 503 for 2 s; try again later"):
        cluster.release("1")


def test_a_missing_right_is_named(cluster):
    cluster.api.fault = lambda method, path: (403, {}) if method == "PATCH" and "inferenceservices" in path else None

    with pytest.raises(
        ReleaseError, match=r"not allowed to patch inferenceservices\.serving\.kserve\.io in namespace default: bind"
    ):
        cluster.release("1")


def test_a_cluster_without_kserve_is_named(cluster):
    cluster.api.absent.add("inferenceservices")

    with pytest.raises(
        ReleaseError, match=r"does not know inferenceservices\.serving\.kserve\.io; install KServe 0\.21"
    ):
        cluster.release("1")


def test_an_older_kserve_is_named(cluster, monkeypatch):
    cluster.release("1")
    old = 'strict decoding error: unknown field "spec.canary"'

    def refuse(body, *, strict):
        if "canary" in body.get("spec", {}):
            from apiserver import Refused

            raise Refused(400, "BadRequest", old)

    monkeypatch.setattr(cluster.api, "_validate", refuse)

    with pytest.raises(ReleaseError, match=r"this KServe has no spec\.canary; upgrade KServe to 0\.21"):
        cluster.release("2")
    assert cluster.serving() == "1"


def test_two_releases_never_interleave(cluster):
    cluster.release("1")
    inside, most = [], []
    writes = cluster.api.after

    def watch(method, plural):
        if plural == "inferenceservices":
            entry = record.read(cluster.kube(), "heart").unfinished
            most.append(entry.by if entry else "")
            inside.append(holder_of(cluster.kube(), "heart-release"))

    cluster.api.after = watch
    threads = [threading.Thread(target=cluster.release, args=(version, "local")) for version in ("2", "3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cluster.api.after = writes

    changes = [by for number, by in enumerate(inside) if number == 0 or inside[number - 1] != by]
    assert len(changes) == 2
    assert [entry.outcome for entry in record.read(cluster.kube(), "heart").entries] == [record.RELEASED] * 3


def test_a_living_holder_is_named(cluster):
    with held(cluster.kube(), "heart-release") as lease:
        hurried = cluster.kube(replace(cluster.kube().pace, lease_wait=0.1))

        with (
            pytest.raises(ReleaseError, match=f"another release holds heart-release \\({lease.holder}\\)"),
            held(hurried, "heart-release"),
        ):
            pass


def test_a_release_whose_lease_was_taken_stops(cluster):
    with held(cluster.kube(), "heart-release") as lease:
        found = cluster.api.get("leases", "heart-release")
        found["spec"]["holderIdentity"] = "somebody"
        cluster.api.put("leases", found)

        with pytest.raises(LeaseLost, match="taken over by somebody"):
            lease.renew(now=True)


def writes_of(cluster, version):
    """Return how many writes one release makes."""
    seen = []
    cluster.api.after = lambda method, plural: seen.append(plural)
    cluster.release(version)
    cluster.api.after = lambda method, plural: None
    return len([plural for plural in seen if plural != "leases"])


def killed(cluster, version, at):
    """Run a release in a process of its own that is killed after its `at`-th write."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        try:
            cluster.release(version)
        finally:
            os._exit(0)
    count = iter(range(1, 10_000))

    def kill(method, plural):
        if plural != "leases" and next(count) == at:
            os.kill(pid, signal.SIGKILL)

    cluster.api.after = kill
    os.write(done, b"g")
    os.waitpid(pid, 0)
    cluster.api.after = lambda method, plural: None
    os.close(ready)
    os.close(done)


@pytest.mark.parametrize("environment", ["production", "local"])
def test_a_releaser_killed_after_any_write_can_be_run_again(cluster, environment, monkeypatch):
    """The champion or the verified version serves at every moment, and the second run finishes the job."""
    monkeypatch.setattr(cluster, "release", lambda version, _=None, run=cluster.release: run(version, environment))
    cluster.release("1")
    total = writes_of(cluster, "2")
    assert total >= 6

    for at in range(1, total + 1):
        version = str(at + 2)
        killed(cluster, version, at)
        assert cluster.serving() in (str(at + 1), version)

        assert cluster.release(version).verified
        assert cluster.serving() == version
        assert "canary" not in cluster.service["spec"]


def test_a_releaser_killed_while_it_takes_a_bad_version_back_can_be_run_again(cluster):
    cluster.release("1")
    cluster.workload.models |= {str(version): Model(answer=["no"]) for version in range(2, 9)}

    for at in range(1, 6):
        version = str(at + 1)
        killed(cluster, version, at)

        assert not cluster.release(version).verified
        assert cluster.serving() == "1"
        assert "canary" not in cluster.service["spec"]


def test_sigterm_puts_the_champion_back_before_the_process_ends(cluster):
    cluster.release("1")
    cluster.prometheus._rate = 0.0  # the canary waits for a verdict
    cluster.api.after = lambda method, plural: None
    pid = os.fork()
    if pid == 0:
        try:
            cluster.release("2")
        except SystemExit as end:
            os._exit(int(str(end.code)))
        finally:
            os._exit(1)
    while not cluster.service["spec"].get("canary", [{}])[0].get("trafficPercent"):
        time.sleep(0.02)
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 143
    assert "canary" not in cluster.service["spec"]
    assert record.read(cluster.kube(), "heart").entries[-1].outcome == record.ROLLED_BACK
    assert cluster.kube().get(LEASE, "heart-release")["spec"]["holderIdentity"] == ""
