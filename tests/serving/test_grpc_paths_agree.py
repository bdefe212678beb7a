"""ModelInfer in C and by serving.calls is one service: the same bytes for every message the first one takes."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest

from serving import native
from serving.app import App
from serving.bundle import Bundle
from serving.calls import CONTENTS, OK, SERVICE, Outcome, Service
from serving.message import Request
from serving.oip import inference_pb2 as oip
from serving.options import Options
from serving.predictor import make_predictor
from serving.schema import Column
from serving.tensors import FORMATS

pytestmark = pytest.mark.skipif(not native.available(), reason="the C extension is not built here")
FITTING = {
    "number": ["FP64", "FP32", "INT64", "INT32"],
    "integer": ["INT64", "FP64", "INT32"],
    "boolean": ["BOOL", "FP64", "INT32"],
    "date": ["BYTES"],
    "category": ["BYTES", "FP64"],
}
KINDS = {
    "number": ["FP64", "FP32", "INT64", "INT32", "FP16", "BYTES"],
    "integer": ["INT64", "FP64", "INT32", "UINT8"],
    "boolean": ["BOOL", "FP64", "INT32"],
    "date": ["BYTES", "FP64"],
    "category": ["BYTES", "INT64", "FP64"],
}


class Both:
    """One bundle behind both paths, without a socket."""

    def __init__(self, bundle: Bundle) -> None:
        self.loop = asyncio.new_event_loop()
        options = Options("m", str(bundle.folder))
        predictor = make_predictor(bundle, options)
        assert predictor.fast is not None
        self.fast = predictor.fast
        self.service = Service(self.loop.run_until_complete(self._make(options, predictor)))
        self.columns = bundle.schema.columns

    async def _make(self, options: Options, predictor: Any) -> App:
        return App(options, predictor)

    def generic(self, message: bytes) -> Outcome:
        outcome = self.service.answer(Request(b"RPC", f"/{SERVICE}/ModelInfer".encode(), {}, message))
        return outcome if isinstance(outcome, Outcome) else self.loop.run_until_complete(self._await(outcome))

    async def _await(self, outcome: Any) -> Outcome:
        ended: Outcome = await outcome
        return ended

    def compare(self, message: bytes) -> bool:
        """Return whether the hot path took the message; then both paths have given the same."""
        hot = self.fast.infer(message)
        if hot is not None:
            generic = self.generic(message)
            assert (generic.status, generic.body) == (OK, hot), message
        return hot is not None


@pytest.fixture(scope="module", params=["mixed", "flowers", "prices", "unfolded"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    pair = Both(request.getfixturevalue(request.param))
    yield pair
    pair.loop.close()


PLAIN = {"number": 1.0, "integer": 2.0, "boolean": True, "date": "2020-01-31"}
ODD_TEXTS = ("", "é", "1", "2020-02-30", "Köln ", "0001-01-01", "9999-12-31", "unknown")
ODD_NUMBERS = (0.0, -0.0, math.nan, math.inf, 3.4028234663852886e38, 1e39, 2.0**53, -1.5, 3.5)


def _value(dice: Random, column: Column, datatype: str, odd: bool) -> Any:
    """Return a value of a datatype, which fits the column unless it may be odd."""
    if datatype == "BYTES":
        known = [str(category) for category in column.categories] or [
            str(date(2000, 1, 1) + timedelta(dice.randrange(9999)))
        ]
        return dice.choice(ODD_TEXTS) if odd else dice.choice(known)
    if datatype == "BOOL":
        return dice.random() < 0.5
    if datatype.startswith(("INT", "UINT")):
        bits = int(datatype.lstrip("UINT"))
        low, high = (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return dice.choice([low, high, dice.randint(low, high)]) if odd else dice.randint(0, 1)
    if odd and datatype == "FP64":
        return dice.choice(ODD_NUMBERS)
    if column.kind in ("number", "integer"):
        return dice.choice([math.nan, dice.uniform(-100, 100), float(dice.randint(0, 90))])
    return dice.choice([math.nan, 0.0, 1.0]) if column.kind == "boolean" else dice.choice([math.nan, 1.0, 2.0, 3.0])


def _raw(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


def _add(message: Any, name: str, datatype: str, shape: list[int], values: list[Any], raw: bool) -> None:
    tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
    if raw or datatype not in CONTENTS:
        message.raw_input_contents.append(_raw(datatype, values))
        return
    encoded = [value.encode() for value in values] if datatype == "BYTES" else values
    getattr(tensor.contents, CONTENTS[datatype]).extend(encoded)


def _head(dice: Random, odd: bool) -> Any:
    message = oip.ModelInferRequest(model_name=dice.choice(["", "other", "m"]) if odd else "m")
    message.model_version = dice.choice(["", "3", "4"]) if odd else ""
    message.id = dice.choice(["", "a", "abc-1", "é", "x" * 128, "x" * 129])
    for _ in range(dice.randrange(3)):
        message.outputs.add(name=dice.choice(["prediction", "probabilities"]))
    if odd and dice.random() < 0.2:
        message.parameters["binary_data_output"].bool_param = True
    return message


def _columns(dice: Random, columns: Sequence[Column], odd: bool) -> bytes:
    rows, raw = dice.randint(1, 4), dice.random() < 0.5
    message = _head(dice, odd and dice.random() < 0.2)
    for column in dice.sample(columns, len(columns)):
        kinds = KINDS[column.kind]
        datatype = dice.choice(kinds) if odd and dice.random() < 0.3 else dice.choice(FITTING[column.kind])
        if column.kind == "category" and datatype in ("BYTES", "FP64") and not (odd and dice.random() < 0.1):
            datatype = "BYTES" if isinstance(column.categories[0], str) else "FP64"
        values = [_value(dice, column, datatype, odd and dice.random() < 0.2) for _ in range(rows)]
        _add(message, column.name, datatype, dice.choice([[rows], [rows, 1]]), values, raw)
    encoded: bytes = message.SerializeToString()
    return encoded


def _matrix(dice: Random, columns: Sequence[Column], odd: bool) -> bytes:
    rows, raw = dice.randint(1, 4), dice.random() < 0.5
    message = _head(dice, odd and dice.random() < 0.2)
    datatype = dice.choice(["FP64", "FP32", "INT64", "INT32"] + ["BYTES", "BOOL"] * odd)
    values = [_value(dice, column, datatype, odd) for _ in range(rows) for column in columns]
    if datatype.startswith("FP") and not odd:
        texts = [column.kind in ("date", "category") for column in columns] * rows
        values = [math.nan if text else value for text, value in zip(texts, values, strict=True)]
    _add(message, dice.choice(["features", "input-0", "é"]), datatype, [rows, len(columns)], values, raw)
    encoded: bytes = message.SerializeToString()
    return encoded


def _damaged(dice: Random, columns: Sequence[Column], odd: bool) -> bytes:
    damaged = bytearray(_columns(dice, columns, False))
    for _ in range(dice.randint(1, 3) if odd else 0):
        position = dice.randrange(len(damaged))
        change = dice.randrange(3)
        if change == 0:
            damaged[position] = dice.randrange(256)
        elif change == 1:
            del damaged[position]
        else:
            damaged[position:position] = dice.randbytes(dice.randint(1, 4))
    return bytes(damaged)


@pytest.mark.parametrize("count", [1_500, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(3_000)])])
@pytest.mark.parametrize("make", [_columns, _matrix, _damaged])
def test_messages_are_answered_with_the_same_bytes(both: Both, make: Callable[..., bytes], count: int) -> None:
    dice = Random(7)
    taken = sum(both.compare(make(dice, both.columns, number % 2 == 1)) for number in range(count))

    assert count // 10 < taken < count


@pytest.mark.parametrize("raw", [False, True])
def test_ordinary_messages_take_the_hot_path(both: Both, raw: bool, golden: Callable[..., Any]) -> None:
    row = golden(both.service.app.predictor.bundle)["instances"][0]
    before = both.fast.counters()["requests"]["grpc"]
    message = oip.ModelInferRequest(model_name="m", model_version=both.service.app.predictor.version or "", id="a")
    message.outputs.add(name="prediction")
    if both.service.app.predictor.classes:
        message.outputs.add(name="probabilities")
    for column in both.columns:
        value = row[column.name]
        datatype = {str: "BYTES", bool: "BOOL", int: "INT64", float: "FP64"}[type(value)]
        _add(message, column.name, datatype, [1], [value], raw)

    hot = both.fast.infer(message.SerializeToString())

    assert hot == both.generic(message.SerializeToString()).body
    assert both.fast.counters()["requests"]["grpc"] == before + 1


@pytest.mark.parametrize(
    "more",
    [
        b"\x0a\x01m",
        b"\x12\x00\x12\x00",
        b"\x1a\x01\xff",
        b"\x1a\x01a\x1a\x01b",
        b"\x40\x01",
        b"\x22\x00",
        b"\x3a\x00",
        b"\x2a",
    ],
    ids=["name twice", "version twice", "id not UTF-8", "id twice", "unknown", "parameter", "raw and typed", "cut off"],
)
def test_unusual_messages_are_left_to_the_generic_path(both: Both, more: bytes) -> None:
    message = oip.ModelInferRequest(model_name="m", model_version=both.service.app.predictor.version or "", id="b")
    for column in both.columns:
        value = column.categories[0] if column.kind == "category" else PLAIN[column.kind]
        datatype = {str: "BYTES", bool: "BOOL"}.get(type(value), "FP64")
        _add(message, column.name, datatype, [1], [value], False)
    ordinary: bytes = message.SerializeToString()

    assert both.fast.infer(ordinary) is not None
    assert both.fast.infer(ordinary + more) is None


def test_a_matrix_whose_name_is_not_utf_8_is_left_to_the_generic_path(both: Both) -> None:
    message = oip.ModelInferRequest(model_name="m")
    _add(message, "q", "FP64", [1, len(both.columns)], [math.nan] * len(both.columns), True)
    data: bytes = message.SerializeToString()

    assert both.fast.infer(data) is not None
    assert both.fast.infer(data.replace(b"\x0a\x01q", b"\x0a\x01\xff")) is None
