"""gRPC by this project: HTTP/2 in C on the event loop, ordinary calls answered there, all others by serving.calls."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from serving.accepting import Acceptor, listen
from serving.budget import Held
from serving.errors import Refused
from serving.inference import INLINE_BYTES
from serving.listener import close_listener, open_listener
from serving.message import Request
from serving.native._native import RpcWire
from serving.unpacking import unpack

if TYPE_CHECKING:
    import ssl

    from serving.app import App
    from serving.calls import Outcome, Service

METADATA_SIZE = 16 * 1024
LINGER_SECONDS = 2
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL = 4, 8, 13


class Http2Server:
    """The gRPC side of an application.

    Attributes:
        service: What answers calls in Python; None until the first of them.
    """

    def __init__(self, app: App, tls: ssl.SSLContext | None = None) -> None:
        self.app = app
        self.connections: set[RpcConnection] = set()
        self.service: Service | None = None
        self._tls = tls
        self._draining = False
        self._listener: socket.socket | None = None
        self._server: Acceptor | asyncio.Server | None = None
        self._loading: asyncio.Future[Any] | None = None

    async def start(self) -> int:
        """Return the port gRPC listens on.

        Raises:
            OSError: The port is taken.
        """
        options = self.app.options
        self._listener = open_listener(options.host, options.grpc_port, "gRPC")
        self._server = await listen(
            self._listener,
            lambda: RpcConnection(self),
            may_stay=self.has_room,
            tally=self.app.metrics.accepting,
            tls=self._tls,
            timeout=options.request_timeout,
        )
        port: int = self._listener.getsockname()[1]
        return port

    async def load(self) -> Service:
        """Return what answers calls in Python, imported in a thread the first time."""
        if self.service is None:
            if self._loading is None:
                self._loading = self.app.loop.run_in_executor(None, importlib.import_module, "serving.calls")
            calls = await asyncio.shield(self._loading)
            self.service = self.service or calls.Service(self.app)
        return self.service

    def has_room(self, beginning: int) -> bool:
        """Return whether one more may be accepted beside those that are open and so many that begin."""
        if len(self.connections) + beginning < self.app.options.max_connections:
            return True
        self.app.metrics.rejected_connections += 1
        return False

    def add(self, connection: RpcConnection) -> bool:
        """Return whether the connection may stay."""
        if not self.has_room(0):
            return False
        self.connections.add(connection)
        if self._draining:
            connection.drain()
        return True

    def tick(self) -> None:
        """Look after connections; to be called once a second."""
        for connection in list(self.connections):
            connection.sweep(self.app.gate.clock)

    async def stop(self, timeout: float) -> None:
        """Take no new connections, finish the calls in progress, for at most `timeout` seconds."""
        if self._listener is None or self._server is None:
            return
        await close_listener(self._listener, self._server)
        self._draining = True
        deadline = self.app.loop.time() + timeout
        for connection in list(self.connections):
            connection.drain()
        while self.connections and self.app.loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()


class RpcConnection(RpcWire, asyncio.Protocol):
    """The protocol object of one HTTP/2 connection."""

    transport: asyncio.Transport

    def __init__(self, server: Http2Server) -> None:
        options = server.app.options
        super().__init__(
            server.app.gate, options.max_body_size, METADATA_SIZE, options.request_timeout, options.idle_timeout
        )
        self._server = server
        self._app = server.app
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._peer = ""
        self._paused_since: int | None = None
        self._ending_since: int | None = None
        self._ended = False

    # What the transport calls; data_received is in C.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport, by the way servers are made
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self.attach(transport, _descriptor(transport))
        if not self._server.add(self):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self.detach()
        for task in list(self._tasks.values()):
            task.cancel()

    def eof_received(self) -> bool:
        """Keep the other direction open until calls in progress are answered."""
        self._ended = True
        if self.over:
            return False
        self.finish()
        return not self.over

    def pause_writing(self) -> None:
        self._paused_since = self._app.gate.clock
        self.pause(True)
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused_since = None
        self.transport.resume_reading()
        self.pause(False)

    # What the wire calls.

    def called(
        self,
        stream: int,
        path: bytes,
        metadata: dict[bytes, bytes],
        message: bytes,
        compressed: bool,
        timeout: float,
        sampled: bool,
    ) -> None:
        """Answer a call that is not ordinary.

        Args:
            timeout: Seconds until the caller gives up; negative when it does not.
            sampled: Whether the access log gets a line for it.
        """
        held = Held(self._app.gate)
        if len(message) > INLINE_BYTES and not held.grow(len(message)):
            self._app.metrics.shed += 1
            self.refuse(stream, RESOURCE_EXHAUSTED, "the server holds as many bytes of requests as it may; try again")
            return
        request = Request(b"RPC", path, metadata, message, peer=self._peer, sampled=sampled, held=held)
        service = self._server.service
        waiting: Outcome | Awaitable[Outcome]
        if service is None or compressed:
            waiting = self._prepared(request, compressed)
        else:
            waiting = service.answer(request)
            if not hasattr(waiting, "__await__"):
                held.release()
                self._send(stream, waiting)
                return
        task = self._app.loop.create_task(self._wait(stream, waiting, timeout))  # type: ignore[arg-type]
        task.add_done_callback(lambda _: held.release())
        self._tasks[stream] = task

    def cancelled(self, stream: int) -> None:
        """Give up a call."""
        task = self._tasks.pop(stream, None)
        if task is not None:
            task.cancel()

    def ending(self) -> None:
        """Close so that what was sent arrives: unread input would make the kernel reset the connection."""
        self._ending_since = self._app.gate.clock
        if self.broken:
            self.transport.abort()
        elif self._ended or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()

    async def _prepared(self, request: Request, compressed: bool) -> Outcome:
        """Answer a call that needs its message unpacked, or the service imported first."""
        service = await self._server.load()
        if compressed:
            encoding = request.headers.get(b"grpc-encoding", b"identity")
            if encoding == b"identity":  # case 4 of gRPC's compression document
                refused = service.refuse(
                    request, 400, "the message is flagged as compressed, grpc-encoding names no way"
                )
                return replace(refused, status=INTERNAL)
            small = unpack(request.body, encoding, INLINE_BYTES)
            if isinstance(small, bytes):
                request.body = small
            elif small[0] != 413 or not request.path.endswith("/ModelInfer"):
                return service.refuse(request, *small)
            else:  # as large as it may be: it is unpacked when it is its turn, and its caller was found to be let in
                request.unpack = partial(_unpack_into, encoding, self._app.options.max_body_size)
        outcome = service.answer(request)
        return await outcome if hasattr(outcome, "__await__") else outcome

    async def _wait(self, stream: int, waiting: Awaitable[Outcome], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout if timeout >= 0 else None):
                outcome = await waiting
        except TimeoutError:
            self._tasks.pop(stream, None)
            self.refuse(stream, DEADLINE_EXCEEDED, "the deadline has passed")
        except Exception as error:
            self._tasks.pop(stream, None)
            self._app.log_failure("gRPC", f"stream {stream}", error)
            self.refuse(stream, INTERNAL, "the server failed; its log says more")
        else:
            self._tasks.pop(stream, None)
            self._send(stream, outcome)

    def _send(self, stream: int, outcome: Outcome) -> None:
        if outcome.status:
            self.refuse(stream, outcome.status, outcome.message)
        else:
            self.answer(stream, outcome.body)

    # What the server calls.

    def sweep(self, clock: int) -> None:
        """End the connection when it is too slow or unused."""
        if self._ending_since is not None:
            if clock - self._ending_since > LINGER_SECONDS:
                self.abort()
        elif self._paused_since is not None and clock - self._paused_since > self._app.options.request_timeout:
            self.abort()
        else:
            self.tick()

    def abort(self) -> None:
        """Close now."""
        self.transport.abort()


def _descriptor(transport: asyncio.BaseTransport) -> int:
    """Return the socket's descriptor, -1 where its bytes are not the answer's (TLS)."""
    stream = transport.get_extra_info("socket")
    return -1 if stream is None or transport.get_extra_info("sslcontext") is not None else int(stream.fileno())


def _unpack_into(encoding: bytes, limit: int, request: Request) -> None:
    """Put the unpacked message into a request.

    Raises:
        Refused: It is none, or larger than it may be, or there is no room for it.
    """
    unpacked = unpack(request.body, encoding, limit)
    if isinstance(unpacked, tuple):
        raise Refused(*unpacked)
    request.body = unpacked
