"""Encoding many rows equals encoding each value through serving.schema, and so does encoding a column of a file."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.encoding import RowEncoder
from serving.errors import Refused
from serving.frames import FrameError, encode_frame
from serving.schema import Column, InvalidValue, Schema, Target, encode

COLUMNS = (
    Column("number", "number"),
    Column("integer", "integer"),
    Column("text", "category", categories=("a", "b", "ü")),
    Column("code", "category", categories=(1, 2.5, 7)),
    Column("truth", "boolean"),
    Column("day", "date"),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["a", "b", "ü", "c", "", 1, 2.5, 7, 7.0, 0, 1e39, -0.0, "2020-01-31", "2020-01-31T12:00:00Z"]),
    st.dates().map(str),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=1),
)


@given(st.sampled_from(COLUMNS), VALUES)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_a_value_of_a_row_is_encoded_as_the_schema_says(column: Column, value: Any) -> None:
    encoder = RowEncoder(Schema((column,), Target("t", "regression")))
    for row, path in (([value], "instances[7][0]"), ({column.name: value}, f"instances[7].{column.name}")):
        found = _outcome(encoder.encode, [row], 7)
        wanted = _outcome(encode, column, value, path)
        if not isinstance(found, str):
            found = found[0]
        np.testing.assert_array_equal(found, wanted)


def _outcome(compute: Any, *arguments: Any) -> Any:
    """Return what was computed, or the message of a refusal."""
    try:
        return compute(*arguments)
    except (InvalidValue, Refused) as refused:
        return str(refused)


ARROW = {
    "number": (st.floats(-1e30, 1e30) | st.none(), pa.float64()),
    "integer": (st.integers(-(2**31), 2**31) | st.none(), pa.int64()),
    "text": (st.sampled_from(["a", "b", "ü", "c", "", None]), pa.string()),
    "code": (st.sampled_from([1.0, 2.5, 7.0, 3.0, None]), pa.float64()),
    "truth": (st.booleans() | st.none(), pa.bool_()),
    "day": (st.dates().map(str) | st.none(), pa.string()),
}


@given(st.data(), st.sampled_from(COLUMNS))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_column_of_a_file_is_encoded_as_the_schema_says(data: st.DataObject, column: Column) -> None:
    strategy, kind = ARROW[column.name]
    values = data.draw(st.lists(strategy, min_size=1, max_size=8))
    array = pa.array(values, kind)
    if kind == pa.string() and data.draw(st.booleans()):
        array = array.dictionary_encode()

    found = encode_frame(Schema((column,), Target("t", "regression")), pa.table({column.name: array}), 0)

    np.testing.assert_array_equal(found[:, 0], [encode(column, value, "") for value in values])


@given(st.lists(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)) | st.none(), min_size=1))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_timestamps_are_the_days_their_iso_text_is(moments: list[datetime.datetime | None]) -> None:
    column = COLUMNS[5]
    frame = pa.table({"day": pa.array(moments, pa.timestamp("us"))})
    wanted = [encode(column, moment and moment.isoformat(), "") for moment in moments]

    found = encode_frame(Schema((column,), Target("t", "regression")), frame, 0)

    np.testing.assert_array_equal(found[:, 0], wanted)


def test_dates_of_a_file_are_days() -> None:
    frame = pa.table({"day": pa.array([datetime.date(1970, 1, 2), None])})

    found = encode_frame(Schema((COLUMNS[5],), Target("t", "regression")), frame, 0)[:, 0]

    assert found[0] == 1.0
    assert math.isnan(found[1])


def test_what_a_reader_of_files_makes_of_a_value_is_taken() -> None:
    zoned = Column("zone", "category", categories=("020", "RL", "30", "030"))
    numbered = Column("code", "category", categories=(1, 2.5))
    taken = [
        (COLUMNS[0], "1", 1.0), (COLUMNS[0], "-2.5e3", -2500.0), (COLUMNS[1], "7", 7.0), (COLUMNS[4], "True", 1.0),
        (COLUMNS[4], "false", 0.0), (zoned, 20, 0.0), (zoned, 20.0, 0.0), (zoned, "RL", 1.0), (numbered, "2.5", 1.0),
        (numbered, "9", -1.0),
    ]  # fmt: skip

    assert [encode(column, value, "") for column, value, _ in taken] == [code for _, _, code in taken]
    assert all(math.isnan(encode(column, "", "")) for column in (COLUMNS[0], COLUMNS[4], COLUMNS[5], zoned, numbered))
    for column, value in [
        (zoned, 30),
        (zoned, 5),
        (zoned, True),
        (numbered, "1,5"),
        (COLUMNS[0], "1_0"),
        (COLUMNS[0], "nan"),
    ]:
        with pytest.raises(InvalidValue):
            encode(column, value, "")


def test_a_row_may_carry_what_its_table_has_beside_the_columns_of_the_model() -> None:
    schema = Schema((COLUMNS[0],), Target("price", "regression"), unused=("id", "note"))
    encoder = RowEncoder(schema)

    assert list(encoder.encode([{"number": 1, "id": "a7", "note": None, "price": 3}, {"note": 1, "number": 2}], 0)) == [
        1,
        2,
    ]
    with pytest.raises(Refused, match="unknown field 'nota'"):
        encoder.encode([{"number": 1, "nota": None}], 0)


@pytest.mark.parametrize(
    ("column", "array", "message"),
    [
        (COLUMNS[0], pa.array(["1", "x"]), "row 6, column 'number': expected a number, got \"x\""),
        (COLUMNS[0], pa.array([1.0, 1e39]), "row 6, column 'number': expected a finite number"),
        (COLUMNS[0], pa.array([True]), "row 5, column 'number': expected a number, got true"),
        (COLUMNS[4], pa.array([0, 2]), "row 6, column 'truth': expected true or false, got 2"),
        (COLUMNS[2], pa.array([5]), "row 5, column 'text': expected text, got 5"),
        (COLUMNS[5], pa.array([5]), "row 5, column 'day': expected an ISO 8601 date, got 5"),
        (COLUMNS[5], pa.array(["soon"]), "row 5, column 'day': expected an ISO 8601 date"),
    ],
)
def test_a_value_of_a_file_that_does_not_fit_is_named(column: Column, array: Any, message: str) -> None:
    with pytest.raises(FrameError) as refused:
        encode_frame(Schema((column,), Target("t", "regression")), pa.table({column.name: array}), 5)

    assert str(refused.value).startswith(message)
