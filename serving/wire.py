"""The base of a connection: in C where the extension is built, else in Python, where no request is ordinary.

See serving/native/wire.c for what each attribute means.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from serving import native

if TYPE_CHECKING:
    from serving.native._native import Fast


class PlainGate:
    """What all connections of a process share, without a hot path."""

    def __init__(self, share: float = 0.0) -> None:
        self.fast: Fast | None = None
        self.clock = 0
        self.held = 0
        self.limit = sys.maxsize
        self.refused = 0
        self._share = share
        self._due = 1.0 - share

    def due(self) -> bool:
        """Return whether the next request is one to log: the share is met exactly, not by chance."""
        self._due += self._share
        if self._due < 1.0:
            return False
        self._due %= 1.0
        return self._share > 0.0


class PlainWire:
    """Gives everything to `received`."""

    def __init__(self, gate: PlainGate) -> None:
        self.plain = True
        self.queued = False
        self.sampled = -1
        self.seen = gate.clock

    def attach(self, transport: Any, descriptor: int) -> None:
        """There is no answer to send from here."""

    def detach(self) -> None:
        """The connection is gone."""
        self.plain = False

    def data_received(self, data: bytes) -> None:
        """Pass on what arrived."""
        self.received(data)

    def received(self, data: bytes) -> None:
        """Answer it; every connection does."""
        raise NotImplementedError


if TYPE_CHECKING or native.available():
    from serving.native._native import Gate as Gate
    from serving.native._native import Wire as Wire
else:
    Gate, Wire = PlainGate, PlainWire
