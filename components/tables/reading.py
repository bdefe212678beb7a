"""Reads any table batch by batch, so that a file of any length needs the memory of one batch.

A text file's values come as trimmed text: what they mean is decided by `inference`, once, over all rows, and not by
whatever the first block of the file looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from components.errors import InputError
from components.tables import dialects, encodings, packing

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 1 << 16
BLOCK_BYTES = 1 << 22
SAMPLE_BYTES = 1 << 16
DAYS = pa.timestamp("ms")


@dataclass(frozen=True)
class Format:
    """What a person says about a file; empty where its bytes say it."""

    encoding: str = ""
    header: bool | None = None
    sheet: str = ""


@dataclass(frozen=True)
class Table:
    """A file whose header has been read.

    Attributes:
        names: Of the columns, trimmed, each once.
        unreadable: Column -> type, for columns whose values are no single number, text, truth or date.
        encoding: Of a text file; empty for Parquet.
        skip: Lines before the header.
        headless: Whether the first row looks like data.
        titled: Whether the names are the first row's; else they are `column 1` and so on.
        notes: What was found on the way to the rows.
    """

    path: Path
    names: tuple[str, ...]
    delimiter: str = ""
    encoding: str = ""
    unreadable: tuple[tuple[str, str], ...] = ()
    skip: int = 0
    headless: bool = False
    titled: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def typed(self) -> bool:
        """Whether the file has types of its own, and so gaps of its own."""
        return not self.delimiter

    def order(self, name: str) -> int:
        """Return where a column stands; those that cannot be read come last."""
        return self.names.index(name) if name in self.names else len(self.names)

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


def open_table(path: Path, scratch: Path, said: Format = Format()) -> Table:
    """Return the table of a file; what it is is seen in its bytes, see `packing`.

    Args:
        scratch: A folder for what has to be unpacked or written anew; the table reads from it.

    Raises:
        InputError: The file is empty, is no table, or names a column twice.
    """
    found, notes = packing.unpacked(path, scratch, said.sheet)
    with found.open("rb") as stream:
        start = stream.read(SAMPLE_BYTES)
    if start.startswith(packing.PARQUET):
        return _open_parquet(found, notes)
    return _open_text(found, start, scratch, said, notes)


def _open_text(path: Path, start: bytes, scratch: Path, said: Format, notes: tuple[str, ...]) -> Table:
    encoding, told = encodings.find(path, said.encoding)
    text = start.decode(encoding, errors="ignore").lstrip("\ufeff")
    dialect = dialects.find(text, whole=len(start) < SAMPLE_BYTES)
    delimiter, skip = dialect.delimiter, dialect.skip
    if delimiter == dialects.SPACES:
        path, encoding, delimiter = _with_commas(path, encoding, scratch), "utf-8", ","
        told = (*told, "its columns are separated by blanks")
    titled = said.header is not False
    names = _titles(path, delimiter, encoding, skip) if titled else _numbered(len(dialect.names))
    _check_names(path, names)
    headless = dialect.headless and said.header is None
    return Table(path, names, delimiter, encoding, (), skip, headless, titled, (*notes, *dialect.notes, *told))


def _titles(path: Path, delimiter: str, encoding: str, skip: int) -> tuple[str, ...]:
    """Return the names of the header; columns without one, as spreadsheets leave them at the right, get a number."""
    found = [name.strip().lstrip("\ufeff") for name in _opened(path, delimiter, encoding, skip).schema.names]
    blank = [place for place, name in enumerate(found) if not name]
    for place in blank if len(blank) > 1 else ():
        found[place] = f"unnamed {place + 1}"
    return tuple(found)


def _numbered(columns: int) -> tuple[str, ...]:
    return tuple(f"column {place + 1}" for place in range(columns))


def _with_commas(path: Path, encoding: str, scratch: Path) -> Path:
    """Write a file whose columns are separated by blanks as CSV."""
    import csv

    target = scratch / f"commas-{path.name}"
    with path.open(encoding=encoding) as source, target.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(line.split() for line in source if line.strip())
    return target


def _check_names(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path.name} has more than one column named {', '.join(map(repr, twice))}: rename them so that each name "
            "occurs once"
        )


def _opened(
    path: Path, delimiter: str, encoding: str, skip: int, raw: Sequence[str] = (), *, titled: bool = True
) -> pacsv.CSVStreamingReader:
    options = pacsv.ReadOptions(
        block_size=BLOCK_BYTES, encoding=encoding, skip_rows=skip, column_names=None if titled else list(raw)
    )
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(raw, pa.string()), strings_can_be_null=False)
    try:
        return pacsv.open_csv(
            pa.input_stream(str(path), compression=None),
            read_options=options,
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=convert,
        )
    except pa.ArrowInvalid as error:
        raise _unreadable(path, error) from error


def _csv_batches(table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    how = (table.path, table.delimiter, table.encoding, table.skip)
    raw = _opened(*how).schema.names if table.titled else table.names
    reader = _opened(*how, raw, titled=table.titled)
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
    detail = re.sub(r"\s*\n\s*", " ", str(error).removeprefix("CSV parse error: ").strip())
    return InputError(
        f"{path.name} is not a readable CSV: {detail[:300]}; correct that line or its quotes (delimiters that are "
        "understood: , ; | ~ ^ tab and blanks)"
    )


def _open_parquet(path: Path, notes: tuple[str, ...]) -> Table:
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
    return Table(path, tuple(name for name in names if name not in skipped), unreadable=unreadable, notes=notes)


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


def gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of small batches in batches of at least `BATCH_ROWS`, the last one aside."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= BATCH_ROWS:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
