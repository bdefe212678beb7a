"""The other side of a gRPC connection, for tests: frames by hand or by the h2 libraries, and the answers to them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import pytest

from serving import native

if not native.available():
    pytest.skip("the C extension is not built here", allow_module_level=True)
hyperframe = pytest.importorskip("hyperframe.frame", reason="h2 is not installed")
hpack = pytest.importorskip("hpack", reason="h2 is not installed")
h2_connection = pytest.importorskip("h2.connection", reason="h2 is not installed")
h2_config = pytest.importorskip("h2.config", reason="h2 is not installed")
h2_events = pytest.importorskip("h2.events", reason="h2 is not installed")

from serving.native._native import Gate, RpcWire  # noqa: E402  (only where the extension is built)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, CALM = 1, 3, 5, 6, 7, 8, 9, 11
LIMIT = 1 << 20
HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ServerLive"),
    (":authority", "a"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 1


class Server(RpcWire):
    """A connection that notes its calls; `echo` answers them with their own message."""

    def __init__(self, echo: bool = True, greeted: bool = True, gate: Gate | None = None) -> None:
        self.gate = gate or Gate()
        super().__init__(self.gate, LIMIT, 16384, 30.0, 120.0)
        self.echo = echo
        self.calls: list[tuple[int, bytes, dict[bytes, bytes], bytes, bool, float]] = []
        self.given_up: list[int] = []
        self.endings = 0
        self.transport = Transport()
        self.attach(self.transport, -1)
        if greeted:
            self.data_received(PREFACE + frame(SETTINGS, 0, 0, b""))
            self.said()

    def called(
        self, stream: int, path: bytes, metadata: Any, message: bytes, compressed: bool, timeout: float, _: Any
    ) -> None:
        self.calls.append((stream, path, metadata, message, compressed, timeout))
        if self.echo:
            self.answer(stream, message)

    def cancelled(self, stream: int) -> None:
        self.given_up.append(stream)

    def ending(self) -> None:
        self.endings += 1

    def said(self) -> list[Any]:
        """Return the frames since the last look."""
        frames, rest = [], memoryview(self.transport.written)
        self.transport.written = b""
        while rest:
            made, length = hyperframe.Frame.parse_frame_header(rest[:9])
            made.parse_body(rest[9 : 9 + length])
            frames.append(made)
            rest = rest[9 + length :]
        return frames

    def hears(self, *data: bytes) -> list[Any]:
        """Return what it says to these bytes."""
        self.data_received(b"".join(data))
        return self.said()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def head(fields: Iterable[tuple[str, str]] = HEAD) -> bytes:
    """Return a header block that uses no table."""
    block = b""
    for name, value in fields:
        block += bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return block


def message(data: bytes) -> bytes:
    return struct.pack(">BI", 0, len(data)) + data


def opened(stream: int = 1, fields: Iterable[tuple[str, str]] = HEAD, flags: int = 4) -> bytes:
    return frame(HEADERS, flags, stream, head(fields))


def called(stream: int = 1, data: bytes = b"") -> bytes:
    return opened(stream) + frame(DATA, 1, stream, message(data))


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def changed(name: str, value: str | None) -> list[tuple[str, str]]:
    """Return the usual head with one field changed, added or taken out."""
    fields = [(known, text) for known, text in HEAD if known != name]
    if value is None:
        return fields
    return [(name, value), *fields] if name.startswith(":") else [*fields, (name, value)]


def goaways(frames: list[Any]) -> list[int]:
    return [one.error_code for one in frames if isinstance(one, hyperframe.GoAwayFrame)]


def resets(frames: list[Any]) -> dict[int, int]:
    return {one.stream_id: one.error_code for one in frames if isinstance(one, hyperframe.RstStreamFrame)}


def status(frames: list[Any], stream: int = 1) -> str | None:
    """Return the grpc-status among the header blocks of a stream."""
    decoder = hpack.Decoder()
    found = None
    for one in frames:
        if isinstance(one, hyperframe.HeadersFrame):
            fields = dict(decoder.decode(one.data))
            found = fields.get("grpc-status", found) if one.stream_id == stream else found
    return found


def client() -> Any:
    made = h2_connection.H2Connection(h2_config.H2Configuration(client_side=True, header_encoding="utf-8"))
    made.initiate_connection()
    return made


def exchange(made: Any, server: Server) -> list[Any]:
    """Return the client's events until neither side has more to say."""
    events: list[Any] = []
    while data := made.data_to_send():
        server.data_received(data)
        answer, server.transport.written = server.transport.written, b""
        events += made.receive_data(answer) if answer else []
    return events
