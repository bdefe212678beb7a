"""The accepting side of a port: connections and TLS handshakes are counted and bounded from their first byte on.

asyncio's own server tells nobody of a connection before its handshake is done, so clients that connect and say nothing
would be held, uncounted, for a minute each; and it says nothing countable when the process is out of descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
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
    """Accepts the connections of a listening socket; each becomes a protocol's once its handshake, if any, is done."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        may_stay: Callable[[int], bool],
        tally: Tally,
        tls: ssl.SSLContext | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Listen.

        Args:
            may_stay: Told how many handshakes are in progress here; whether one more connection may be accepted.
            tls: What connections speak TLS with; None for plain text.
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
        shaking = self._tls is not None
        self._tally.handshakes += shaking
        try:
            # a client that speaks no TLS, has gone, or was too slow
            with contextlib.suppress(OSError):
                await self._loop.connect_accepted_socket(
                    self._make_protocol,
                    connection,
                    ssl=self._tls,
                    ssl_handshake_timeout=self._timeout if shaking else None,
                )
        finally:
            self._tally.handshakes -= shaking
