"""What a connection answers by itself, and what it gives to Python."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from serving import native
from serving.wire import PlainGate, PlainWire

if native.available():
    from serving.wire import Gate, Wire

ROW = [54.2, 180, "typical", 7, True, "2001-02-03"]
BODY = json.dumps({"instances": [ROW]}).encode()
HEAD = b"POST /v1/models/heart:predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


class Transport:
    """Keeps what is written, and says that it holds `held` bytes."""

    def __init__(self) -> None:
        self.written = b""
        self.held = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.held


class Connected(Wire):
    """A wire over one end of a socket pair."""

    def __init__(self, gate: Gate, direct: bool = True) -> None:
        super().__init__(gate)
        self.transport = Transport()
        self.near, self.far = socket.socketpair()
        self.far.setblocking(False)
        self.passed: list[bytes] = []
        self.attach(self.transport, self.near.fileno() if direct else -1)

    def received(self, data: bytes) -> None:
        self.passed.append(data)

    def arrived(self) -> bytes:
        """Return what the other end can read now."""
        try:
            return self.far.recv(1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def gate(folded: dict[str, Any]) -> Gate:
    gate = Gate()
    model = folded["forest"]
    gate.fast = native.fast(native.table(model.data), "heart", "3", model.schema)
    return gate


@pytest.fixture
def wire(gate: Gate) -> Iterator[Connected]:
    wire = Connected(gate)
    yield wire
    wire.close()


def test_an_ordinary_request_is_answered_straight_to_the_socket(wire: Connected, gate: Gate) -> None:
    gate.clock = 7
    wire.data_received(REQUEST)

    assert gate.fast is not None
    assert wire.arrived() == gate.fast.handle(REQUEST)
    assert (wire.transport.written, wire.passed, wire.seen) == (b"", [], 7)


def test_where_bytes_need_the_transport_they_go_through_it(gate: Gate) -> None:
    wire = Connected(gate, direct=False)
    wire.data_received(REQUEST)

    assert wire.transport.written.startswith(b"HTTP/1.1 200")
    assert wire.arrived() == b""
    wire.close()


def test_an_answer_waits_behind_what_the_transport_still_holds(wire: Connected) -> None:
    wire.queued = True
    wire.transport.held = 5
    wire.data_received(REQUEST)
    behind = (wire.arrived(), wire.transport.written[:12])
    wire.transport.held = 0
    wire.data_received(REQUEST)

    assert behind == (b"", b"HTTP/1.1 200")
    assert wire.arrived().startswith(b"HTTP/1.1 200")


def test_what_a_full_socket_does_not_take_goes_through_the_transport(wire: Connected, gate: Gate) -> None:
    wire.near.setblocking(False)
    filler = 0
    while True:
        try:
            filler += wire.near.send(b"x" * 100)
        except BlockingIOError:
            break
    wire.data_received(REQUEST)
    received = b""
    while chunk := wire.arrived():
        received += chunk

    assert gate.fast is not None
    assert received[filler:] + wire.transport.written == gate.fast.handle(REQUEST)
    assert wire.transport.written
    assert wire.queued


def test_a_broken_socket_is_left_to_the_transport_to_notice(wire: Connected) -> None:
    wire.far.close()
    wire.data_received(REQUEST)

    assert wire.transport.written.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", REQUEST[:-1], REQUEST * 2])
def test_other_bytes_are_given_to_python(data: bytes, wire: Connected) -> None:
    wire.data_received(data)

    assert wire.passed == [data]
    assert (wire.arrived(), wire.transport.written) == (b"", b"")


def test_in_the_middle_of_something_all_bytes_are_given_to_python(wire: Connected) -> None:
    wire.plain = False
    wire.data_received(REQUEST)

    assert wire.passed == [REQUEST]


def test_a_change_of_the_gate_reaches_open_connections(wire: Connected, gate: Gate) -> None:
    gate.fast = None
    wire.data_received(REQUEST)

    assert wire.passed == [REQUEST]


def test_a_lost_connection_sends_nothing(wire: Connected) -> None:
    wire.detach()
    wire.data_received(REQUEST)

    assert (wire.arrived(), wire.transport.written, wire.passed) == (b"", b"", [REQUEST])


def test_exactly_the_share_of_requests_is_given_to_python_to_be_logged(folded: dict[str, Any]) -> None:
    gate = Gate(0.25)
    model = folded["forest"]
    gate.fast = native.fast(native.table(model.data), "heart", "3", model.schema)
    wire = Connected(gate)
    for _ in range(40):
        wire.sampled = -1
        wire.data_received(REQUEST)
        wire.arrived()

    assert len(wire.passed) == 10
    wire.close()


@pytest.mark.parametrize("kind", [PlainGate, Gate])
@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.3, 30), (1.0, 100)])
def test_the_share_is_met_in_c_and_in_python(kind: Any, share: float, count: int) -> None:
    gate = kind(share)

    assert sum(gate.due() for _ in range(100)) == pytest.approx(count, abs=1 if 0 < share < 1 else 0)


def test_without_the_extension_everything_is_given_to_python() -> None:
    class Kept(PlainWire):
        passed = b""

        def received(self, data: bytes) -> None:
            self.passed += data

    wire = Kept(PlainGate())
    wire.attach(Transport(), 0)
    wire.data_received(REQUEST)

    assert wire.passed == REQUEST


def test_a_gate_takes_nothing_but_a_hot_path() -> None:
    with pytest.raises(TypeError, match="expected a Fast or None, got str"):
        Gate().fast = "fast"  # type: ignore[assignment]
