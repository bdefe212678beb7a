"""Compressed messages and bodies, unpacked no further than they may be long."""

from __future__ import annotations

import zlib

COMPRESSIONS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""zlib's window bits by grpc-encoding and content-encoding."""


def unpack(data: bytes, encoding: bytes, limit: int) -> bytes | tuple[int, str]:
    """Return compressed data as it was, or the status of HTTP that refuses it and why."""
    bits = COMPRESSIONS.get(encoding)
    if bits is None:
        return 501, f"grpc-encoding {encoding[:40]!r}: compress with gzip or deflate, or not at all"
    unpacker = zlib.decompressobj(bits)
    try:
        found = unpacker.decompress(data, limit + 1)
    except zlib.error:
        return 400, f"the message is not {encoding.decode()}"
    if len(found) > limit:
        return 413, f"the message is larger than {limit} bytes when unpacked"
    if not unpacker.eof or unpacker.unused_data:
        return 400, f"the message is not {encoding.decode()}"
    return found
