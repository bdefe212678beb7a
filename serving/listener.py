"""The listening socket, opened so that pods restart fast and closed so that no accepted connection is lost.

Closing a listening socket resets connections the kernel has completed but the process has not accepted yet. So before
closing, a one-instruction packet filter drops new handshakes (their clients retry and are refused), and what is already
in the queue is accepted and answered.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26
BPF_RETURN = 0x06
SETTLE_SECONDS = 0.1


def open_listener(host: str, port: int, protocol: str) -> socket.socket:
    """Return a socket bound to the address; IPv6 addresses work too.

    Args:
        protocol: HTTP or gRPC, for the message.

    Raises:
        OSError: The port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        flag = f"--{protocol.lower()}_port"
        raise OSError(f"{protocol} cannot listen on {host}:{port} ({error.strerror}): choose another {flag}") from error
    listener.setblocking(False)
    return listener


async def close_listener(listener: socket.socket, server: asyncio.Server) -> None:
    """Refuse new connections, accept those already waiting, then close."""
    _refuse_handshakes(listener)
    await asyncio.sleep(SETTLE_SECONDS)
    server.close()


def _refuse_handshakes(listener: socket.socket) -> None:
    """Attach the filter `return 0` (see Linux's socket filter documentation): every packet is dropped."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
