"""The listening socket, opened so that pods restart fast and closed so that no accepted connection is lost.

Closing a listening socket resets connections the kernel has completed but the process has not accepted yet. So before
closing, a packet filter drops what begins a handshake (its client tries again and is refused), a handshake in progress
may end, and what is in the queue is accepted and answered.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from typing import Protocol

SO_ATTACH_FILTER = 26
LOAD_BYTE, JUMP_IF_SET, RETURN = 0x30, 0x45, 0x06  # BPF_LD|B|ABS, BPF_JMP|JSET|K, BPF_RET|K of linux/bpf_common.h
FLAGS, SYN, WHOLE = 13, 0x02, 0xFFFFFFFF  # the octet of a TCP header that holds its flags; a packet of any length
SETTLE_SECONDS = 0.1


class Closes(Protocol):
    """What accepts the connections of the socket."""

    def close(self) -> None:
        """Close the socket."""


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


async def close_listener(listener: socket.socket, server: Closes) -> None:
    """Refuse new connections, accept those already waiting, then close."""
    _refuse_handshakes(listener)
    await asyncio.sleep(SETTLE_SECONDS)
    server.close()


def _refuse_handshakes(listener: socket.socket) -> None:
    """Drop segments that carry SYN, and no others.

    Without its last acknowledgement, a handshake in progress looks complete to the client and is reset when the socket
    closes. A filter of a TCP socket sees a segment from its TCP header on (Linux's socket filter documentation).
    """
    instructions = [(LOAD_BYTE, 0, 0, FLAGS), (JUMP_IF_SET, 0, 1, SYN), (RETURN, 0, 0, 0), (RETURN, 0, 0, WHOLE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
    program = struct.pack("HP", len(instructions), ctypes.addressof(code))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
