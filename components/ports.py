"""The one place that hands out ports of this machine: the wanted one, one near it, or any that is free."""

from __future__ import annotations

import socket
from collections.abc import Collection

STEP, NEAR = 10, 20
"""Tried after the wanted one: so many ports, so far apart, that are easy to recognize."""


def free(host: str, wanted: int, taken: Collection[int] = ()) -> int:
    """Return a port that nothing listens on.

    Args:
        wanted: Taken where it is free; 0 takes any.
        taken: Ports that are spoken for, though nothing listens there yet.

    Raises:
        OSError: The machine has none left.
    """
    near = range(wanted, min(wanted + STEP * NEAR, 65_536), STEP) if wanted else ()
    for port in (*near, 0, 0):  # the kernel may offer a taken one once
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                if port:
                    continue
                raise
            found: int = probe.getsockname()[1]
            if found not in taken:
                return found
    raise OSError(f"no port of {host} is free")
