"""Tensors of the Open Inference Protocol: what their datatypes hold, and how columns of them become rows.

REST with JSON, REST with binary data and gRPC differ in how a tensor travels; here they are the same again.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from serving.errors import invalid
from serving.predictor import Predictor
from serving.schema import Column, InvalidValue, encode

FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""The struct format of every datatype of fixed size."""
DATATYPES = (*FORMATS, "BYTES")
_LIMITS = {
    name: (-(2 ** (8 * struct.calcsize(code) - 1)), 2 ** (8 * struct.calcsize(code) - 1) - 1)
    if name.startswith("INT")
    else (0, 2 ** (8 * struct.calcsize(code)) - 1)
    for name, code in FORMATS.items()
    if "INT" in name
}

_FLOATS = frozenset((float, int, type(None)))
ORDINARY = {
    "FP16": _FLOATS,
    "FP32": _FLOATS,
    "FP64": _FLOATS,
    "BOOL": frozenset((bool, type(None))),
    "BYTES": frozenset((str, type(None))),
}
"""The types of JSON values that fit a datatype whatever their value is."""


@dataclass(slots=True)
class Tensor:
    """One input tensor; `values` is flat, None is missing.

    Attributes:
        path: Where it stands in the request, for messages.
        binary: Whether it came without JSON, so that empty text has to stand for a missing value.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    values: Sequence[Any]
    path: str
    binary: bool = False


def check_shape(shape: Any, path: str) -> int:
    """Return how many elements a shape has.

    Raises:
        Refused: It is not a list of small non-negative integers.
    """
    if (
        not isinstance(shape, list)
        or len(shape) > 8
        or not all(type(size) is int and 0 <= size < 2**31 for size in shape)
    ):
        raise invalid(f"{path}.shape: expected a list of non-negative integers")
    elements = 1
    for size in shape:
        elements *= size
    return elements


def check_datatype(datatype: Any, path: str) -> str:
    """Return the datatype when it is one the protocol has."""
    if datatype not in DATATYPES:
        raise invalid(f"{path}.datatype: expected one of {', '.join(DATATYPES)}")
    return str(datatype)


def check_values(datatype: str, values: Sequence[Any], path: str) -> None:
    """Raise Refused when a JSON value is not of the tensor's datatype; null is missing and fits every one."""
    if set(map(type, values)) <= ORDINARY.get(datatype, frozenset()):
        return
    for position, value in enumerate(values):
        if value is not None and not _fits(datatype, value):
            raise invalid(f"{path}.data[{position}]: expected {datatype}, got {_shown(value)}")


def _fits(datatype: str, value: Any) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if datatype in _LIMITS:
        low, high = _LIMITS[datatype]
        return low <= value <= high and value == int(value)  # 5.0 is an integer in JSON
    return True


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value[:40]}"'
    return {bool: str(value).lower(), list: "a list", dict: "an object"}.get(type(value), repr(value)[:40])


def unpack(datatype: str, raw: bytes | memoryview, elements: int, path: str) -> Sequence[Any]:
    """Return the values of a tensor in binary form (little endian; BYTES elements carry a 4-byte length).

    Raises:
        Refused: Its length is not what its shape says, or text is not UTF-8.
    """
    if datatype == "BYTES":
        return _unpack_texts(bytes(raw), elements, path)
    code = FORMATS[datatype]
    size = struct.calcsize(code)
    if len(raw) != elements * size:
        raise invalid(f"{path}: expected {elements * size} bytes of {datatype} for its shape, got {len(raw)}")
    return struct.unpack(f"<{elements}{code}", raw)


def _unpack_texts(raw: bytes, elements: int, path: str) -> Sequence[str]:
    texts: list[str] = []
    position = 0
    while position < len(raw) and len(texts) < elements:
        if position + 4 > len(raw):
            raise invalid(f"{path}: its last length prefix is cut off")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise invalid(f"{path}.data[{len(texts)}]: {length} bytes announced, {len(raw) - position} are there")
        texts.append(decode_text(raw[position : position + length], f"{path}.data[{len(texts)}]"))
        position += length
    if len(texts) != elements or position != len(raw):
        raise invalid(f"{path}: expected {elements} BYTES elements for its shape")
    return texts


def decode_text(raw: bytes, path: str) -> str:
    """Return the text of one BYTES element."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise invalid(f"{path}: expected UTF-8 text") from None


def pack(datatype: str, values: Sequence[Any]) -> bytes:
    """Return the binary form of output values."""
    if datatype == "BYTES":
        texts = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


class ColumnRows:
    """Rows given as one tensor per column."""

    def __init__(self, predictor: Predictor, tensors: Sequence[Tensor], count: int) -> None:
        self.count = count
        self._schema = predictor.schema
        self._encoders = predictor.encoder.encoders
        self._tensors = tensors

    def encode(self, start: int, stop: int) -> array[float]:
        columns = [
            _marked(column, tensor.values[start:stop], tensor.binary)
            for column, tensor in zip(self._schema.columns, self._tensors, strict=True)
        ]
        try:
            return array(
                "d",
                [
                    encoder(value)
                    for row in zip(*columns, strict=True)
                    for encoder, value in zip(self._encoders, row, strict=True)
                ],
            )
        except InvalidValue:
            for column, tensor, values in zip(self._schema.columns, self._tensors, columns, strict=True):
                _explain(column, tensor, values, range(start, stop))
            raise


class MatrixRows:
    """Rows given as one tensor [rows, columns]."""

    def __init__(self, predictor: Predictor, tensor: Tensor, count: int) -> None:
        self.count = count
        self._schema = predictor.schema
        self._encoders = predictor.encoder.encoders
        self._tensor = tensor

    def encode(self, start: int, stop: int) -> array[float]:
        width = len(self._encoders)
        values = self._tensor.values[start * width : stop * width]
        if self._tensor.binary:
            values = [None if value != value else value for value in values]
        try:
            return array("d", [encoder(value) for encoder, value in zip(cycle(self._encoders), values)])
        except InvalidValue:
            for position, column in enumerate(self._schema.columns):
                places = range(start * width + position, stop * width, width)
                _explain(column, self._tensor, values[position::width], places)
            raise


def _explain(column: Column, tensor: Tensor, values: Sequence[Any], places: range) -> None:
    """Raise Refused for the first value that does not fit its column, if there is one."""
    for place, value in zip(places, values, strict=True):
        try:
            encode(column, value, f"{tensor.path}.data[{place}]")
        except InvalidValue as error:
            raise invalid(f"{error} (column {column.name!r})") from None


def _marked(column: Column, values: Sequence[Any], binary: bool) -> Sequence[Any]:
    """Return the values with None where one stands for a missing one.

    Tensors without JSON have no null: there NaN means it, and so does empty text that is no known category.
    """
    if not binary:
        return values
    empty = "" not in column.categories
    return [None if value != value or (empty and value == "") else value for value in values]
