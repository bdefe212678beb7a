"""What a client does wrong in HTTP/2, and the error that RFC 9113 and RFC 7541 name for it."""

from __future__ import annotations

import pytest

pytest.importorskip("h2", reason="h2 is not installed")

from tests.serving.native.http2peer import (
    CALM,
    CLOSED,
    COMPRESSION,
    CONTINUATION,
    DATA,
    FLOW,
    GOAWAY,
    HEAD,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL,
    PUSH_PROMISE,
    REFUSED,
    RST_STREAM,
    SETTINGS,
    SIZE,
    WINDOW_UPDATE,
    Server,
    called,
    changed,
    frame,
    goaways,
    head,
    message,
    number,
    opened,
    resets,
    setting,
    status,
)

# What ends the connection.

BROKEN: dict[str, tuple[bytes, int]] = {
    "settings on a stream": (frame(SETTINGS, 0, 1, b""), PROTOCOL),
    "settings of an odd size": (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    "an acknowledgement with settings": (frame(SETTINGS, 1, 0, bytes(6)), SIZE),
    "push neither on nor off": (setting(2, 2), PROTOCOL),
    "a window beyond 2^31-1": (setting(4, 1 << 31), FLOW),
    "frames too small": (setting(5, 16383), PROTOCOL),
    "frames too large": (setting(5, 1 << 24), PROTOCOL),
    "ping on a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "ping of 7 bytes": (frame(PING, 0, 0, bytes(7)), SIZE),
    "goaway on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "goaway of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    "window update of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "window update by nothing": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL),
    "window too large": (frame(WINDOW_UPDATE, 0, 0, number(0x7FFFFFFF)), FLOW),
    "window update of an idle stream": (frame(WINDOW_UPDATE, 0, 1, number(1)), PROTOCOL),
    "reset of an idle stream": (frame(RST_STREAM, 0, 1, bytes(4)), PROTOCOL),
    "reset of no stream": (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL),
    "reset of 3 bytes": (called() + frame(RST_STREAM, 0, 1, bytes(3)), SIZE),
    "priority of no stream": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "push from a client": (frame(PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL),
    "continuation of nothing": (frame(CONTINUATION, 4, 1, b""), PROTOCOL),
    "ping within a header block": (opened(flags=0) + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    "continuation of another stream": (opened(flags=0) + frame(CONTINUATION, 4, 3, b""), PROTOCOL),
    "headers of no stream": (opened(0), PROTOCOL),
    "headers of a server's stream": (opened(2), PROTOCOL),
    "a stream below the last": (called(5) + called(3), PROTOCOL),
    "headers of a closed stream": (called(1) + opened(1), CLOSED),
    "data of no stream": (frame(DATA, 0, 0, b"x"), PROTOCOL),
    "data of an idle stream": (frame(DATA, 0, 1, b"x"), PROTOCOL),
    "data of a closed stream": (called(1) + frame(DATA, 0, 1, b"x"), CLOSED),
    "data after a reset": (opened() + frame(RST_STREAM, 0, 1, bytes(4)) + frame(DATA, 0, 1, b"x"), CLOSED),
    "data that is all padding": (opened() + frame(DATA, 8, 1, b"\x05abc"), PROTOCOL),
    "headers that are all padding": (frame(HEADERS, 12, 1, b"\x05abc"), PROTOCOL),
    "headers without their priority": (frame(HEADERS, 36, 1, b"abc"), SIZE),
    "a frame above 16384 bytes": (frame(DATA, 0, 1, bytes(16385)), SIZE),
    "an index beyond the table": (frame(HEADERS, 4, 1, b"\xbe"), COMPRESSION),
    "index 0": (frame(HEADERS, 4, 1, b"\x80"), COMPRESSION),
    "a string beyond the block": (frame(HEADERS, 4, 1, b"\x00\x7f"), COMPRESSION),
    "an integer without end": (frame(HEADERS, 4, 1, b"\xff" + b"\xff" * 9), COMPRESSION),
    "a table above its limit": (frame(HEADERS, 4, 1, b"\x3f\xe2\x1f" + head()), COMPRESSION),
    "a limit after a field": (frame(HEADERS, 4, 1, head() + b"\x20"), COMPRESSION),
    "the end symbol in a string": (frame(HEADERS, 4, 1, b"\x00\x01a\x84\xff\xff\xff\xff"), COMPRESSION),
    "padding of zeros in a string": (frame(HEADERS, 4, 1, b"\x00\x01a\x81\x00"), COMPRESSION),
    "padding of a byte in a string": (frame(HEADERS, 4, 1, b"\x00\x01a\x82\x1f\xff"), COMPRESSION),
    "a header block without end": (
        opened(flags=0) + b"".join(frame(CONTINUATION, 0, 1, b"\0" * 9000) for _ in range(4)),
        CALM,
    ),
    "empty continuations without end": (opened(flags=0) + frame(CONTINUATION, 0, 1, b"") * 5000, CALM),
    "pings without end": (frame(PING, 0, 0, bytes(8)) * 5000, CALM),
    "settings without end": (frame(SETTINGS, 0, 0, b"") * 5000, CALM),
    "empty data without end": (opened() + frame(DATA, 0, 1, b"") * 5000, CALM),
    "priorities without end": (frame(PRIORITY, 0, 1, bytes(5)) * 5000, CALM),
    "unknown frames without end": (frame(99, 0, 1, b"") * 5000, CALM),
    "windows opened without end": (frame(WINDOW_UPDATE, 0, 0, number(1)) * 5000, CALM),
    "rapid resets": (
        b"".join(opened(stream) + frame(RST_STREAM, 0, stream, number(8)) for stream in range(1, 4001, 2)),
        CALM,
    ),
    "resets that we are made to send": (
        b"".join(opened(stream) + frame(WINDOW_UPDATE, 0, stream, bytes(4)) for stream in range(1, 4001, 2)),
        CALM,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("piece", [1 << 20, 7])
def test_what_breaks_the_connection_is_named(name: str, piece: int) -> None:
    data, code = BROKEN[name]
    server = Server()
    for start in range(0, len(data), piece):
        server.data_received(data[start : start + piece])

    assert goaways(server.said()) == [code]
    assert (server.over, server.endings) == (True, 1)
    assert server.hears(called(9_999)) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", PROTOCOL),
        (PREFACE[:10] + b"x", PROTOCOL),
        (PREFACE + frame(PING, 0, 0, bytes(8)), PROTOCOL),
        (PREFACE + frame(SETTINGS, 1, 0, b""), PROTOCOL),
    ],
)
def test_a_connection_begins_with_the_preface_and_settings(data: bytes, code: int) -> None:
    server = Server(greeted=False)
    server.said()

    assert goaways(server.hears(data)) == [code]


# What ends one stream.

MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no path": changed(":path", None),
    "no method": changed(":method", None),
    "no scheme": changed(":scheme", None),
    "two methods": [HEAD[0], *HEAD],
    "an empty path": changed(":path", ""),
    "an unknown field with a colon": changed(":other", "x"),
    "a field with a colon after others": [*HEAD[1:], HEAD[0]],
    "an upper-case name": [*HEAD, ("X-Name", "x")],
    "a name with a space": [*HEAD, ("x name", "x")],
    "no name": [*HEAD, ("", "x")],
    "a line break in a value": [*HEAD, ("x", "a\nb")],
    "a value that begins with a space": [*HEAD, ("x", " a")],
    "connection": [*HEAD, ("connection", "close")],
    "transfer-encoding": [*HEAD, ("transfer-encoding", "chunked")],
    "another te": changed("te", "gzip"),
    "two lengths": [*HEAD, ("content-length", "5"), ("content-length", "6")],
    "a length that is none": [*HEAD, ("content-length", "x")],
    "a length that is not met": [*HEAD, ("content-length", "6")],
    "a length that is passed": [*HEAD, ("content-length", "4")],
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_ends_its_stream_alone(name: str) -> None:
    server = Server()
    frames = server.hears(opened(1, MALFORMED[name]), frame(DATA, 1, 1, message(b"")))
    after = server.hears(called(3))

    assert (resets(frames), goaways(frames)) == ({1: PROTOCOL}, [])
    assert status(after, 3) == "0"


STREAMS: dict[str, tuple[bytes, int]] = {
    "data after the end": (called() + frame(DATA, 0, 1, b"x"), CLOSED),
    "headers after the end": (called() + opened(1), CLOSED),
    "trailers without an end": (opened() + frame(HEADERS, 4, 1, head([("x", "y")])), PROTOCOL),
    "trailers with a path": (opened() + frame(HEADERS, 5, 1, head([(":path", "/")])), PROTOCOL),
    "a window update by nothing": (called() + frame(WINDOW_UPDATE, 0, 1, bytes(4)), PROTOCOL),
    "a window too large": (called() + frame(WINDOW_UPDATE, 0, 1, number(0x7FFFFFFF)), FLOW),
    "priority of 4 bytes": (called() + frame(PRIORITY, 0, 1, bytes(4)), SIZE),
}


@pytest.mark.parametrize("name", STREAMS)
def test_what_breaks_a_stream_is_named(name: str) -> None:
    data, code = STREAMS[name]
    server = Server(echo=False)
    frames = server.hears(data)

    assert (resets(frames), goaways(frames), server.over) == ({1: code}, [], False)
    assert server.given_up == [call[0] for call in server.calls]


def test_streams_above_the_limit_are_refused_and_the_others_go_on() -> None:
    server = Server(echo=False)
    frames = server.hears(*(called(stream) for stream in range(1, 2 * 258, 2)))

    assert resets(frames) == {513: REFUSED, 515: REFUSED}
    assert len(server.calls) == 256
    assert server.streams == 256


def test_late_frames_of_a_stream_that_was_reset_are_ignored() -> None:
    server = Server()
    server.hears(opened(1, changed("te", "gzip")))

    assert server.hears(frame(DATA, 0, 1, b"x"), frame(WINDOW_UPDATE, 0, 1, number(1)), frame(DATA, 1, 1, b"")) == []
    assert not server.over
