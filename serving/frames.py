"""Arrow tables in and out of files, and their columns as the float64 rows a scorer takes.

The column-wise equal of serving.schema's `encode`, for the batch command: same codes, same days, same refusals.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from serving.schema import FLOAT32_MAX, UNSEEN, Column, InvalidValue, Schema, encode

FORMATS = (".parquet", ".csv", ".jsonl")


class FrameError(Exception):
    """A file or column that cannot be predicted from; the message names it and says what would be accepted."""


def encode_frame(schema: Schema, frame: Any, first: int) -> Any:
    """Return the contiguous float64 matrix [rows, columns] of a table.

    Args:
        first: Number of the table's first row in its file, for messages.

    Raises:
        FrameError: A column is missing or a value does not fit.
    """
    absent = [name for name in schema.names if name not in frame.column_names]
    if absent:
        raise FrameError(f"the input lacks the columns {', '.join(absent)}; it has {', '.join(frame.column_names)}")
    matrix = np.empty((frame.num_rows, len(schema.columns)))
    for position, column in enumerate(schema.columns):
        values = frame.column(column.name)
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        matrix[:, position] = _encoded(column, values, first)
    return matrix


def _encoded(column: Column, values: Any, first: int) -> Any:
    if pa.types.is_null(values.type):
        return np.full(len(values), np.nan)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if column.kind == "category" and _is_text(column):
        return _text_codes(column, values, first)
    if column.kind == "date" and (pa.types.is_date(values.type) or pa.types.is_timestamp(values.type)):
        return _days(column, values)
    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return _numbers(column, values, first)
    return _one_by_one(column, values, first)


def _is_text(column: Column) -> bool:
    return not column.categories or isinstance(column.categories[0], str)


def _text_codes(column: Column, values: Any, first: int) -> Any:
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return _one_by_one(column, values, first)
    known = pa.array([str(category) for category in column.categories], values.type)
    codes = pc.fill_null(pc.index_in(values, value_set=known), int(UNSEEN)).to_numpy(zero_copy_only=False)
    missing = values.is_null()
    if "" not in column.categories:
        missing = pc.or_(missing, pc.fill_null(pc.equal(values, ""), True))
    return np.where(missing.to_numpy(zero_copy_only=False), np.nan, codes)


def _numbers(column: Column, values: Any, first: int) -> Any:
    """Return numbers, codes of numeric categories, or truth values."""
    logical = pa.types.is_boolean(values.type)
    numbers = pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        wrong = np.abs(numbers) > FLOAT32_MAX
    if column.kind == "boolean":
        wrong |= ~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))
    elif logical or column.kind == "date":
        wrong = ~np.isnan(numbers)
    if wrong.any():
        _refuse(column, values, int(wrong.argmax()), first)
    if column.kind != "category":
        return numbers
    known = np.array(column.categories, dtype="f8")
    matches = numbers[:, None] == known[None, :]
    codes = np.where(matches.any(axis=1), matches.argmax(axis=1), UNSEEN)
    return np.where(np.isnan(numbers), np.nan, codes)


def _days(column: Column, values: Any) -> Any:
    """Return days since 1970 of dates and timestamps."""
    moments = pc.cast(values, pa.timestamp("us"), safe=False).cast(pa.int64())
    missing = values.is_null().to_numpy(zero_copy_only=False)
    microseconds = pc.fill_null(moments, 0).to_numpy(zero_copy_only=False)
    return np.where(missing, np.nan, microseconds / 1e6 / 86400.0)


def _one_by_one(column: Column, values: Any, first: int) -> Any:
    """Encode values through the schema; each different value once."""
    known: dict[Any, float] = {}
    numbers = np.empty(len(values))
    for position, value in enumerate(values.to_pylist()):
        if value not in known:
            try:
                known[value] = encode(column, value, "")
            except InvalidValue:
                _refuse(column, values, position, first)
        numbers[position] = known[value]
    return numbers


def _refuse(column: Column, values: Any, position: int, first: int) -> None:
    value = values[position].as_py()
    try:
        encode(column, value, f"row {first + position}, column {column.name!r}")
    except InvalidValue as error:
        raise FrameError(str(error)) from None
    raise AssertionError(f"{value!r} fits after all")


class Reader:
    """The tables of a file, one step after the other; `total` rows where the format tells."""

    def __init__(self, frames: Iterator[Any], total: int | None) -> None:
        self.total = total
        self._frames = frames

    def __iter__(self) -> Iterator[Any]:
        return self._frames


@contextmanager
def open_reader(path: Path, schema: Schema, rows: int) -> Iterator[Reader]:
    """Open a file for reading in steps of about `rows` rows."""
    try:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(rows))
                yield Reader(batches, file.metadata.num_rows)
        elif path.suffix == ".csv":
            with pyarrow.csv.open_csv(path, convert_options=_csv_options(schema)) as stream:
                yield Reader((pa.Table.from_batches([batch]) for batch in stream), None)
        elif path.suffix == ".jsonl":
            with path.open("rb") as lines:
                yield Reader(_json_frames(lines, rows), None)
        else:
            raise FrameError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    except (pa.ArrowException, orjson.JSONDecodeError) as error:
        raise FrameError(f"{path} cannot be read: {error}") from error


def _csv_options(schema: Schema) -> Any:
    kinds = {"number": pa.float64(), "integer": pa.float64(), "boolean": pa.bool_(), "date": pa.string()}
    types = {
        column.name: kinds.get(column.kind, pa.string() if _is_text(column) else pa.float64())
        for column in schema.columns
    }
    return pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)


def _json_frames(lines: Iterator[bytes], rows: int) -> Iterator[Any]:
    while block := [orjson.loads(line) for line in itertools.islice(lines, rows) if line.strip()]:
        yield pa.Table.from_pylist(block)


@contextmanager
def open_writer(path: Path, named: Path) -> Iterator[Callable[[Any], None]]:
    """Open a file in the format of `named`; yields what writes one table."""
    makers = {".parquet": pyarrow.parquet.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
    if named.suffix not in FORMATS:
        raise FrameError(f"{named}: expected a name that ends in {', '.join(FORMATS)}")
    opened: list[Any] = []

    def write(frame: Any) -> None:
        if not opened:
            _check_names(frame.column_names)
            opened.append(makers[named.suffix](path, frame.schema) if named.suffix in makers else path.open("wb"))
        if named.suffix in makers:
            opened[0].write_table(frame)
        else:
            opened[0].writelines(orjson.dumps(row, default=str) + b"\n" for row in frame.to_pylist())

    try:
        yield write
    finally:
        for sink in opened:
            sink.close()


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FrameError(
            f"the input already has the columns {', '.join(twice)}: rename them, they would be overwritten"
        )
