"""What is inside a file that a person names: packed, a workbook, rows of JSON, or no table at all.

Everything becomes a plain text file or a Parquet file in a scratch folder, so that there are two ways to read a table
and not ten. What a file is, is seen in its bytes; names lie.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import InputError, meant

PARQUET = b"PAR1"
ACCEPTED = (
    "a CSV (, ; | ~ ^, tab or blanks between the columns), Parquet, Feather, JSON Lines or Excel (.xlsx) file, "
    "also as .gz, .bz2, .xz, .zst or a .zip of one file"
)
_PAGE = "a web page and not the file: the address needs a login, or is that of a page; download the raw file"
_BLOCK = 1 << 20
_START = 1 << 12
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_STRANGERS = {
    b"version https://git-lfs": ("a pointer of Git LFS and not the file: run `git lfs pull`"),
    b"outs:\n": "a pointer of DVC and not the file: run `dvc pull` and name the file beside it",
    b"/annex/objects/": "a pointer of git-annex and not the file: run `git annex get`",
    b"<!doctype html": _PAGE,
    b"<html": _PAGE,
    b"<?xml": "XML, often the refusal of an object store: look into it",
    b"%pdf": "a PDF",
    b"sqlite format 3": "an SQLite database: export the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls): save it as .xlsx or CSV",
    b"\x93numpy": "a NumPy array: write it as CSV or Parquet",
    b"\x89hdf": "an HDF5 file: write the table as CSV or Parquet",
    b"@relation": "an ARFF file: write it as CSV",
    b"\x80\x04": "a Python pickle, which is never loaded: write it as CSV or Parquet",
    b"\x80\x05": "a Python pickle, which is never loaded: write it as CSV or Parquet",
    b"orc": "an ORC file: write it as Parquet",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it",
    b"rar!": "a RAR archive: unpack it",
}


def unpacked(path: Path, scratch: Path, sheet: str = "") -> tuple[Path, tuple[str, ...]]:
    """Return a text or Parquet file with the content of a file, and notes; the file itself when it is one.

    Args:
        scratch: Where it is written.
        sheet: Of a workbook; empty takes the first.

    Raises:
        InputError: It is empty, broken, or no table; the message says what it is and what to do.
    """
    notes: tuple[str, ...] = ()
    for depth in range(3):
        start = _beginning(path)
        if not start.strip():
            raise InputError(f"{path.name} is empty: expected a header line and rows")
        packed = next((known for magic, known in _PACKED.items() if start.startswith(magic)), None)
        if packed is not None:
            path = _unpack(path, scratch / f"unpacked{depth}", packed)
        elif start.startswith(b"PK\x03\x04"):
            inner = _zipped(path)
            if inner is None:
                return _workbook(path, scratch / "sheet.csv", sheet)
            path, notes = _extract(path, inner, scratch / f"unpacked{depth}"), (f"read {inner} of {path.name}",)
        else:
            break
    _refuse_strangers(path, start)
    if start.startswith((b"ARROW1", b"FEA1")):
        return _rewritten(path, scratch / "arrow.parquet", _feather, "Feather"), notes
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return _rewritten(path, scratch / "json.parquet", _json_lines, "JSON Lines"), notes
    return path, notes


def _beginning(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_START)


def _refuse_strangers(path: Path, start: bytes) -> None:
    low = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    for magic, told in _STRANGERS.items():
        if low.startswith(magic):
            raise InputError(f"{path.name} is {told}; a table is {ACCEPTED}")
    if b"\0" in start[:1024] and not start.startswith(
        (PARQUET, b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff", b"ARROW1", b"FEA1")
    ):
        raise InputError(f"{path.name} is not a text file: give {ACCEPTED}")


def _opened(path: Path, packing: str) -> Any:
    """Return a stream of the unpacked bytes."""
    if packing == "zstd":
        return pa.input_stream(str(path), compression="zstd")
    openers: dict[str, Callable[[Path], Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    return openers[packing](path)


def _unpack(path: Path, target: Path, packing: str) -> Path:
    try:
        with _opened(path, packing) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream, _BLOCK)
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise InputError(
            f"{path.name} is a broken {packing} file, cut short or damaged ({error}): fetch it or pack it again"
        ) from error
    named = target.with_name(f"{target.name}-{path.stem}")
    return target.rename(named)


def _zipped(path: Path) -> str | None:
    """Return the only file of a zip archive; None for a workbook.

    Raises:
        InputError: It holds several files, or none, or is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [one.filename for one in archive.infolist() if not one.is_dir()]
    except zipfile.BadZipFile as error:
        raise InputError(f"{path.name} is a broken zip file ({error}): fetch it or pack it again") from error
    if "xl/workbook.xml" in names:
        return None
    tables = [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]
    if len(tables) != 1:
        raise InputError(f"{path.name} holds {len(tables)} files ({', '.join(tables[:5])}): unpack it and name one")
    return tables[0]


def _extract(path: Path, inner: str, target: Path) -> Path:
    target = target.with_name(f"{target.name}-{Path(inner).name}")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(inner) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream, _BLOCK)
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:  # RuntimeError: it needs a password
        raise InputError(f"{inner} of {path.name} cannot be unpacked ({error}): unpack it yourself") from error
    return target


def _workbook(path: Path, target: Path, sheet: str) -> tuple[Path, tuple[str, ...]]:
    """Write a sheet as CSV: numbers as they are, dates as ISO 8601, truths as words."""
    import csv

    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise InputError(
            f"{path.name} is an Excel workbook, which needs one more package: install headrace[excel] "
            "(or openpyxl) into the environment, or save the sheet as CSV"
        ) from error
    book = load_workbook(path, read_only=True, data_only=True)
    try:
        if sheet and sheet not in book.sheetnames:
            raise InputError(
                f"{path.name} has no sheet {sheet!r}{meant(sheet, book.sheetnames)}; it has "
                f"{', '.join(book.sheetnames)}"
            )
        chosen = sheet or book.sheetnames[0]
        with target.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            for row in book[chosen].iter_rows(values_only=True):
                if any(value is not None for value in row):
                    writer.writerow([_cell(value) for value in row])
        others = len(book.sheetnames) - 1
    finally:
        book.close()
    more = f"; it has {others} more, override sheet" if others and not sheet else ""
    return target, (f"read the sheet {chosen!r}{more}",)


def _cell(value: Any) -> str:
    from datetime import datetime

    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime) and not (value.hour or value.minute or value.second):
        return str(value.date())
    return str(value)


def _rewritten(path: Path, target: Path, batches: Callable[[Path], Iterator[pa.RecordBatch]], name: str) -> Path:
    """Write batches of a file as Parquet."""
    writer: pq.ParquetWriter | None = None
    try:
        for batch in batches(path):
            writer = writer or pq.ParquetWriter(target, batch.schema)
            writer.write_batch(batch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise InputError(
            f"{path.name} is not readable as {name} ({str(error)[:300]}): correct it, or write a CSV"
        ) from error
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise InputError(f"{path.name} has no rows")
    return target


def _feather(path: Path) -> Iterator[pa.RecordBatch]:
    from pyarrow import feather

    yield from feather.read_table(path, memory_map=True).to_batches()


def _json_lines(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file with one JSON object a line, or of one array of them; kinds are those of all rows."""
    from pyarrow import json as lines

    source: Any = str(path)
    if _beginning(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        rows = json.loads(path.read_bytes())
        source = io.BytesIO("\n".join(json.dumps(row) for row in rows).encode())
    yield from lines.read_json(source).to_batches()
