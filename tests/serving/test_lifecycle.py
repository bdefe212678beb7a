"""Hot swaps and shutdowns under load: no request is lost, and nothing wrong is ever served."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving.bundle import Bundle
from tests.serving.callers import Crowd, swap

ROW = [40, 1.5, "Lyon", 2, True, "2020-01-31"]
BODY = json.dumps({"instances": [ROW]})
TENSORS = json.dumps(
    {
        "inputs": [
            {"name": name, "datatype": kind, "shape": [1], "data": [value]}
            for (name, kind), value in zip(
                [("age", "FP64"), ("income", "FP64"), ("city", "BYTES"), ("grade", "FP64"), ("member", "BOOL"),
                 ("since", "BYTES")],
                ROW,
                strict=True,
            )
        ]
    }
)  # fmt: skip


class Load(Crowd):
    """Clients that reconnect when the server says `Connection: close`.

    A refused connection is a server that is gone, not a lost request; anything else that is not 200 is a failure.
    """

    def _run(self) -> None:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop.is_set():
            try:
                if client.sock is None:
                    client.connect()
            except (ConnectionRefusedError, TimeoutError):
                self.outcomes["gone"] += 1
                return
            try:
                client.request("POST", "/v2/models/m/infer", TENSORS, {"content-type": "application/json"})
                answer = client.getresponse()
                document = json.loads(answer.read())
                self.outcomes[str(answer.status)] += 1
                self.versions[document.get("model_version", "")] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[type(error).__name__] += 1
                client.close()
        client.close()


def test_a_drain_under_load_loses_no_request_and_exits_with_0(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder, "--drain_delay", "0.5") as running, Load(running.http_port) as load:
        time.sleep(0.5)
        running.signal(signal.SIGTERM)
        running.wait_for("draining")
        ready = httpx.get(f"{running.url}/v2/health/ready")
        live = httpx.get(f"{running.url}/v2/health/live")
        code = running.process.wait(60)

    assert code == 0
    assert (ready.status_code, ready.headers["connection"], live.status_code) == (503, "close", 200)
    assert set(load.outcomes) == {"200", "gone"}
    assert load.outcomes["200"] > 100


def test_a_large_request_in_progress_is_finished_before_the_end(run_server: Callable[..., Any], mixed: Bundle) -> None:
    body = json.dumps({"instances": [ROW] * 60_000})
    answers: list[httpx.Response] = []
    with run_server(mixed.folder) as running:
        client = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{running.url}/v1/models/m:predict", content=body, timeout=60))
        )
        client.start()
        while 'headrace_requests_in_flight{model_name="m"} 1' not in httpx.get(f"{running.url}/metrics").text:
            time.sleep(0.01)
        code = running.stop()
        client.join()

    assert code == 0
    assert answers[0].status_code == 200
    assert len(answers[0].json()["predictions"]) == 60_000


def test_hot_swaps_under_load_fail_no_request(
    run_server: Callable[..., Any], reseal: Callable[..., Bundle], mixed: Bundle, tmp_path: Path
) -> None:
    _swap_for(run_server, reseal, mixed, tmp_path, swaps=4)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_hot_swaps_every_few_seconds_for_minutes_fail_no_request(
    run_server: Callable[..., Any], reseal: Callable[..., Bundle], mixed: Bundle, tmp_path: Path
) -> None:
    _swap_for(run_server, reseal, mixed, tmp_path, swaps=60, pause=10)


def _swap_for(run_server: Any, reseal: Any, mixed: Bundle, tmp_path: Path, swaps: int, pause: float = 0.0) -> None:
    folders = [mixed.folder, reseal(mixed, tmp_path / "v4", "4").folder]
    current = tmp_path / "current"
    current.symlink_to(folders[0])
    with run_server(current) as running, Load(running.http_port) as load:
        swap(running, current, folders, swaps, pause)
        text = httpx.get(f"{running.url}/metrics").text
    assert set(load.outcomes) == {"200"}
    assert set(load.versions) == {"3", "4"}
    assert f'headrace_swaps_total{{model_name="m",outcome="done"}} {swaps}' in text


def test_a_bad_bundle_never_replaces_a_good_one(
    run_server: Callable[..., Any], reseal: Callable[..., Bundle], mixed: Bundle, tmp_path: Path
) -> None:
    bad = reseal(mixed, tmp_path / "bad", "4")
    (bad.folder / "card.md").write_text("changed")
    current = tmp_path / "current"
    current.symlink_to(mixed.folder)
    with run_server(current) as running:
        current.unlink()
        current.symlink_to(bad.folder)
        running.signal(signal.SIGHUP)
        event = running.wait_for("the new bundle is refused, the old one stays")
        served = httpx.post(f"{running.url}/v1/models/m:predict", content=BODY)
        model = httpx.get(f"{running.url}/v2/models/m").json()
        text = httpx.get(f"{running.url}/metrics").text

    assert "card.md does not match its digest" in event["message"]
    assert served.status_code == 200
    assert model["versions"] == ["3"]
    assert 'headrace_swaps_total{model_name="m",outcome="refused"} 1' in text


def test_a_swap_to_the_same_bundle_changes_nothing(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder) as running:
        running.signal(signal.SIGHUP)
        running.wait_for("bundle accepted", 2)
        deadline = time.monotonic() + 20
        while 'outcome="unchanged"} 1' not in (text := httpx.get(f"{running.url}/metrics").text):
            assert time.monotonic() < deadline, text
            time.sleep(0.02)


def test_grpc_calls_in_progress_survive_the_drain(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder, "--drain_delay", "0.3") as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
            before = ready(b"", timeout=20)
            running.signal(signal.SIGTERM)
            running.wait_for("draining")
            during = ready(b"", timeout=20)
        code = running.process.wait(60)

    assert (before, during, code) == (b"\x08\x01", b"", 0)


def test_health_is_answered_between_the_steps_of_large_requests(server: Any) -> None:
    body = json.dumps({"instances": [ROW] * 20_000})
    order: list[str] = []

    def ask(name: str) -> None:
        assert httpx.post(f"{server.url}/v1/models/m:predict", content=body, timeout=60).status_code == 200
        order.append(name)

    clients = [threading.Thread(target=ask, args=(f"large {number}",)) for number in range(4)]
    for client in clients:
        client.start()
    while 'headrace_requests_in_flight{model_name="m"} 0' in httpx.get(f"{server.url}/metrics").text:
        time.sleep(0.005)
    for _ in range(5):
        assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
    order.append("health")
    for client in clients:
        client.join()

    assert order[-1] != "health"


def test_a_queue_that_is_too_long_is_refused_with_retry_after(run_server: Callable[..., Any], mixed: Bundle) -> None:
    body = json.dumps({"instances": [ROW] * 20_000})
    answers: list[httpx.Response] = []
    with run_server(mixed.folder, "--max_waiting", "1") as running:
        url = f"{running.url}/v1/models/m:predict"
        clients = [
            threading.Thread(target=lambda: answers.append(httpx.post(url, content=body, timeout=60))) for _ in range(6)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        small = httpx.post(url, content=BODY)

    states = Counter(answer.status_code for answer in answers)
    assert set(states) == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert small.status_code == 200
