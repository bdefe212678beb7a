"""What a killed releaser left is finished without it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from components.releases import record
from components.releases.sweep import REASON, sweep


def kill_at(cluster, version, percent):
    """Run a release in a process of its own and kill it while the new version has a share of the traffic."""
    cluster.prometheus._rate = 0.0  # no verdict comes
    pid = os.fork()
    if pid == 0:
        try:
            cluster.release(version)
        finally:
            os._exit(0)
    while cluster.service["spec"].get("canary", [{}])[0].get("trafficPercent") != percent:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_champion_is_put_back_when_the_releaser_died(cluster):
    cluster.release("1")
    kill_at(cluster, "2", 5)

    assert sweep(cluster.kube()) == []  # its lease has not run out
    time.sleep(1.5)
    assert sweep(cluster.kube()) == ["heart"]

    assert cluster.serving() == "1"
    assert "canary" not in cluster.service["spec"]
    assert cluster.api.get("deployments", "heart-v2-predictor") is None
    assert record.read(cluster.kube(), "heart").entries[-1].reason == REASON
    assert sweep(cluster.kube()) == []


@pytest.mark.parametrize("environment", ["local", "production"])
def test_a_model_that_was_released_is_left_alone(cluster, environment):
    cluster.release("1", environment)
    before = cluster.service["metadata"]["generation"]

    assert sweep(cluster.kube()) == []
    assert cluster.service["metadata"]["generation"] == before
