"""One writer at a time, kept by the object store: a lease is an object that is created once and expires.

It needs the conditional writes of S3 (If-None-Match, If-Match), which SeaweedFS, MinIO and AWS have.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator

from components.store import Address, AlreadyExists, Store, StoreError

SECONDS = 300.0
"""How long a holder may be silent before another takes over; publishing a bundle takes seconds."""
PAUSE_SECONDS = 0.5


class LeaseHeld(StoreError):
    """Somebody else holds the lease and did not let go in time."""


@contextlib.contextmanager
def held(
    store: Store, address: Address, *, wait_seconds: float = SECONDS, clock: Callable[[], float] = time.time
) -> Iterator[None]:
    """Hold the lease at an address; a holder that died on this machine, or is silent too long, is replaced.

    Raises:
        LeaseHeld: It did not become free within `wait_seconds`.
    """
    tag = _acquire(store, address, wait_seconds, clock)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if store.tag(address) == tag:
                store.remove(address)


def _acquire(store: Store, address: Address, wait_seconds: float, clock: Callable[[], float]) -> str:
    deadline = clock() + wait_seconds
    while True:
        mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": clock()}).encode()
        with contextlib.suppress(AlreadyExists):
            return store.put(address, mine, once=True)
        with contextlib.suppress(FileNotFoundError, AlreadyExists):
            tag = store.tag(address)
            holder = json.loads(store.get(address))
            if _is_gone(holder, clock()):
                return store.put(address, mine, match=tag)
            if clock() >= deadline:
                raise LeaseHeld(
                    f"{address} is held by process {holder['pid']} on {holder['host']} for "
                    f"{clock() - holder['since']:.0f} s: wait for it to finish, or delete that object if it is gone"
                )
        time.sleep(PAUSE_SECONDS)


def _is_gone(holder: dict[str, object], now: float) -> bool:
    if now - float(str(holder["since"])) > SECONDS:
        return True
    if holder["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(str(holder["pid"])), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
