"""However much is sent at once, a server in a pod of 512 MiB lives, stays within its memory, and answers its probes.

Each attack is one that ended a server: see what each says. They run against a process in a memory cgroup of its own;
where none can be made, the peak of its resident memory is held against the same limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving import budget, native
from serving.budget import Held
from serving.bundle import Bundle
from serving.oip import inference_pb2 as oip
from serving.wire import PlainGate
from tests.serving.cages import POD, caged, peak, ready

BODY = 16 << 20
COLUMNS = 4


@pytest.fixture
def pod(run_server: Callable[..., Any], flowers: Bundle) -> Iterator[Any]:
    """A server that may use 512 MiB, and knows it."""
    with run_server(flowers.folder, "--max_in_flight_bytes", str(budget.default_limit(POD))) as running:
        with caged(running.process.pid):
            yield running
            assert running.process.poll() is None, "the server is gone"
            assert peak(running.process.pid) < POD
        assert running.stop() == 0


def _request(body: bytes) -> bytes:
    return b"POST /v1/models/m:predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("item", [b"[[[]]]", b'{"a":0}', b"[]", b"[1,2,3,4]", b"1", b'"",""'])
@pytest.mark.parametrize("path", ["/v1/models/m:predict", "/v2/models/m/infer", "/v1/models/m:explain"])
def test_a_body_of_tiny_values_is_bounded_before_it_is_parsed(pod: Any, item: bytes, path: str) -> None:
    name = b"inputs" if "infer" in path else b"instances"
    body = b'{"%s":[' % name + b",".join([item] * (BODY // (len(item) + 1) - 20)) + b"]}"

    answer = httpx.post(f"{pod.url}{path}", content=body, timeout=60)

    assert answer.status_code in (400, 413), answer.text
    assert ready(pod)
    if native.available():
        assert peak(pod.process.pid) < 200 << 20


def test_bodies_that_never_end_together_stay_within_the_budget(pod: Any) -> None:
    """Sixty connections that send 16 MB less a byte each: they were a gigabyte."""
    held = []
    for _ in range(60):
        one = socket.create_connection(("127.0.0.1", pod.http_port))
        one.settimeout(5)
        held.append(one)
        with contextlib.suppress(OSError):
            one.sendall(_request(b" " * BODY)[:-1])

    assert ready(pod)
    text = httpx.get(f"{pod.url}/metrics").text
    in_flight = float(
        next(line for line in text.splitlines() if line.startswith("headrace_in_flight_bytes{")).split()[-1]
    )
    refused = float(
        next(line for line in text.splitlines() if line.startswith("headrace_requests_shed_total")).split()[-1]
    )
    for one in held:
        one.close()
    assert 0 < in_flight <= budget.default_limit(POD)
    assert refused > 0
    deadline = time.monotonic() + 30
    while 'headrace_in_flight_bytes{model_name="m"} 0' not in httpx.get(f"{pod.url}/metrics").text:
        assert time.monotonic() < deadline, "what was held is given back"
        time.sleep(0.05)


def test_what_is_over_the_budget_is_refused_with_when_to_come_back(
    run_server: Callable[..., Any], flowers: Bundle
) -> None:
    body = json.dumps({"instances": [[1, 2, 3, 4]] * 20_000}).encode()
    with run_server(flowers.folder, "--max_in_flight_bytes", str(len(body) - 1)) as running:
        over = httpx.post(f"{running.url}/v1/models/m:predict", content=body)
        under = httpx.post(f"{running.url}/v1/models/m:predict", content=body[:-12] + b"]]}")

        assert (over.status_code, over.headers["retry-after"]) == (503, "1")
        assert "holds as many bytes of requests as it may" in over.json()["error"]
        assert under.status_code == 400
        assert running.stop() == 0


def test_bodies_behind_one_another_on_a_connection_are_not_read_ahead(pod: Any) -> None:
    """One connection pipelined fifty bodies of 16 MB behind a large one: they were 874 MB."""
    large = json.dumps({"instances": [[1, 2, 3, 4]] * 90_000}).encode()
    sender = socket.create_connection(("127.0.0.1", pod.http_port))
    stop = threading.Event()

    def send() -> None:
        with contextlib.suppress(OSError):
            sender.sendall(_request(large) * 3)
            for _ in range(50):
                if stop.is_set():
                    return
                sender.sendall(_request(b" " * BODY))

    thread = threading.Thread(target=send)
    thread.start()
    for _ in range(20):
        assert ready(pod)
        time.sleep(0.05)
    stop.set()
    sender.close()
    thread.join(30)


def test_compressed_calls_are_unpacked_when_it_is_their_turn(pod: Any) -> None:
    """Sixty gzip calls of 15 kB, each 15 MB when unpacked, on one connection: they were 1.7 GB."""
    rows = 100_000
    message = oip.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype="FP64", shape=[rows, COLUMNS]).contents.fp64_contents.extend(
        [0.0] * rows * COLUMNS
    )
    message.parameters["unread"].string_param = "x" * (12 << 20)  # as long as a message may be, and as well packed
    data = message.SerializeToString()
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{pod.grpc_port}", options, grpc.Compression.Gzip) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        calls = [infer.future(data, timeout=120) for _ in range(60)]
        assert ready(pod)
        outcomes = ["OK" if call.exception() is None else call.code().name for call in calls]

    assert outcomes.count("OK") > 0
    assert peak(pod.process.pid) < 256 << 20
    assert set(outcomes) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}


def test_large_requests_at_once_are_answered_one_after_the_other(pod: Any) -> None:
    """Ten ordinary requests within every limit ended a server of 512 MiB; step by step in turns, none was in time."""
    names = [f"length {place}" for place in range(COLUMNS)]
    body = json.dumps({"instances": [dict.fromkeys(names, 1.25)] * 95_000}).encode()
    codes: list[int] = []

    def ask() -> None:
        codes.append(httpx.post(f"{pod.url}/v1/models/m:predict", content=body, timeout=120).status_code)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert ready(pod)
        time.sleep(0.02)

    assert set(codes) <= {200, 503}
    assert codes.count(200) >= 1


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        (b",]}", "is not JSON"),
        (b",[1,2,3]]}", "instances[20000]"),
        (b',"x"]}', "instances[20000]"),
        (b"] ", "is not JSON"),
        (b'],"extra":1}', "unknown field"),
        (b'],"instances":[]}', "at least one row"),
        (b'],"inst\\u0061nces":[[1,2]]}', "instances[0]"),
    ],
)
def test_a_large_request_is_refused_for_what_a_small_one_is(
    run_server: Callable[..., Any], flowers: Bundle, tail: bytes, told: str
) -> None:
    body = b'{"instances":[' + b",".join([b"[1.5,2,3,4]"] * 20_000) + tail
    with run_server(flowers.folder) as running:
        answer = httpx.post(f"{running.url}/v1/models/m:predict", content=body)
        running.stop()

    assert answer.status_code == 400
    assert told in answer.json()["error"]


def test_a_large_request_gets_the_answers_of_small_ones(run_server: Callable[..., Any], flowers: Bundle) -> None:
    rows = [[place % 80 / 10, place % 7, place % 5 / 3, place % 3] for place in range(15_000)]
    with run_server(flowers.folder) as running:
        url = f"{running.url}/v1/models/m:predict"
        whole = httpx.post(url, json={"instances": rows, "parameters": {"probabilities": True}}, timeout=60).json()
        parts = [httpx.post(url, json={"instances": rows[at : at + 500]}).json() for at in range(0, len(rows), 500)]
        running.stop()

    assert whole["predictions"] == [label for part in parts for label in part["predictions"]]
    assert len(whole["probabilities"]) == len(rows)


def test_holding_and_giving_back() -> None:
    gate = PlainGate()
    gate.limit = 100
    first, second = Held(gate), Held(gate)

    assert first.grow(60)
    assert not second.grow(41)
    assert second.grow(40)
    first.release()
    first.release()
    assert gate.held == 40


def test_the_limit_follows_the_memory_of_the_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory" / "pods" / "one").mkdir(parents=True)
    (tmp_path / "memory" / "pods" / "memory.limit_in_bytes").write_text("1000000000\n")
    (tmp_path / "memory" / "pods" / "one" / "memory.limit_in_bytes").write_text("536870912\n")
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/pods/one\n3:cpu:/x\n")
    monkeypatch.setattr(budget, "ROOT", tmp_path)
    monkeypatch.setattr(budget, "OWN", own)

    assert budget.memory_limit() == 536870912
    assert budget.default_limit() == int(536870912 * budget.SHARE)
    own.write_text("0::/\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert budget.memory_limit() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
