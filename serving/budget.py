"""One limit on the bytes of all requests in flight: received, queued, unpacked, answered and not read yet.

The count itself lies in the connections' gate, where the C side of HTTP/2 adds to it, too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

SHARE = 0.4
"""Of the memory that the process may use: the rest is for the model, for the one large request that is being parsed
(see serving.outline) and for what the allocator keeps."""
LEAST = 64 << 20
ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


class Account(Protocol):
    """Where bytes are counted: a `serving.wire.Gate`."""

    held: int
    limit: int
    refused: int


class Held:
    """What one request, or one answer, holds of the budget."""

    __slots__ = ("_account", "size")

    def __init__(self, account: Account) -> None:
        """Hold nothing yet."""
        self._account = account
        self.size = 0

    def grow(self, more: int) -> bool:
        """Hold more bytes; False, and nothing is held in addition, where there is no room for them."""
        if self._account.held + more > self._account.limit:
            return False
        self._account.held += more
        self.size += more
        return True

    def release(self) -> None:
        """Hold nothing any more."""
        self._account.held -= self.size
        self.size = 0


def default_limit(memory: int | None = None) -> int:
    """Return the bytes that requests may hold: a share of the memory that this process may use.

    Args:
        memory: That memory; None finds the limit of the cgroup, or what the machine has.
    """
    memory = memory or memory_limit()
    return max(int(memory * SHARE), min(LEAST, memory // 2))


def memory_limit() -> int:
    """Return how much memory this process may use, in bytes: the machine's, or the least limit of its cgroups."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits()])


def _cgroup_limits() -> Iterator[int]:
    """Yield the limits of this process's memory cgroup, of version 1 or 2, and of those above it."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, file = ROOT, "memory.max"
        elif "memory" in controllers.split(","):
            base, file = ROOT / "memory", "memory.limit_in_bytes"
        else:
            continue
        within = Path(path.strip("/"))
        for part in (within, *within.parents):  # a container sees its own group as the root
            with contextlib.suppress(OSError):
                text = (base / part / file).read_text().strip()
                if text.isdecimal():
                    yield int(text)
