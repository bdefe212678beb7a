"""A server's life: load and prove the bundle, listen, swap on SIGHUP, drain on SIGTERM.

Everything that touches signals, sockets and files is here, so the rest can be tested without a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import shutil
import signal
import socket
import sys
from dataclasses import replace
from typing import Protocol

from serving import native
from serving.accepting import Acceptor, connections_for, listen
from serving.app import App
from serving.bundle import BundleError, load
from serving.certificate import Certificate
from serving.connection import Connection
from serving.fetch import fetch, is_temporary
from serving.goldens import check_goldens
from serving.listener import close_listener, open_listener
from serving.memory import give_back, trim
from serving.message import JSON, Response, encode_response, fixed_headers
from serving.options import Options
from serving.predictor import Predictor, make_predictor

TICK = 0.05
TRIM_SECONDS = 5
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from the event loop; ten times as long by default, for every callback."""

log = logging.getLogger(__name__)


def load_predictor(options: Options, headers: bytes) -> Predictor:
    """Return a predictor that has reproduced its golden requests.

    Raises:
        BundleError: The bundle is refused; the message says why.
    """
    folder = fetch(options.model_dir)
    try:
        bundle = load(folder, options.bundle_digest or None)
        predictor = make_predictor(bundle, options, headers)
        rows = check_goldens(predictor)
    except BundleError:
        if is_temporary(folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    give_back()
    log.info(
        "bundle accepted",
        extra={
            "fields": {
                "model": options.model_name,
                "version": bundle.version,
                "digest": bundle.digest[:12],
                "evaluator": predictor.scorer.name,
                "golden_rows": rows,
            }
        },
    )
    return predictor


async def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        BundleError: The bundle is refused at start.
        OSError: A port is taken, or a file of keys or certificates cannot be read.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    held = connections_for(options.max_connections, 1 + options.enable_grpc)
    options = replace(options, max_connections=held)
    loop = asyncio.get_running_loop()
    predictor = load_predictor(options, hot_headers(options))
    app = App(options, predictor)
    server = Server(app)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, server.request_swap)
    if not native.available():
        log.warning("the C extension is not built here: every request takes the slower path in Python")
    await server.start()
    await stop.wait()
    await server.stop()
    return 0


def hot_headers(options: Options) -> bytes:
    """Return the lines of an ordinary answer up to its date, so that both paths give the same bytes."""
    blank = encode_response(Response(200, b"", JSON), fixed_headers(options))
    return blank.removeprefix(b"HTTP/1.1 200 OK\r\n").partition(b"date: ")[0]


class RpcServer(Protocol):
    """The gRPC side of an application: serving.http2 or serving.rpc."""

    async def start(self) -> int:
        """Return the port it listens on."""

    def tick(self) -> None:
        """A second has passed."""

    async def stop(self, timeout: float) -> None:
        """Finish the calls in progress."""


class Server:
    """The listening side of an application."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.http_port = 0
        self.grpc_port = 0
        self._certificate = Certificate(app.options)
        self._listener: socket.socket | None = None
        self._http: Acceptor | asyncio.Server | None = None
        self._rpc: RpcServer | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._swap: asyncio.Task[None] | None = None
        self._swap_again = False

    async def start(self) -> None:
        """Listen on both ports, then be ready."""
        options = self.app.options
        self._listener = open_listener(options.host, options.http_port, "HTTP")
        tls = self._certificate.context()
        self._http = await listen(
            self._listener,
            lambda: Connection(self.app),
            may_stay=self.app.has_room,
            tally=self.app.metrics.accepting,
            tls=tls,
            timeout=options.request_timeout,
        )
        self.http_port = self._listener.getsockname()[1]
        self._tick(self.app.loop.time())
        if options.enable_grpc:
            self._rpc = await self._make_rpc()
            self.grpc_port = await self._rpc.start()
        self.app.become_ready()
        log.info(
            "serving",
            extra={
                "fields": {
                    "http": f"http{'s' if options.tls_certificate else ''}://{options.host}:{self.http_port}",
                    "grpc": f"{options.host}:{self.grpc_port}" if self.grpc_port else None,
                }
            },
        )

    async def _make_rpc(self) -> RpcServer:
        """Return what speaks gRPC: this project's HTTP/2 where the extension is built, else grpcio.

        Raises:
            OSError: Neither is there.
        """
        wanted = self.app.options.grpc_transport
        if wanted == "native" or (wanted == "auto" and native.available()):
            from serving.http2 import Http2Server

            return Http2Server(self.app, self._certificate.context(["h2"]))
        try:
            rpc = await self.app.loop.run_in_executor(None, importlib.import_module, "serving.rpc")
        except ImportError as error:
            raise OSError(
                "gRPC needs the C extension, which is not built here, or grpcio: install headrace[grpcio], "
                "or give --enable_grpc false"
            ) from error
        server: RpcServer = rpc.GrpcioServer(self.app)
        return server

    def _tick(self, due: float) -> None:
        """Measure how late the loop is and, once a second, look after connections and mounted files."""
        now = self.app.loop.time()
        self.app.note_delay(max(0.0, now - due))
        if int(now) != self.app.gate.clock:
            self.app.gate.clock = int(now)
            for connection in list(self.app.connections):
                connection.sweep(self.app.gate.clock)
            if self._rpc is not None:
                self._rpc.tick()
            self.app.access.reload()
            self._certificate.reload()
            if self.app.predictions is not None:
                self.app.predictions.flush()
                self.app.metrics.lost_predictions = self.app.predictions.lost
            if self.app.engine.untrimmed and not self.app.engine.waiting and not self.app.gate.clock % TRIM_SECONDS:
                self.app.engine.untrimmed = False
                self.app.loop.run_in_executor(None, trim)
        self._ticker = self.app.loop.call_at(now + TICK, self._tick, now + TICK)

    # Hot swap.

    def request_swap(self) -> None:
        """Look at the model folder again; a request during a look causes one more look."""
        if self._swap is not None and not self._swap.done():
            self._swap_again = True
            return
        self._swap = self.app.loop.create_task(self._look_again())

    async def _look_again(self) -> None:
        self._swap_again = True
        while self._swap_again:
            self._swap_again = False
            try:
                await self._swap_once()
            except Exception as error:
                self.app.metrics.swaps["refused"] += 1
                log.error("the new bundle is refused, the old one stays: %s", error)

    async def _swap_once(self) -> None:
        old = self.app.predictor
        options = self.app.options
        loading = self.app.loop.run_in_executor(None, load_predictor, options, hot_headers(options))
        new = await loading
        if new.bundle.digest == old.bundle.digest:
            self.app.metrics.swaps["unchanged"] += 1
            return
        self.app.serve(new)
        self.app.metrics.retire(old)
        self.app.metrics.swaps["done"] += 1
        log.info(
            "bundle swapped",
            extra={"fields": {"from": old.bundle.digest[:12], "to": new.bundle.digest[:12], "version": new.version}},
        )
        if is_temporary(old.bundle.folder):
            shutil.rmtree(old.bundle.folder, ignore_errors=True)

    # Drain.

    async def stop(self) -> None:
        """Answer what is in progress and what still arrives, then close."""
        options = self.app.options
        log.info("draining")
        self.app.drain()
        await asyncio.sleep(options.drain_delay)
        if self._listener is not None and self._http is not None:
            await close_listener(self._listener, self._http)
        if self._rpc is not None:
            await self._rpc.stop(options.drain_timeout)
        await self._finish_connections(options.drain_timeout)
        if self._ticker is not None:
            self._ticker.cancel()
        if self._swap is not None:
            self._swap.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._swap
        if self.app.predictions is not None:
            self.app.predictions.flush()
        if is_temporary(self.app.predictor.bundle.folder):
            shutil.rmtree(self.app.predictor.bundle.folder, ignore_errors=True)
        log.info("stopped")

    async def _finish_connections(self, timeout: float) -> None:
        """Wait for busy connections; idle ones had their chance to hear `Connection: close` and are closed after it."""
        deadline = self.app.loop.time() + timeout
        grace = self.app.loop.time() + min(2.0, timeout)
        while self.app.connections and self.app.loop.time() < deadline:
            if self.app.loop.time() > grace:
                for connection in [one for one in self.app.connections if one.idle]:
                    connection.close()
            await asyncio.sleep(0.02)
        for connection in list(self.app.connections):
            connection.close()
