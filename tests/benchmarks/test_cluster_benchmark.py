"""What the benchmark applies is what KServe takes, its client counts what a server answers, its table adds up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

import admission
import corekinds
import crds
import flowers
from parts import free_port, is_up

from benchmarks import cluster
from benchmarks.cluster import OURS, STOCK, Seen
from benchmarks.serving import measure


def test_what_is_applied_passes_kserves_schema_and_webhook():
    for item in cluster.services("1,0\n", "node-1", "own", "stock"):
        assert corekinds.errors(item, strict=True) == []
        if item["kind"] == "InferenceService":
            if crds.CRDS.is_dir():
                assert crds.errors(crds.CRDS, item) == []
            assert admission.refusal(admission.defaulted(item), None) == ""
            predictor = item["spec"]["predictor"]
            assert predictor["nodeSelector"] == {"kubernetes.io/hostname": "node-1"}
            assert predictor["containers"][0]["resources"]["limits"]["cpu"] == "1"


def test_the_client_asks_another_address_and_the_window_is_what_it_printed(tmp_path):
    bundle = flowers.build(tmp_path, "1", 1)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "serving",
        "--model_name",
        "heart",
        "--model_dir",
        str(bundle),
        "--host",
        "127.0.0.1",
    ]
    command += ["--http_port", str(port), "--grpc_port", str(free_port())]
    client = measure.build_client(tmp_path)
    (tmp_path / "request").write_bytes(cluster.request("ours.example.com", [5.1, 3.5, 1.4, 0.2]))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 60
            while not is_up(f"http://127.0.0.1:{port}/v2/models/heart/ready"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            words = [client, "http", port, 2, 0.1, 0.3, tmp_path / "request", "127.0.0.1"]
            printed = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True).stdout
        finally:
            server.terminate()

    found = cluster.seen(printed, (1_000_000, 0), (1_500_000, 22_000_000))
    assert found.failures == 0
    assert found.rate > 0
    assert found.per_cpu == json.loads(printed)["total"] / 0.5
    assert (found.p50 > 0, found.memory) == (True, 22_000_000)


def test_an_address_that_is_none_is_refused(tmp_path):
    client = measure.build_client(tmp_path)
    ended = subprocess.run(
        [client, "http", "1", "1", "1", "1", __file__, "not-an-address"], capture_output=True, text=True
    )

    assert ended.returncode == 2
    assert "[ADDRESS]" in ended.stderr


@pytest.mark.parametrize("failures", [0, 3])
def test_the_table_sets_both_side_by_side(failures):
    stock = Seen(48.0, 48.0, 20_300.0, 42_900.0, 153_000_000, failures)
    ours = Seen(2_645.0, 150_619.0, 330.0, 3_000.0, 22_000_000, 0)

    text = cluster.report({("through the gateway", 1): {STOCK: stock, OURS: ours}})

    assert "| through the gateway, 1 connection: requests/s | 48 | 2,645 | 55.10 |" in text
    assert "| p50, p99 | 20.30 ms, 42.90 ms | 0.33 ms, 3.00 ms | |" in text
    assert "| memory of the container | 153 MB | 22 MB | 0.14 |" in text
    assert ("| failed | 3 | 0 | |" in text) == bool(failures)
