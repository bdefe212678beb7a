"""The load generator counts what it sent, and the report's ratios are those of the rounds."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving import measure, report, sizes
from benchmarks.serving.measure import Load
from benchmarks.serving.models import http_request
from benchmarks.serving.peers import PEERS

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BAD = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"


def _serve(listener: socket.socket, answers: list[bytes]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                connection.sendall(answers[0])


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, [request.param]), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("server", "failed"), [(GOOD, False), (BAD, True)], indirect=["server"])
def test_the_client_counts_requests_and_failures(server: int, failed: bool, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    client = measure.build_client(tmp_path)
    (tmp_path / "request").write_bytes(http_request("/", {}))

    command = [str(client), "http", str(server), "1", "0.05", "0.2", str(tmp_path / "request")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    seen = json.loads(done.stdout)
    assert seen["requests"] > 0
    assert seen["total"] >= seen["requests"]
    assert seen["failures"] == (seen["requests"] if failed else 0)


def _results() -> report.Results:
    results = report.Results()
    for turn in (1, 2, 3):
        for peer, rate in (("ours", 9_000.0), ("echo", 10_000.0), ("kserve-sklearn", 5.0), ("kserve-onnx", 100.0)):
            load = Load(rate=rate * turn, p50=1.0, p99=2.0, cpu_us=3.0, failures=0)
            results.add(("forest", peer, "V1", 16), load)
            results.add(("forest", peer, "V1", 1), load)
    return results


def test_ratios_are_taken_within_rounds() -> None:
    assert report.ratio(_results(), "forest", "V1", "ours", "echo") == pytest.approx(0.9)
    assert report.ratio(_results(), "forest", "V1", "ours", "kserve-sklearn") == pytest.approx(1_800)
    assert report.ratio(_results(), "forest", "V2", "ours", "kserve-sklearn") is None


def test_the_report_names_what_was_kept_and_what_is_absent() -> None:
    results = _results()
    results.absent["mlflow"] = "could not be installed: no route"
    about = {"machine": "a machine", "models": {"forest": "300 trees"}}

    text = report.markdown(results, ["forest"], PEERS, about)

    assert "| forest, V1: times the stock server | at least 1000 | 1,800.00 | yes |" in text
    assert "Not measured: mlflow (could not be installed: no route)." in text
    assert json.loads(json.dumps(report.as_json(results, ["forest"], about)))["rate"]["forest/ours/V1/16"]


def test_installed_size_follows_requirements() -> None:
    assert {"fastapi", "starlette", "pydantic"} <= sizes.closure(["fastapi"])
    assert sizes.installed_mb(["fastapi"]) > 1
