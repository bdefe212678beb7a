"""What is known to be wrong with our own HTTP/2, and waits for nghttp2 to take its frames and HPACK over.

Each test says what is right; that it fails is strict, so whoever mends one takes its mark away.
"""

from __future__ import annotations

import pytest

from tests.serving.native.http2peer import (
    CALM,
    DATA,
    HEAD,
    HEADERS,
    WINDOW_UPDATE,
    Server,
    frame,
    goaways,
    head,
    number,
    opened,
    resets,
)

waits = pytest.mark.xfail(strict=True, reason="waits for nghttp2")


@waits
def test_data_for_streams_that_are_gone_has_a_budget() -> None:
    """Padded frames for a stream that the server has reset cost the peer nothing: millions of them were read."""
    server = Server(echo=False)
    answer = server.hears(opened(), frame(WINDOW_UPDATE, 0, 1, number(0)))  # an error of the stream alone
    assert list(resets(answer)) == [1]
    said: list[int] = []
    for _ in range(200):
        said += goaways(server.hears(frame(DATA, 8, 1, b"\xfe" + bytes(255)) * 100))
        if said:
            break

    assert said == [CALM]


@waits
def test_heads_that_are_too_large_earn_nothing_back() -> None:
    """Each refusal counted as an answered call, so that a peer which only sends such heads was never told to stop."""
    server = Server(echo=False)
    block = head([*HEAD, *[("x-large", "a" * 100)] * 200])
    said: list[int] = []
    for call in range(6_000):
        stream = 2 * call + 1
        parts = [block[start : start + 16_000] for start in range(0, len(block), 16_000)]
        frames = frame(HEADERS, 1, stream, parts[0])
        for place, part in enumerate(parts[1:], 2):
            frames += frame(9, 4 if place == len(parts) else 0, stream, part)
        said += goaways(server.hears(frames))
        if said:
            break

    assert said == [CALM]
