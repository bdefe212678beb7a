"""HTTP/1.1 as clients really speak it: pipelined, slow, half-open, broken. Long because each case is a whole talk."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import json
import resource
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

ROW = [40, 1.5, "Lyon", 2, True, "2020-01-31"]
BODY = json.dumps({"instances": [ROW]}).encode()
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"


def _post(body: bytes = BODY, *headers: str, path: str = "/v1/models/m:predict") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", "Content-Type: application/json", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Stream:
    """Reads complete responses from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def response(self, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        line = self._file.readline()
        assert line, "the connection was closed without an answer"
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if head_only else int(headers.get("content-length", 0))
        return status, headers, self._file.read(length)

    def at_end(self) -> bool:
        return self._file.read(1) == b""


@pytest.fixture
def wire(server: Any) -> Iterator[tuple[socket.socket, Stream]]:
    with server.connect() as connection:
        yield connection, Stream(connection)


@pytest.fixture(scope="module")
def strict(run_server: Callable[..., Any], mixed: Any) -> Iterator[Any]:
    """A server with little patience."""
    flags = ["--request_timeout", "1", "--idle_timeout", "1", "--max_body_size", "2000", "--max_header_size", "1000"]
    with run_server(mixed.folder, *flags, "--enable_grpc", "false") as running:
        yield running


def test_pipelined_requests_are_answered_in_order(wire: Any) -> None:
    connection, stream = wire
    large = json.dumps({"instances": [ROW] * 600}).encode()
    connection.sendall(_post() + LIVE + _post(large) + _post(b"{") + LIVE + _post())

    answers = [stream.response() for _ in range(6)]

    assert [status for status, _, _ in answers] == [200, 200, 200, 400, 200, 200]
    assert len(json.loads(answers[2][2])["predictions"]) == 600
    assert answers[0][2] == answers[5][2]
    assert answers[1][2] == answers[4][2] == b'{"live":true}'


def test_a_head_that_is_cut_behind_a_large_request_is_not_too_large(wire: Any) -> None:
    connection, stream = wire
    large = _post(b'{"instances": [' + json.dumps(ROW).encode() + b"]" + b" " * 40_000 + b"}")
    connection.sendall(large + _post()[:30])
    first = stream.response()
    connection.sendall(_post()[30:])

    assert first[0] == 200
    assert stream.response()[0] == 200


def test_hundreds_of_pipelined_requests_are_all_answered(wire: Any) -> None:
    connection, stream = wire
    connection.sendall((_post() + LIVE) * 200)

    assert [stream.response()[0] for _ in range(400)] == [200] * 400


def test_a_request_may_arrive_byte_by_byte(wire: Any) -> None:
    connection, stream = wire
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in _post():
        connection.sendall(bytes([byte]))

    assert stream.response()[0] == 200


def test_a_chunked_body_is_read(wire: Any) -> None:
    connection, stream = wire
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:8], BODY[8:]))
    connection.sendall(_post(chunks + b"0\r\nTrailer: x\r\n\r\n", "Transfer-Encoding: chunked"))
    connection.sendall(LIVE)

    assert stream.response()[0] == 200
    assert stream.response()[2] == b'{"live":true}'


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(wire: Any) -> None:
    connection, stream = wire
    connection.sendall(_post(b"", f"Content-Length: {len(BODY)}", "Expect: 100-continue"))
    assert stream.response()[0] == 100
    connection.sendall(BODY)

    assert stream.response()[0] == 200


def test_another_expectation_is_refused(wire: Any) -> None:
    connection, stream = wire
    connection.sendall(_post(BODY, "Expect: wonders"))

    assert stream.response()[0] == 417


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_is_refused_and_closed(wire: Any, request_: bytes, status: int) -> None:
    connection, stream = wire
    connection.sendall(request_)

    found, headers, body = stream.response()

    assert found == status
    assert headers["connection"] == "close"
    assert "error" in json.loads(body)
    assert stream.at_end()


def test_requests_before_a_broken_one_are_still_answered(wire: Any) -> None:
    connection, stream = wire
    connection.sendall(_post() + b"nonsense\r\n\r\n" + LIVE)

    assert [stream.response()[0] for _ in range(2)] == [200, 400]
    assert stream.at_end()


def test_http_1_0_and_connection_close_end_the_connection(server: Any) -> None:
    for request in (
        b"GET /v2/health/live HTTP/1.0\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ):
        with server.connect() as connection:
            connection.sendall(request)
            stream = Stream(connection)

            assert stream.response()[0] == 200
            assert stream.at_end()


def test_a_half_closed_connection_still_gets_its_answers(wire: Any) -> None:
    connection, stream = wire
    connection.sendall(_post(json.dumps({"instances": [ROW] * 600}).encode()) + LIVE)
    connection.shutdown(socket.SHUT_WR)

    assert [stream.response()[0] for _ in range(2)] == [200, 200]
    assert stream.at_end()


def test_head_tells_what_get_would_send(wire: Any) -> None:
    connection, stream = wire
    connection.sendall(LIVE.replace(b"GET", b"HEAD") + LIVE)

    head = stream.response(head_only=True)
    get = stream.response()

    assert head[:2] == get[:2]
    assert get[2] == b'{"live":true}'


def test_a_wrong_method_is_405_with_the_right_ones(server: Any) -> None:
    wrong = httpx.get(f"{server.url}/v1/models/m:predict")
    gone = httpx.delete(f"{server.url}/v1/models/m")
    asked = httpx.options(f"{server.url}/v1/models/m:predict")

    assert (wrong.status_code, wrong.headers["allow"]) == (405, "OPTIONS, POST")
    assert (gone.status_code, gone.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (asked.status_code, asked.headers["allow"]) == (204, "OPTIONS, POST")


def test_a_body_that_is_not_what_it_says_is_not_guessed_at(server: Any) -> None:
    answer = httpx.post(f"{server.url}/v1/models/m:predict", content=BODY, headers={"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["error"]) == (400, "the body is not gzip")


def test_a_path_may_be_percent_encoded(server: Any) -> None:
    answer = httpx.post(f"{server.url}/v1/models/%6D%3Apredict", content=BODY)

    assert answer.status_code == 200


def test_a_request_id_comes_back_and_a_broken_one_does_not(wire: Any) -> None:
    connection, stream = wire
    connection.sendall(_post(BODY, "X-Request-Id: abc-1") + _post(BODY, "X-Request-Id: " + "é" * 200))

    assert stream.response()[1]["x-request-id"] == "abc-1"
    assert "é" not in stream.response()[1].get("x-request-id", "")


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(strict: Any) -> None:
    with strict.connect() as connection:
        connection.sendall(_post(b"", "Content-Length: 5000", "Expect: 100-continue"))
        stream = Stream(connection)

        assert stream.response()[0] == 413
        assert stream.at_end()


def test_a_chunked_body_that_grows_too_large_is_refused(strict: Any) -> None:
    with strict.connect() as connection:
        connection.sendall(_post(b"bb8\r\n" + b" " * 3000 + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"))

        assert Stream(connection).response()[0] == 413


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_that_is_too_large_is_refused(strict: Any, end: bytes) -> None:
    with strict.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000)
        connection.sendall(b"x" * 3000 + end)

        assert Stream(connection).response()[0] == 431


@pytest.mark.parametrize("part", [b"GET /v2/hea", b"POST / HTTP/1.1\r\nHost: a\r\n", _post(BODY)[:-3]])
def test_a_client_that_never_finishes_is_answered_408_and_closed(strict: Any, part: bytes) -> None:
    with strict.connect() as connection:
        connection.sendall(part)
        stream = Stream(connection)

        assert stream.response()[0] == 408
        assert stream.at_end()


def test_an_idle_connection_is_closed(strict: Any) -> None:
    with strict.connect() as unused, strict.connect() as used:
        used.sendall(LIVE)
        stream = Stream(used)

        assert stream.response()[0] == 200
        assert stream.at_end()
        assert unused.recv(1) == b""


def test_a_client_that_does_not_read_is_cut_off(run_server: Callable[..., Any], mixed: Any) -> None:
    body = json.dumps({"instances": [ROW] * 5000, "parameters": {"probabilities": True}}).encode()
    with run_server(mixed.folder, "--request_timeout", "1", "--enable_grpc", "false") as running:
        with running.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(1)
            with pytest.raises(OSError, match=r"timed out|reset|Broken"):
                connection.sendall(_post(body) * 400)
        assert httpx.get(f"{running.url}/v2/health/live").status_code == 200


def test_thousands_of_idle_connections_leave_room_for_work(server: Any) -> None:
    _keep_idle(server, 2_000)


@pytest.mark.long
def test_ten_thousand_idle_connections_leave_room_for_work(server: Any) -> None:
    _keep_idle(server, 10_000)


def _keep_idle(server: Any, wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(wanted, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    idle = []
    try:
        idle = [server.connect() for _ in range(count)]
        answer = httpx.post(f"{server.url}/v1/models/m:predict", content=BODY)
        idle[-1].sendall(LIVE)
        late = Stream(idle[-1]).response()
    finally:
        for connection in idle:
            connection.close()

    assert answer.status_code == 200
    assert late[0] == 200


def test_more_connections_than_allowed_are_closed(run_server: Callable[..., Any], mixed: Any) -> None:
    with run_server(mixed.folder, "--max_connections", "2", "--enable_grpc", "false") as running:
        with running.connect() as first, running.connect() as second, running.connect() as third:
            for one in (first, second):
                one.sendall(LIVE)
                assert Stream(one).response()[0] == 200
            third.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert third.recv(1) == b""
        text = httpx.get(f"{running.url}/metrics").text

    assert 'headrace_connections_rejected_total{model_name="m"} 1' in text


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("pieces", [1, 7])
def test_an_offer_to_upgrade_is_ignored_and_its_body_read(wire: Any, chunked: bool, pieces: int) -> None:
    """What Java's HttpClient and `curl --http2` send by default; RFC 9110, section 7.8."""
    connection, stream = wire
    if chunked:
        sent = _post(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), "Transfer-Encoding: chunked", *UPGRADE)
    else:
        sent = _post(BODY, *UPGRADE)
    step = -(-len(sent) // pieces)
    for start in range(0, len(sent), step):
        connection.sendall(sent[start : start + step])
    status, _, body = stream.response()
    connection.sendall(LIVE)

    assert (status, json.loads(body)) == (200, {"predictions": json.loads(body)["predictions"]})
    assert len(json.loads(body)["predictions"]) == 1
    assert stream.response()[0] == 200, "the connection goes on in HTTP/1.1"


def test_offers_to_upgrade_may_follow_each_other_and_be_followed_by_nonsense(wire: Any) -> None:
    connection, stream = wire
    connection.sendall(_post(BODY, *UPGRADE) * 3 + LIVE + _post(BODY, *UPGRADE) + b"nonsense\r\n\r\n")

    assert [stream.response()[0] for _ in range(6)] == [200, 200, 200, 200, 200, 400]
    assert stream.at_end()


def test_an_offer_to_upgrade_meets_the_same_limits(strict: Any) -> None:
    with strict.connect() as connection:
        stream = Stream(connection)
        connection.sendall(_post(b" " * 3_000, *UPGRADE))
        assert stream.response()[0] == 413
    with strict.connect() as connection:
        connection.sendall(_post(BODY, "Expect: 100-continue", "Connection: close, Upgrade", "Upgrade: websocket"))
        stream = Stream(connection)
        assert [stream.response()[0] for _ in range(2)] == [100, 200]
        assert stream.at_end()


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (b"GET http://a/v2/health/live HTTP/1.1", b"Host: a\r\n", 200),
        (b"GET HTTP://a:80/v2 HTTP/1.1", b"Host: a\r\n", 200),
        (b"GET /v2/ HTTP/1.1", b"Host: a\r\n", 200),
        (b"OPTIONS * HTTP/1.1", b"Host: a\r\n", 204),
        (b"BREW /v2 HTTP/1.1", b"Host: a\r\n", 501),
        (b"\x16\x03\x01 /v2 HTTP/1.1", b"Host: a\r\n", 400),
        (b"GET /v2 HTTP/1.1", b"Host: a\r\nHost: a\r\n", 400),
        (b"GET /v2 HTTP/1.1", b"Host: a b/c@\r\n", 400),
        (b"GET /v2 HTTP/1.1", b"Host: [::1]:80\r\n", 200),
        (b"GET /v2 HTTP/1.1", b"Host:\r\n", 200),
        (b"GET /v2 HTTP/2.0", b"", 505),
        (b"POST /v2 HTTP/1.1", b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
    ],
)
def test_requests_are_understood_as_the_standards_have_them(
    server: Any, request_line: bytes, headers: bytes, status: int
) -> None:
    with server.connect() as connection:
        connection.sendall(request_line + b"\r\n" + headers + b"\r\n")

        found, answered, _ = Stream(connection).response()
    assert found == status
    assert abs(email.utils.parsedate_to_datetime(answered["date"]).timestamp() - time.time()) < 60


def test_http_1_0_is_not_told_to_continue(server: Any) -> None:
    with server.connect() as connection:
        head = b"POST /v1/models/m:predict HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        connection.sendall(head + BODY)

        assert Stream(connection).response()[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("rows", [1, 20_000])
def test_compressed_bodies_are_unpacked(server: Any, encoding: str, rows: int) -> None:
    body = json.dumps({"instances": [ROW] * rows}).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    url = f"{server.url}/v1/models/m:predict"

    answer = httpx.post(url, content=packed, headers={"content-encoding": encoding}, timeout=60)
    broken = httpx.post(url, content=packed[:-4], headers={"content-encoding": encoding})
    bomb = httpx.post(url, content=gzip.compress(b" " * (17 << 20)), headers={"content-encoding": "gzip"}, timeout=60)
    other = httpx.post(url, content=packed, headers={"content-encoding": "br"})

    assert (answer.status_code, len(answer.json()["predictions"])) == (200, rows)
    assert (broken.status_code, bomb.status_code) == (400, 413)
    assert (other.status_code, other.headers["accept-encoding"]) == (415, "gzip, deflate, identity")


def test_a_client_that_does_not_read_the_end_is_closed_all_the_same(strict: Any) -> None:
    """Its answers wait in the server's buffers, below the mark at which writing is paused."""
    held = []
    for _ in range(5):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        connection.connect(("127.0.0.1", strict.http_port))
        connection.sendall(b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        held.append(connection)

    deadline = time.monotonic() + 60
    while 'headrace_connections{model_name="m"} 1' not in httpx.get(f"{strict.url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for connection in held:
        connection.close()
