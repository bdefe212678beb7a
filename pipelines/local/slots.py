"""Turns for tasks: so many at once, and those nearer to the root of the graph first.

A validation beside many candidates is worth most before they run: it costs a second and may end the run.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
from collections.abc import Iterator


class Slots:
    """A bounded number of turns, given out by depth and then in order of asking."""

    def __init__(self, number: int) -> None:
        """Offer `number` turns at the same time."""
        self._free = number
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._tickets = itertools.count()

    @contextlib.contextmanager
    def turn(self, depth: int) -> Iterator[None]:
        """Wait for a turn and hold it; a smaller depth goes first."""
        mine = depth, next(self._tickets)
        with self._changed:
            heapq.heappush(self._waiting, mine)
            self._changed.wait_for(lambda: self._free > 0 and self._waiting[0] == mine)
            heapq.heappop(self._waiting)
            self._free -= 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
