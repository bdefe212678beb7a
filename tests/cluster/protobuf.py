"""Reads the few objects that kubectl and helm send as protobuf whatever the server says: four kinds, and DeleteOptions.

Only the wire format and the field numbers that they use are here; answers are JSON always.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from resources import Object

MAGIC = b"k8s\x00"
Reader = Callable[[bytes], Any]


def decode(raw: bytes) -> Object:
    """Return the object of a request body that begins with `MAGIC`.

    Raises:
        ValueError: It is of another kind.
    """
    envelope = dict(_fields(raw[len(MAGIC) :]))
    names = {number: _text(value) for number, value in _fields(envelope[1])}
    if names[2] not in KINDS:
        raise ValueError(f"{names[2]} in protobuf is not read here: {', '.join(KINDS)} are")
    return {"apiVersion": names[1], "kind": names[2], **_message(envelope[2], KINDS[names[2]])}


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (number, value): an int of a varint, the bytes of everything else."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = raw[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(raw):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
        yield tag >> 3, raw[place : place + size]
        place += size


def _message(raw: bytes, known: dict[int, tuple[str, Reader]]) -> Object:
    out: Object = {}
    for number, value in _fields(raw):
        if number not in known:
            continue
        name, read = known[number]
        found = read(value)
        if isinstance(found, dict) and read in (_texts, _blobs):
            out.setdefault(name, {}).update(found)
        elif isinstance(found, list):
            out.setdefault(name, []).extend(found)
        elif found not in ("", {}):
            out[name] = found
    return out


def _text(raw: bytes) -> str:
    return raw.decode()


def _texts(raw: bytes) -> dict[str, str]:
    entry = dict(_fields(raw))
    return {_text(entry[1]): _text(entry.get(2, b""))}


def _blobs(raw: bytes) -> dict[str, str]:
    entry = dict(_fields(raw))
    return {_text(entry[1]): base64.b64encode(entry.get(2, b"")).decode()}


def _metadata(raw: bytes) -> Object:
    return _message(
        raw,
        {
            1: ("name", _text),
            2: ("generateName", _text),
            3: ("namespace", _text),
            5: ("uid", _text),
            6: ("resourceVersion", _text),
            11: ("labels", _texts),
            12: ("annotations", _texts),
            14: ("finalizers", lambda value: [_text(value)]),
        },
    )


def _preconditions(raw: bytes) -> Object:
    return _message(raw, {1: ("uid", _text), 2: ("resourceVersion", _text)})


KINDS: dict[str, dict[int, tuple[str, Reader]]] = {
    "Namespace": {1: ("metadata", _metadata)},
    "ServiceAccount": {1: ("metadata", _metadata)},
    "ConfigMap": {1: ("metadata", _metadata), 2: ("data", _texts), 3: ("binaryData", _blobs)},
    "Secret": {1: ("metadata", _metadata), 2: ("data", _blobs), 3: ("type", _text), 4: ("stringData", _texts)},
    "DeleteOptions": {2: ("preconditions", _preconditions), 4: ("propagationPolicy", _text)},
}
