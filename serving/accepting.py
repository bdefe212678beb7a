"""The accepting side of a port: connections and TLS handshakes are counted and bounded from their first byte on.

The event loop's own server tells nobody of a connection before its handshake is done, so clients that connect and say
nothing would be held, uncounted, for a minute each. Without TLS a connection is counted at once, and that server, which
accepts in C, is used: a connection costs a quarter less.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import resource
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

ACCEPTED_AT_ONCE = 64
"""Connections taken from the queue before the loop does something else."""
PAUSE_SECONDS = 1.0
"""How long nothing is accepted after the process had no descriptor left."""
TOLD_SECONDS = 60.0
"""How often the log says so."""
BACKLOG = 4096
SPARE_FILES = 64
"""Open files that are none of a caller's: listeners, the model, logs."""


def connections_for(wanted: int, ports: int) -> int:
    """Return how many connections each port may hold, after raising the soft limit of open files to the hard one.

    Beyond it nothing could be accepted, or sent to a log; so connections that are too many are closed, and counted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY or (soft - SPARE_FILES) // ports >= wanted:
        return wanted
    room = max(1, (soft - SPARE_FILES) // ports)
    log.warning(
        "at most %d connections are held on a port, not %d: raise the limit of open files (ulimit -n), now %d",
        room,
        wanted,
        soft,
    )
    return room


async def listen(
    listener: socket.socket,
    make_protocol: Callable[[], asyncio.Protocol],
    *,
    may_stay: Callable[[int], bool],
    tally: Tally,
    tls: ssl.SSLContext | None,
    timeout: float,
) -> Acceptor | asyncio.Server:
    """Accept the connections of a socket; the arguments are those of `Acceptor`."""
    if tls is None:
        return await asyncio.get_running_loop().create_server(make_protocol, sock=listener, backlog=BACKLOG)
    return Acceptor(listener, make_protocol, may_stay=may_stay, tally=tally, tls=tls, timeout=timeout)


@dataclass
class Tally:
    """What a port counts of its connections, for metrics.

    Attributes:
        handshakes: TLS handshakes in progress.
        failures: Times that no connection could be accepted for want of descriptors or memory.
    """

    handshakes: int = 0
    failures: int = 0


class Acceptor:
    """Accepts the TLS connections of a listening socket; each becomes a protocol's once its handshake is done."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        may_stay: Callable[[int], bool],
        tally: Tally,
        tls: ssl.SSLContext,
        timeout: float,
    ) -> None:
        """Listen.

        Args:
            may_stay: Told how many handshakes are in progress here; whether one more connection may be accepted.
            tls: What connections speak TLS with.
            timeout: Seconds that a handshake may take.
        """
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._may_stay = may_stay
        self._tally = tally
        self._tls = tls
        self._timeout = timeout
        self._beginning: set[asyncio.Task[None]] = set()
        self._told = -math.inf
        listener.listen(BACKLOG)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Accept nobody any more; handshakes in progress go on."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            if not self._may_stay(len(self._beginning)):
                connection.close()
                continue
            task = self._loop.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    def _pause(self, error: OSError) -> None:
        """Look away for a while: the socket stays readable, and the loop would turn on the spot."""
        self._tally.failures += 1
        if self._loop.time() - self._told > TOLD_SECONDS:
            self._told = self._loop.time()
            log.warning(
                "no connection can be accepted now: raise the limit of open files or lower --max_connections",
                extra={"fields": {"error": error.strerror}},
            )
        self._loop.remove_reader(self._listener)
        self._loop.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    async def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._tally.handshakes += 1
        try:
            # a client that speaks no TLS, has gone, or was too slow
            with contextlib.suppress(OSError):
                await self._loop.connect_accepted_socket(
                    self._make_protocol,
                    connection,
                    ssl=self._tls,
                    ssl_handshake_timeout=self._timeout,
                )
        finally:
            self._tally.handshakes -= 1
