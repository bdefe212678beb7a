"""What the hot path needs to write ModelInferResponse messages: the parts that are the same in every answer."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.schema import Label

if TYPE_CHECKING:
    from serving.native._native import Fast

MODEL_NAME, MODEL_VERSION = 1, 2
CONTENTS = {"BOOL": 1, "INT64": 3, "FP64": 7, "BYTES": 8}
"""The fields of InferTensorContents by datatype."""


def speak_grpc(fast: Fast, model: str, version: str, datatype: str, classes: Sequence[Label]) -> None:
    """Let the hot path answer ModelInfer; where a class does not fit into the datatype, the generic path answers."""
    head = _field(MODEL_NAME, model.encode()) + (_field(MODEL_VERSION, version.encode()) if version else b"")
    try:
        raw = tuple(_raw(datatype, label) for label in classes)
        typed = tuple(_typed(datatype, label) for label in classes)
    except (struct.error, UnicodeEncodeError):
        return
    fast.speak_grpc(model.encode(), version.encode(), head, datatype.encode(), CONTENTS[datatype], raw, typed)


def _raw(datatype: str, label: Label) -> bytes:
    """Return a label as it stands in raw_output_contents."""
    if datatype == "BYTES":
        text = str(label).encode()
        return struct.pack("<I", len(text)) + text
    return struct.pack("<?" if datatype == "BOOL" else "<q", label)


def _typed(datatype: str, label: Label) -> bytes:
    """Return a label as it stands in InferTensorContents: packed, or a field of its own."""
    if datatype == "BYTES":
        return _field(CONTENTS["BYTES"], str(label).encode())
    return _varint(int(label) % (1 << 64))


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
