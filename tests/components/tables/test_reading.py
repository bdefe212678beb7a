"""CSV and Parquet files of every dialect become the same table, and broken ones are explained."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import InputError
from components.tables.reading import open_table


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def written(content: bytes) -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(content)
        return path

    return written


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x y\n3,\n",
        b"a;b\n1;x y\n3;\n",
        b"a\tb\n1\tx y\n3\t\n",
        b"a|b\r\n1|x y\r\n3|\r\n",
        b'\xef\xbb\xbf a ,"b"\n1, x y \n\n3,""\n',
        "a,b\n1,x y\n3,\n".encode("utf-16"),
        gzip.compress(b"a,b\n1,x y\n3,\n"),
    ],
    ids=["comma", "semicolon", "tab", "pipe", "bom-and-spaces", "utf-16", "gzip"],
)
def test_reads_every_dialect_alike(write: Callable[[bytes], Path], content: bytes) -> None:
    frame = open_table(write(content)).frame()

    assert frame.to_dict("list") == {"a": ["1", "3"], "b": ["x y", ""]}


def test_keeps_unicode_and_spaces_in_headers(write: Callable[[bytes], Path]) -> None:
    table = open_table(write("Größe (cm),  氏 名 ,émoji 🐈\n1,2,3\n".encode()))

    assert table.names == ("Größe (cm)", "氏 名", "émoji 🐈")


def test_reads_what_windows_writes(write: Callable[[bytes], Path]) -> None:
    table = open_table(write("Größe;Preis €\nä;1\n".encode("cp1252")))

    assert table.encoding == "cp1252"
    assert table.frame().to_dict("list") == {"Größe": ["ä"], "Preis €": ["1"]}


def test_reads_line_ends_and_delimiters_inside_quotes(write: Callable[[bytes], Path]) -> None:
    frame = open_table(write(b'a,b\n"x,\n""y""",2\n')).frame()

    assert frame.to_dict("list") == {"a": ['x,\n"y"'], "b": ["2"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: expected a header line and rows"),
        (b" \n\n", "is empty"),
        (b"a,b,a\n1,2,3\n", "more than one column named 'a': rename"),
        (b"a, a \n1,2\n", "more than one column named 'a'"),
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 columns, got 3: 1,2,3"),
        (b'a,b\n"1,2\n3,4\n', "not a readable CSV"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is not a text file"),
        (b"PAR1 and nothing else", "is a broken Parquet file"),
        (b"\x1f\x8b broken", "is a broken gzip file"),
    ],
)
def test_explains_a_file_it_cannot_read(write: Callable[[bytes], Path], content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_table(write(content)).frame()


def test_a_bad_line_far_into_the_file_is_an_error_and_not_a_short_table(write: Callable[[bytes], Path]) -> None:
    table = open_table(write(b"a,b\n" + b"1,2\n" * 2_000_000 + b"1,2,3\n"))

    with pytest.raises(InputError, match="got 3"):
        for _ in table.batches():
            pass


def test_reads_parquet_types_as_five_kinds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "small": pa.array([1, None], pa.int8()),
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(8, 2)),
            "text": pa.array([" x ", None]).dictionary_encode(),
            "day": pa.array([date(2024, 2, 29), None]),
            "yes": pa.array([True, None]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")

    (batch,) = open_table(tmp_path / "t.parquet").batches()

    assert batch.schema.types == [pa.int64(), pa.float64(), pa.string(), pa.timestamp("ms"), pa.bool_()]
    assert batch.column(2).to_pylist() == ["x", None]


def test_names_parquet_columns_that_hold_no_single_values(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "many": [[1, 2]]}), tmp_path / "t.parquet")

    table = open_table(tmp_path / "t.parquet")

    assert table.names == ("a",)
    assert table.unreadable == (("many", "list<element: int64>"),)
