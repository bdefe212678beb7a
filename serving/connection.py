"""One HTTP/1.1 connection: bytes in, requests to the application, answers out in order.

Ordinary requests are answered by the hot path before anything is parsed here; everything else goes through llhttp.
Requests of one connection are answered one after the other, whatever a client pipelines.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import httptools

from serving.budget import Held
from serving.errors import Refused, busy
from serving.message import CONTINUE, Request, Response, encode_response
from serving.wire import Wire

if TYPE_CHECKING:
    from serving.app import App

MAX_PIPELINED = 64
MOST_QUEUED = 1 << 16
"""Bytes of complete requests that may wait behind one that is being answered before no more is read."""
LINGER_SECONDS = 2
ABSOLUTE = re.compile(rb"https?://[^/?]*(?=[/?]|$)", re.IGNORECASE)
METHOD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+ (?:[/*]|https?://)[!-~]* HTTP/1")
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
"""uri-host with a port, RFC 9110, section 7.2; a second field makes a comma of it, which no host has."""


class Connection(Wire, asyncio.Protocol):
    """The protocol object of one connection.

    Attributes:
        started: The application's clock when the request now being received began, None between requests.
    """

    transport: asyncio.Transport

    def __init__(self, app: App) -> None:
        super().__init__(app.gate)
        self.app = app
        self.started: int | None = None
        self.peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failure: Refused | None = None
        self._discarding = False
        self._paused = False
        self._eof = False
        self._arrived = 0
        self._behind = False
        self._begun = 0
        self._unread = Held(app.gate)
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._held = Held(self.app.gate)
        self._body_size = 0
        self._head_size = 0
        self._fed = 0
        self._in_body = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport, by the way servers are made
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self.attach(transport, _descriptor(transport))
        if not self.app.add(self):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.app.remove(self)
        self.detach()
        for holding in (self._held, self._unread, *(one.held for one in self._queue if one.held is not None)):
            holding.release()
        self._queue.clear()
        self._discarding = True
        if self._task is not None:
            self._task.cancel()

    def received(self, data: bytes) -> None:
        """Take what the hot path did not answer."""
        if self._discarding or self._failure is not None:
            return
        self.seen = self.app.gate.clock
        self._feed(data)

    def eof_received(self) -> bool:
        """Keep the other direction open until requests in progress are answered."""
        self._eof = True
        if self.started is not None and self._task is None and not self._queue:
            return False
        return self._task is not None or bool(self._queue)

    def pause_writing(self) -> None:
        self._paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._unread.release()
        self.seen = self.app.gate.clock
        if not self._discarding:
            self.transport.resume_reading()
            self._next()

    def _feed(self, data: bytes) -> None:
        self.plain = False
        self._arrived = len(data)
        self._behind = self.started is not None
        self._begun = 0
        rest = data
        while rest:
            try:
                self._parser.feed_data(rest)
                rest = b""
            except httptools.HttpParserUpgrade as upgrade:
                rest = self._without_offer(rest[upgrade.args[0] :])
            except httptools.HttpParserError as error:
                alone = isinstance(error, httptools.HttpParserInvalidMethodError) and self._begun == 1
                unknown = alone and METHOD.match(rest)
                problem = "no method of HTTP that this server knows" if unknown else "the request is not HTTP/1.1"
                self._fail(Refused(501 if unknown else 400, problem))
                rest = b""
        if self.started is not None:
            self._fed += len(data)
            self._check_fed()
        self._settle()

    def _without_offer(self, rest: bytes) -> bytes:
        """Return what a new parser is to read: a request that offers an upgrade, as if it did not.

        A server may ignore the offer (RFC 9110, section 7.8). llhttp stops at the end of such a head and takes what
        follows for another protocol; so the head is read again without the offer, and without the expectation that was
        met already.
        """
        if self._failure is not None:
            return b""
        hidden = (b"upgrade", b"http2-settings", b"connection", b"expect")
        kept = [b"%s: %s\r\n" % header for header in self._headers.items() if header[0] not in hidden]
        stays = b"close" not in self._headers.get(b"connection", b"").lower()
        kept.append(b"connection: %s\r\n\r\n" % (b"keep-alive" if stays else b"close"))
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        head = b"%s %s HTTP/%s\r\n%s" % (method, self._target, version, b"".join(kept))
        self._parser = httptools.HttpRequestParser(self)
        self._behind = False
        return head + rest

    def _check_fed(self) -> None:
        """Bound what the parser may hold back: unfinished heads, and chunks that are mostly framing."""
        options = self.app.options
        if not self._in_body and self._fed > options.max_header_size:
            self._fail(_head_too_large(options.max_header_size))
        elif self._fed > 2 * options.max_body_size + options.max_header_size + (1 << 20):
            self._fail(_too_large(options.max_body_size))

    # What the parser calls; exceptions must not pass through it.

    def on_message_begin(self) -> None:
        self._reset()
        self.started = self.app.gate.clock
        if self._behind:  # another request came before it in the same bytes: those that follow count
            self._fed = -self._arrived
        self._behind = True
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        self._target += url

    def _origin_form(self) -> bytes:
        """Return the target as this server would have been asked directly: proxies send the whole address."""
        found = ABSOLUTE.match(self._target)
        return self._target[found.end() :] or b"/" if found else self._target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # trailers carry nothing we use
        name = name.lower()
        self._head_size += len(name) + len(value)
        present = self._headers.get(name)
        self._headers[name] = value if present is None else present + b", " + value

    def on_headers_complete(self) -> None:
        self._in_body = True
        problem = self._head_problem()
        if problem is not None:
            self._fail(problem)
        elif (
            self._headers.get(b"expect", b"").lower() == b"100-continue"
            and self._parser.get_http_version() == "1.1"
            and not self._queue
            and self._task is None
        ):
            self._write(CONTINUE)

    def _head_problem(self) -> Refused | None:
        options = self.app.options
        if self._head_size + len(self._target) > options.max_header_size:
            return _head_too_large(options.max_header_size)
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > options.max_body_size:
            return _too_large(options.max_body_size)
        expect = self._headers.get(b"expect", b"100-continue").lower()
        if expect != b"100-continue":
            return Refused(417, "the only expectation this server meets is 100-continue")
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            return Refused(
                505, f"HTTP/{version}: this port speaks HTTP/1.1; requests begin with `METHOD path HTTP/1.1`"
            )
        if b"host" not in self._headers and version == "1.1":
            return Refused(400, "an HTTP/1.1 request needs a Host header")
        if not HOST.fullmatch(self._headers.get(b"host", b"")):
            return Refused(400, "Host: expected one name or address, with or without a port")
        coding = self._headers.get(b"transfer-encoding", b"chunked").strip().lower()
        if coding != b"chunked":
            return Refused(501, "transfer-encoding: chunked, or none")
        return None

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > self.app.options.max_body_size:
            self._fail(_too_large(self.app.options.max_body_size))
        if self._failure is None and not self._held.grow(len(body)):
            self.app.metrics.shed += 1
            refusal = busy()
            self._fail(Refused(refusal.status, "the server holds as many bytes of requests as it may: try again",
                               refusal.headers))  # fmt: skip
        if self._failure is None:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._failure is not None:
            return
        if self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            return  # its body was not read: see _without_offer
        request = Request(
            self._parser.get_method(),
            self._origin_form(),
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
            self._parser.should_keep_alive() and not self._parser.should_upgrade(),
            self.peer,
            sampled=self.app.gate.due() if self.sampled < 0 else bool(self.sampled),
            held=self._held,
        )
        self.sampled = -1
        self.started = None
        self._reset()
        self._queue.append(request)
        self._next()
        if self._is_full():
            self.transport.pause_reading()

    # Answers, in order.

    def _next(self) -> None:
        """Answer what is queued until something has to be waited for."""
        while self._queue and self._task is None and not self._paused and not self._discarding:
            request = self._queue.popleft()
            answer = self.app.handle(request)
            if isinstance(answer, Response):
                self._send(request, answer)
            else:
                self._task = self.app.loop.create_task(self._wait(request, answer))

    async def _wait(self, request: Request, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        finally:
            if request.held is not None:
                request.held.release()
        self._task = None
        self._send(request, response)
        self._next()
        if not self._is_full() and not self._paused and not self._discarding:
            self.transport.resume_reading()
        self._settle()

    def _is_full(self) -> bool:
        """Whether so much waits for its answer that no more is read."""
        waiting = sum(len(request.body) for request in self._queue)
        return len(self._queue) >= MAX_PIPELINED or waiting > MOST_QUEUED

    def _send(self, request: Request, response: Response) -> None:
        self.seen = self.app.gate.clock
        if request.held is not None:
            request.held.release()
        response.close = response.close or not request.keep_alive or self.app.draining
        self._write(encode_response(response, self.app.fixed_headers, request.method == b"HEAD"))
        if response.close:
            self._hang_up()

    def _write(self, data: bytes) -> None:
        self.queued = True
        self.transport.write(data)
        if len(data) > MOST_QUEUED:  # what the peer has not taken yet is held until it has
            self._unread.release()
            self._unread.grow(self.transport.get_write_buffer_size())

    def _settle(self) -> None:
        """Finish what can be finished now that nothing is being answered."""
        if self._task is not None or self._queue or self._discarding:
            return
        if self._failure is not None:
            response = self.app.refuse(self._failure)
            response.close = True
            self._write(encode_response(response, self.app.fixed_headers))
            self._hang_up()
        elif self._eof:
            self.close()
        elif self.started is None:
            self.plain = True

    def _fail(self, failure: Refused) -> None:
        """Answer with an error after the requests before it, then close."""
        if self._failure is None:
            self._failure = failure
            self._body.clear()
            self._held.release()

    def _hang_up(self) -> None:
        """Close so that the answer arrives: unread input would make the kernel reset the connection."""
        self._discarding = True
        self.plain = False
        self._queue.clear()
        if self._eof or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()

    # What the application's clock calls, once a second.

    def sweep(self, clock: int) -> None:
        """End the connection when it is too slow or unused."""
        options = self.app.options
        if self._discarding:
            if clock - self.seen > LINGER_SECONDS:
                self.transport.abort()
        elif self._paused:
            if clock - self.seen > options.request_timeout:
                self.transport.abort()
        elif self._task is not None or self._queue:
            return
        elif self.started is not None:
            if clock - self.started > options.request_timeout:
                self._fail(Refused(408, f"the request did not arrive within {options.request_timeout:g} s"))
                self._settle()
        elif clock - self.seen > options.idle_timeout:
            self.close()

    @property
    def idle(self) -> bool:
        """Whether no request is being received or answered."""
        return self.started is None and not self.busy

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or waits for it."""
        return self._task is not None or bool(self._queue)

    def close(self) -> None:
        """Close after what has been written; a peer that does not read it has as long as after any other answer."""
        if not self._discarding:
            self._discarding = True
            self.plain = False
            self.seen = self.app.gate.clock
        self.transport.close()


def _descriptor(transport: asyncio.BaseTransport) -> int:
    """Return the socket's descriptor, -1 where its bytes are not the answer's (TLS)."""
    stream = transport.get_extra_info("socket")
    return -1 if stream is None or transport.get_extra_info("sslcontext") is not None else int(stream.fileno())


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit} bytes")


def _head_too_large(limit: int) -> Refused:
    return Refused(431, f"the request head is larger than {limit} bytes")
