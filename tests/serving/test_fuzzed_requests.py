"""Broken, odd and hostile bytes on every protocol: no 5xx, nothing unanswered, memory flat."""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.app import App
from serving.bundle import Bundle
from serving.connection import Connection
from serving.options import Options
from serving.predictor import make_predictor

ROW = [40, 1.5, "Lyon", 2, True, "2020-01-31"]
NAMES = ["age", "income", "city", "grade", "member", "since"]
KINDS = ["FP64", "FP64", "BYTES", "INT64", "BOOL", "BYTES"]
INPUTS = [
    {"name": name, "datatype": kind, "shape": [1], "data": [value]}
    for name, kind, value in zip(NAMES, KINDS, ROW, strict=True)
]
BINARY = json.dumps(
    {"inputs": [{"name": "age", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}, *INPUTS[1:]]}
).encode()


def _request(path: str, body: bytes, *lines: str) -> bytes:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: a",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


SEEDS = [
    _request("/v1/models/m:predict", json.dumps({"instances": [ROW]}).encode()),
    _request("/v1/models/m:predict", json.dumps({"instances": [dict(zip(NAMES, ROW, strict=True))]}).encode()),
    _request("/v1/models/m:explain", json.dumps({"instances": [ROW]}).encode()),
    _request("/v2/models/m/infer", json.dumps({"id": "a", "inputs": INPUTS}).encode(), "X-Request-Id: b"),
    _request("/v2/models/m/infer", BINARY + struct.pack("<d", 4.0), f"Inference-Header-Content-Length: {len(BINARY)}"),
    b'POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"ins\r\n0\r\n\r\n',
    b"GET /v2/models/m HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
]
TOKENS = [
    *(b"null", b"true", b"-1", b"1.5", b"1e999", b"NaN", b"9" * 400, b'"\xff"', b'"\\ud800"', b"\xf0\x9f\x98\x80"),
    *(b"[", b"]", b"{", b"}", b'"', b",", b"[" * 60, b"\x00", b"\x7f", b"\r\n", b"%", b"%00", b"/../"),
    *(b'"data":', b'"shape":[4294967296]', b'"shape":[0]', b'"datatype":"BYTES"', b"HEAD", b"HTTP/9.9"),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
]


def mutate(seed: bytes, generator: random.Random) -> bytes:
    """Return the request with a few random edits."""
    data = bytearray(seed)
    for _ in range(generator.choice((0, 1, 1, 2, 3, 8))):
        at = generator.randrange(len(data) + 1)
        match generator.randrange(5):
            case 0:
                data[at : at + 1] = bytes([generator.randrange(256)])
            case 1:
                del data[at : at + generator.randrange(1, 9)]
            case 2:
                data[at:at] = generator.choice(TOKENS)
            case 3:
                data[at : at + generator.randrange(1, 9)] = generator.choice(TOKENS)
            case _:
                start = generator.randrange(len(data) + 1)
                data[at:at] = data[start : start + generator.randrange(1, 40)]
    return bytes(data)


class Wire(asyncio.Transport):
    """Keeps what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def _talk(app: App, data: bytes, generator: random.Random) -> bytes:
    """Send bytes in random pieces, wait for requests in progress, hang up; return everything answered."""
    wire = Wire()
    connection = Connection(app)
    connection.connection_made(wire)
    while data and not wire.closed:
        size = generator.choice((len(data), len(data), 1, 7, 50))
        connection.data_received(data[:size])
        data = data[size:]
    while connection.busy:
        await asyncio.sleep(0)
    connection.eof_received()
    connection.connection_lost(None)
    return bytes(wire.sent)


def _check_answers(sent: bytes, request: bytes) -> None:
    rest = sent
    while rest:
        head, found, rest = rest.partition(b"\r\n\r\n")
        assert found, request
        status = int(head.split(b" ", 2)[1])
        # What the server does not speak (a coding, a version) is named so by the standard, and is no failure of it.
        assert 100 <= status < 500 or status in (501, 505), request
        assert b"Traceback" not in rest, request
        assert b"Error" not in rest, request
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        size = int(lengths[0].partition(b":")[2]) if lengths else 0
        body = rest[:size]
        if len(body) == size:
            rest = rest[size:]
        else:
            assert request.count(b"HEAD"), request
            rest = b""


async def _fuzz(bundle: Bundle, count: int) -> None:
    options = Options("m", str(bundle.folder), max_body_size=20_000, max_header_size=2_000)
    app = App(options, make_predictor(bundle, options))
    app.become_ready()
    generator = random.Random(7)
    for _ in range(count):
        data = b"".join(mutate(generator.choice(SEEDS), generator) for _ in range(generator.choice((1, 1, 2))))
        _check_answers(await _talk(app, data, generator), data)
    assert not app.connections
    assert app.metrics.in_flight == 0
    assert app.gate.held == 0, "every byte that was counted was given back"


@pytest.mark.parametrize("kind", ["mixed", "unfolded"])
def test_fuzzed_http_is_never_a_server_error(request: pytest.FixtureRequest, kind: str) -> None:
    asyncio.run(_fuzz(request.getfixturevalue(kind), 2_000))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_fuzzed_requests_are_never_a_server_error(mixed: Bundle) -> None:
    before = _resident(os.getpid())
    asyncio.run(_fuzz(mixed, 100_000))

    assert _resident(os.getpid()) - before < 30_000_000


def _resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def _message() -> bytes:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def tensor(name: str, kind: str, contents: bytes) -> bytes:
        return field(5, field(1, name.encode()) + field(2, kind.encode()) + field(3, b"\x01") + field(5, contents))

    number = field(7, struct.pack("<d", 4.0))
    values = {"FP64": number, "INT64": field(3, b"\x02"), "BOOL": field(1, b"\x01"), "BYTES": field(8, b"2020-01-31")}
    return field(1, b"m") + b"".join(tensor(name, kind, values[kind]) for name, kind in zip(NAMES, KINDS, strict=True))


def _fuzz_grpc(server: Any, count: int) -> set[grpc.StatusCode]:
    generator = random.Random(11)
    states = set()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        calls: list[Callable[..., Any]] = [
            channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
            for name in ("ModelInfer", "ModelInfer", "ModelMetadata", "ModelReady")
        ]
        for _ in range(count):
            try:
                generator.choice(calls)(mutate(_message(), generator), timeout=20)
                states.add(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                states.add(error.code())  # type: ignore[attr-defined]
    return states


def test_fuzzed_grpc_is_never_a_server_error(server: Any) -> None:
    states = _fuzz_grpc(server, 600)

    assert grpc.StatusCode.OK in states
    assert states <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_memory_stays_flat_under_fuzzed_grpc(server: Any) -> None:
    _fuzz_grpc(server, 5_000)
    before = _resident(server.process.pid)
    _fuzz_grpc(server, 30_000)

    assert _resident(server.process.pid) - before < 10_000_000
