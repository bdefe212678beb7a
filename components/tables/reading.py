"""Reads any CSV or Parquet file batch by batch, so that a file of any length needs the memory of one batch.

A CSV's values come as trimmed text: what they mean is decided by `inference`, once, over all rows, and not by whatever
the first block of the file looks like.
"""

from __future__ import annotations

import codecs
import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from components.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 1 << 16
BLOCK_BYTES = 1 << 22
DELIMITERS = (",", ";", "\t", "|")
PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"
DAYS = pa.timestamp("ms")


@dataclass(frozen=True)
class Table:
    """A file whose header has been read.

    Attributes:
        names: Of the columns, trimmed, each once.
        unreadable: Column -> type, for columns whose values are no single number, text, truth or date.
        encoding: Of a CSV; empty for Parquet.
    """

    path: Path
    names: tuple[str, ...]
    delimiter: str = ""
    encoding: str = ""
    unreadable: tuple[tuple[str, str], ...] = ()

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, as int64, float64, bool, timestamp[ms] or string arrays.

        Raises:
            InputError: A row does not fit the header, or a byte is not text.
        """
        kept = list(columns) if columns is not None else list(self.names)
        yield from _csv_batches(self, kept) if self.delimiter else _parquet_batches(self, kept)

    def frame(self) -> pd.DataFrame:
        """Return all rows at once."""
        batches = list(self.batches())
        return (
            pa.Table.from_batches(batches).to_pandas() if batches else pa.table({n: [] for n in self.names}).to_pandas()
        )


def open_table(path: Path) -> Table:
    """Return the table of a CSV (`,` `;` tab or `|`; also gzipped) or Parquet file; the format is seen in its bytes.

    Raises:
        InputError: The file is empty, is neither, or names a column twice.
    """
    with path.open("rb") as stream:
        start = stream.read(1 << 16)
    if not start.strip():
        raise InputError(f"{path.name} is empty: expected a header line and rows")
    if start.startswith(PARQUET_MAGIC):
        return _open_parquet(path)
    if start.startswith(GZIP_MAGIC):
        try:
            with gzip.open(path) as unpacked:
                start = unpacked.read(1 << 16)
        except (OSError, EOFError) as error:
            raise InputError(f"{path.name} is a broken gzip file ({error}): pack it again") from error
    return _open_csv(path, start)


def _open_csv(path: Path, start: bytes) -> Table:
    if b"\0" in start[:1024] and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path.name} is not a text file: give a CSV or a Parquet file")
    encoding = _encoding(path, start)
    text = start.decode(encoding, errors="replace").lstrip("\ufeff")
    line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda mark: (_fields(line, mark), -DELIMITERS.index(mark)))
    found = _opened(path, delimiter, encoding).schema.names
    names = tuple(name.strip().lstrip("\ufeff") for name in found)
    _check_names(path, names)
    return Table(path, names, delimiter, encoding)


def _fields(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter), []))


def _encoding(path: Path, start: bytes) -> str:
    """Return UTF-8, UTF-16 where the file says so, or what Excel writes on Western Windows."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _stream(path) as stream:
        try:
            while block := stream.read(BLOCK_BYTES):
                decoder.decode(block)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _stream(path: Path) -> Any:
    """Return the bytes of a file, unpacked if they are gzipped, whatever its name ends in."""
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
    return pa.input_stream(str(path), compression="gzip" if packed else None)


def _check_names(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path.name} has more than one column named {', '.join(map(repr, twice))}: rename them so that each name "
            "occurs once"
        )


def _opened(path: Path, delimiter: str, encoding: str, names: Sequence[str] = ()) -> pacsv.CSVStreamingReader:
    options = pacsv.ReadOptions(block_size=BLOCK_BYTES, encoding=encoding)
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    try:
        return pacsv.open_csv(
            _stream(path),
            read_options=options,
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=convert,
        )
    except pa.ArrowInvalid as error:
        raise _unreadable(path, error) from error


def _csv_batches(table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    raw = _opened(table.path, table.delimiter, table.encoding).schema.names
    reader = _opened(table.path, table.delimiter, table.encoding, raw)
    places = [table.names.index(name) for name in columns]
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise _unreadable(table.path, error) from error
        yield pa.RecordBatch.from_arrays([pc.utf8_trim_whitespace(batch.column(place)) for place in places], columns)


def _unreadable(path: Path, error: Exception) -> InputError:
    detail = str(error).removeprefix("CSV parse error: ").strip()
    return InputError(f"{path.name} is not a readable CSV: {detail[:300]}; correct that line or its quotes")


def _open_parquet(path: Path) -> Table:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path.name} is a broken Parquet file ({str(error)[:200]}): write it again") from error
    names = tuple(name.strip() for name in schema.names)
    _check_names(path, names)
    unreadable = tuple(
        (name, str(field.type)) for name, field in zip(names, schema, strict=True) if _plain(field.type) is None
    )
    skipped = {name for name, _ in unreadable}
    return Table(path, tuple(name for name in names if name not in skipped), unreadable=unreadable)


def _parquet_batches(table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(table.path) as file:
        raw = {name.strip(): name for name in file.schema_arrow.names}
        for batch in file.iter_batches(BATCH_ROWS, columns=[raw[name] for name in columns], use_threads=False):
            by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield pa.RecordBatch.from_arrays([_converted(by_name[raw[name]]) for name in columns], columns)


def _converted(array: pa.Array) -> pa.Array:
    wanted = _plain(array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    plain = array if array.type == wanted else pc.cast(array, wanted, safe=False)
    return pc.utf8_trim_whitespace(plain) if plain.type == pa.string() else plain


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that values of a Parquet type are read as; None when they are no single value."""
    is_ = pa.types
    if is_.is_dictionary(kind):
        return _plain(kind.value_type)
    if is_.is_integer(kind):
        return pa.float64() if kind == pa.uint64() else pa.int64()
    if is_.is_floating(kind) or is_.is_decimal(kind):
        return pa.float64()
    if is_.is_boolean(kind):
        return pa.bool_()
    if is_.is_date(kind) or is_.is_timestamp(kind):
        return DAYS
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind) or is_.is_null(kind):
        return pa.string()
    return None
