"""The HTTP/2 connection of gRPC as RFC 9113 and RFC 7541 want it, with the h2 libraries as the other side."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("h2", reason="h2 is not installed")

from tests.serving.native.http2peer import (
    CALM,
    CANCEL,
    CONTINUATION,
    DATA,
    FLOW,
    GOAWAY,
    HEAD,
    HEADERS,
    LIMIT,
    PING,
    PREFACE,
    PRIORITY,
    REFUSED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Server,
    called,
    changed,
    client,
    exchange,
    frame,
    goaways,
    h2_events,
    head,
    hpack,
    hyperframe,
    message,
    number,
    opened,
    resets,
    setting,
    status,
)

# What has to work.


def test_frames_that_mean_nothing_here_are_ignored() -> None:
    server = Server()
    ignored = [
        frame(99, 255, 7, b"abc"),
        frame(PRIORITY, 0, 1, bytes(5)),
        setting(77, 1),
        frame(GOAWAY, 0, 0, bytes(8)),
    ]
    frames = server.hears(*ignored, called(1, b"abc"))

    assert status(frames) == "0"


def test_a_ping_is_answered_with_its_own_bytes() -> None:
    (answer,) = Server().hears(frame(PING, 0, 0, b"12345678"))

    assert (answer.opaque_data, "ACK" in answer.flags) == (b"12345678", True)


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
def test_a_call_may_come_in_pieces_padded_and_continued(piece: int) -> None:
    server = Server()
    block = head()
    data = frame(HEADERS, 0x28, 1, b"\x03" + bytes(5) + block[:20] + bytes(3)) + frame(CONTINUATION, 0, 1, b"")
    data += frame(CONTINUATION, 4, 1, block[20:])
    data += frame(DATA, 8, 1, b"\x02" + message(b"abc")[:4] + bytes(2)) + frame(DATA, 0, 1, message(b"abc")[4:])
    data += frame(HEADERS, 5, 1, head([("x-trailer", "y")]))
    for start in range(0, len(data), piece):
        server.data_received(data[start : start + piece])

    assert server.calls[0][3] == b"abc"
    assert status(server.said()) == "0"


def test_an_independent_client_is_answered_with_compressed_heads_in_any_mood_of_its_table() -> None:
    server, made = Server(greeted=False), client()
    exchange(made, server)
    for turn in range(60):
        if turn % 7 == 0:
            made.encoder.header_table_size = (4096, 0, 100, 300, 4096)[turn // 7 % 5]
        if turn == 30:
            made.update_settings({1: 0})
        stream = made.get_next_available_stream_id()
        made.send_headers(stream, [*HEAD, ("x-request-id", f"id-{turn}"), ("x-long", "ü%~" * turn)])
        made.send_data(stream, message(b"abc"), end_stream=True)
        events = exchange(made, server)
        trailers = [dict(event.headers) for event in events if isinstance(event, h2_events.TrailersReceived)]

        assert trailers == [{"grpc-status": "0"}]
        assert server.calls[-1][2][b"x-request-id"] == b"id-%d" % turn
        assert server.calls[-1][2].get(b"x-long", b"") == ("ü%~" * turn).encode()


def test_a_long_answer_waits_for_the_windows_and_follows_their_changes() -> None:
    server = Server()
    body = bytes(range(256)) * 1000
    frames = server.hears(setting(4, 10), frame(WINDOW_UPDATE, 0, 0, number(1 << 20)), opened(1), *(
        frame(DATA, int(start + 16000 >= len(body) + 5), 1, message(body)[start : start + 16000])
        for start in range(0, len(body) + 5, 16000)
    ))  # fmt: skip
    first = b"".join(one.data for one in frames if isinstance(one, hyperframe.DataFrame))
    frames = server.hears(setting(4, 30_010))
    second = b"".join(one.data for one in frames if isinstance(one, hyperframe.DataFrame))
    silent = server.hears(setting(4, 0))
    frames = server.hears(frame(WINDOW_UPDATE, 0, 1, number(1 << 20)))
    rest = b"".join(one.data for one in frames if isinstance(one, hyperframe.DataFrame))

    assert (len(first), len(second), [type(one) for one in silent]) == (10, 30_000, [hyperframe.SettingsFrame])
    assert first + second + rest == message(body)
    assert status(frames) == "0"


def test_answers_share_the_connection_window_in_turns() -> None:
    server = Server(echo=False)
    server.hears(setting(4, 1 << 20), called(1), called(3))
    server.answer(1, bytes(200_000))
    server.answer(3, bytes(200_000))
    frames = server.said() + server.hears(frame(WINDOW_UPDATE, 0, 0, number(65536)))
    sent = {1: 0, 3: 0}
    for one in frames:
        if isinstance(one, hyperframe.DataFrame):
            sent[one.stream_id] += len(one.data)

    assert sum(sent.values()) == 65535 + 65536
    assert sent[3] >= 32768


def test_long_messages_are_let_in_while_all_of_them_fit_and_no_longer() -> None:
    server = Server()
    first = server.hears(opened(1), frame(DATA, 0, 1, struct.pack(">BI", 0, LIMIT)))
    second = server.hears(opened(3), frame(DATA, 0, 3, struct.pack(">BI", 0, LIMIT)))
    beyond = server.hears(opened(5), frame(DATA, 0, 5, struct.pack(">BI", 0, LIMIT)), *(
        frame(DATA, 0, 5, bytes(16384)) for _ in range(4)
    ))  # fmt: skip
    freed = server.hears(frame(RST_STREAM, 0, 1, number(8)))

    assert [(one.stream_id, one.window_increment) for one in first] == [(1, LIMIT - 65530)]
    assert second == []
    assert resets(beyond) == {5: FLOW}
    assert [(one.stream_id, one.window_increment) for one in freed] == [(3, LIMIT - 65530)]


def test_a_window_ends_at_its_last_byte() -> None:
    """Two streams wait for room for a long message, with the window that every stream has."""
    server = Server()
    begun = [opened(stream) + frame(DATA, 0, stream, struct.pack(">BI", 0, LIMIT)) for stream in (1, 3, 5)]
    body = [bytes(16384)] * 3 + [bytes(65530 - 3 * 16384)]
    full = server.hears(*begun, *(frame(DATA, 0, 3, part) for part in body))
    beyond = server.hears(*(frame(DATA, 0, 5, part) for part in body), frame(DATA, 0, 5, b"x"))

    assert resets(full) == {}
    assert resets(beyond) == {5: FLOW}


def test_the_window_that_padding_took_is_given_back() -> None:
    server = Server()
    padded = frame(DATA, 8, 1, b"\xff" + b"x" + bytes(255))
    frames = server.hears(opened(), frame(DATA, 0, 1, struct.pack(">BI", 0, 400)), padded * 400, frame(DATA, 1, 1, b""))
    given = sum(one.window_increment for one in frames if isinstance(one, hyperframe.WindowUpdateFrame))

    assert given == 400 * 256
    assert server.calls[0][3] == b"x" * 400
    assert status(frames) == "0"


def test_short_answers_stop_where_the_connection_window_ends() -> None:
    server = Server()
    frames = server.hears(*(called(stream, bytes(995)) for stream in range(1, 201, 2)))
    sent = sum(len(one.data) for one in frames if isinstance(one, hyperframe.DataFrame))
    frames = server.hears(frame(WINDOW_UPDATE, 0, 0, number(1 << 20)))
    rest = sum(len(one.data) for one in frames if isinstance(one, hyperframe.DataFrame))

    assert (sent, sent + rest) == (65535, 100 * 1000)


def test_a_head_with_the_same_bytes_means_what_the_table_says_by_then() -> None:
    server = Server()
    newest = head() + b"\xbe"
    blocks = [head() + b"\x40\x03x-a\x011", newest, newest, newest, head() + b"\x40\x03x-b\x012", newest, newest]
    for turn, block in enumerate(blocks):
        stream = 2 * turn + 1
        server.hears(frame(HEADERS, 4, stream, block), frame(DATA, 1, stream, message(b"")))
    seen = [{name: value for name, value in call[2].items() if name.startswith(b"x-")} for call in server.calls]

    assert seen == [{b"x-a": b"1"}] * 4 + [{b"x-b": b"2"}] * 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (opened() + frame(DATA, 0, 1, struct.pack(">BI", 0, LIMIT + 1)), "8"),
        (opened() + frame(DATA, 1, 1, struct.pack(">BI", 2, 0)), "3"),
        (opened() + frame(DATA, 1, 1, message(b"a") + b"x"), "3"),
        (opened() + frame(DATA, 1, 1, message(b"abc")[:-1]), "3"),
        (opened() + frame(DATA, 1, 1, b""), "3"),
        (opened(flags=5), "3"),
        (opened(1, [*HEAD, ("grpc-timeout", "1x")]), "3"),
        (opened(1, [*HEAD, ("grpc-timeout", "123456789S")]), "3"),
        (opened(1, [*HEAD, *((f"x-{i}", "y" * 120) for i in range(110))]), "8"),
    ],
)
def test_what_grpc_cannot_take_ends_with_a_status(data: bytes, expected: str) -> None:
    frames = Server().hears(data)

    assert status(frames) == expected
    assert set(resets(frames).values()) <= {0}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (changed(":method", "GET"), "405"),
        (changed("content-type", "application/json"), "415"),
        (changed("content-type", "application/grpc-web"), "415"),
        (changed("content-type", None), "415"),
    ],
)
def test_what_is_not_grpc_gets_a_status_of_http(fields: list[tuple[str, str]], code: str) -> None:
    frames = Server().hears(opened(1, fields, flags=5))

    assert dict(hpack.Decoder().decode(frames[0].data))[":status"] == code
    assert "END_STREAM" in frames[0].flags


def test_a_caller_may_finish_sending_after_its_answer_within_its_window() -> None:
    server = Server()
    early = server.hears(opened(1, changed("content-type", "text/plain")), frame(DATA, 0, 1, bytes(100)))
    late = server.hears(frame(DATA, 1, 1, bytes(100)))
    beyond = server.hears(opened(3, changed("content-type", "text/plain")), *(
        frame(DATA, 0, 3, bytes(size)) for size in (16384, 16384, 16384, 16383)
    ))  # fmt: skip

    assert (resets(early), resets(late), resets(beyond)) == ({}, {}, {3: 0})
    assert server.streams == 0


def test_a_caller_that_never_finishes_sending_is_stopped() -> None:
    server = Server()
    server.hears(opened(1, changed("content-type", "text/plain")))
    for _ in range(31):
        server.gate.clock += 1
        server.tick()

    assert resets(server.said()) == {1: 0}


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc;charset=utf-8", "application/grpc"])
def test_all_names_of_grpc_with_protobuf_are_taken(kind: str) -> None:
    assert status(Server().hears(opened(1, changed("content-type", kind)), frame(DATA, 1, 1, message(b"")))) == "0"


def test_a_message_of_a_status_is_percent_encoded() -> None:
    server = Server(echo=False)
    server.hears(called())
    server.refuse(1, 3, "50 % für\n" + "ä" * 5000)
    fields = dict(hpack.Decoder().decode(server.said()[0].data))

    assert fields["grpc-message"].startswith("50 %25 f%C3%BCr%0A%C3%A4%C3%A4")
    assert fields["grpc-message"].endswith("%C3%A4")


def test_timeouts_of_the_caller_are_read() -> None:
    server = Server(echo=False)
    for stream, text in ((1, "5S"), (3, "250m"), (5, "1H"), (7, "30u")):
        server.hears(opened(stream, [*HEAD, ("grpc-timeout", text)]), frame(DATA, 1, stream, message(b"")))

    assert [call[5] for call in server.calls] == pytest.approx([5.0, 0.25, 3600.0, 3e-5])


def test_an_answer_to_a_call_that_was_given_up_goes_nowhere() -> None:
    server = Server(echo=False)
    server.hears(called(), frame(RST_STREAM, 0, 1, number(CANCEL)))
    server.answer(1, b"late")

    assert server.given_up == [1]
    assert server.said() == []


# Its end.


def test_a_drain_takes_what_is_on_its_way_and_finishes_it() -> None:
    server = Server(echo=False)
    server.hears(called(1))
    server.drain()
    announced = server.said()
    server.hears(called(3))
    final = server.hears(frame(PING, 1, 0, announced[1].opaque_data))
    late = server.hears(called(5))
    server.answer(1, b"")
    server.answer(3, b"")

    assert (announced[0].last_stream_id, announced[0].error_code) == (0x7FFFFFFF, 0)
    assert (final[0].last_stream_id, final[0].error_code) == (3, 0)
    assert resets(late) == {5: REFUSED}
    assert status(server.said(), 3) == "0"
    assert (server.over, server.endings) == (True, 1)


def test_a_drain_does_not_wait_for_a_peer_that_is_silent() -> None:
    server = Server()
    server.drain()
    server.gate.clock += 5
    server.tick()

    assert goaways(server.said()) == [0, 0]
    assert server.endings == 1


def test_a_peer_that_has_finished_sending_is_still_answered() -> None:
    server = Server(echo=False)
    server.hears(called(1), opened(3))
    server.finish()
    before = server.over
    server.answer(1, b"x")

    assert status(server.said()) == "0"
    assert (before, server.over, server.streams) == (False, True, 0)


LATE: dict[str, tuple[bytes, Callable[[list[Any]], bool]]] = {
    "half a preface": (PREFACE[:5], lambda frames: goaways(frames) == [4]),
    "no settings": (PREFACE, lambda frames: goaways(frames) == [4]),
    "half a frame": (PREFACE + frame(SETTINGS, 0, 0, b"") + b"\0\0", lambda frames: goaways(frames) == [CALM]),
    "half a head": (PREFACE + frame(SETTINGS, 0, 0, b"") + opened(flags=0), lambda frames: goaways(frames) == [CALM]),
    "half a call": (PREFACE + frame(SETTINGS, 0, 0, b"") + opened(), lambda frames: status(frames) == "4"),
    "an answer not read": (
        PREFACE + setting(4, 0) + called(1, b"abc"),
        lambda frames: resets(frames) == {1: CANCEL},
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_what_takes_too_long_is_ended(name: str) -> None:
    data, is_ended = LATE[name]
    server = Server(greeted=False)
    server.hears(data)
    for _ in range(30):
        server.gate.clock += 1
        server.tick()
    early = server.said()
    for _ in range(3):
        server.gate.clock += 1
        server.tick()

    assert early == []
    assert is_ended(server.said())


def test_an_unused_connection_is_drained() -> None:
    server = Server()
    server.gate.clock += 121
    server.tick()

    assert goaways(server.said()) == [0]
