"""CSV and Parquet files of every dialect become the same table, and broken ones are explained."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from components.errors import InputError
from components.tables import reading
from components.tables.reading import Format, Table


def open_table(path: Path, said: Format = Format()) -> Table:  # noqa: B008  frozen
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return reading.open_table(path, scratch, said)


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


TABLE = b"a,b\n1,x y\n3,\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.bz2", bz2.compress(TABLE)),
        ("t.csv.xz", lzma.compress(TABLE)),
        ("t.csv.zst", pa.compress(TABLE, "zstd", asbytes=True)),
        ("t.csv", gzip.compress(TABLE)),
        ("t.gz", gzip.compress(bz2.compress(TABLE))),
    ],
)
def test_unpacks_what_is_packed_whatever_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert open_table(tmp_path / name).frame().to_dict("list") == {"a": ["1", "3"], "b": ["x y", ""]}


def test_unpacks_a_zip_of_one_file_and_explains_one_of_several(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("data/t.csv", TABLE)
        archive.writestr("__MACOSX/._t.csv", b"x")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", TABLE)
        archive.writestr("b.csv", TABLE)

    table = open_table(tmp_path / "one.zip")

    assert table.frame().to_dict("list") == {"a": ["1", "3"], "b": ["x y", ""]}
    assert table.notes == ("read data/t.csv of one.zip",)
    with pytest.raises(InputError, match=r"two\.zip holds 2 files \(a\.csv, b\.csv\): unpack it and name one"):
        open_table(tmp_path / "two.zip")


@pytest.mark.parametrize("whole", [gzip.compress(TABLE * 40_000), bz2.compress(TABLE * 40_000)])
def test_a_packed_file_that_is_cut_short_is_explained(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(InputError, match=r"t\.csv\.gz is a broken \w+ file, cut short or damaged"):
        open_table(tmp_path / "t.csv.gz")


def test_reads_json_lines_feather_and_arrays_of_objects_with_their_types(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": "NA", "c": None}, {"a": 3, "b": None, "c": 2.5, "deep": {"x": 1}}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "t.json").write_text(json.dumps(rows))
    feather.write_feather(pa.Table.from_pylist([{**row, "deep": [1]} for row in rows]), tmp_path / "t.feather")

    for name in ("t.jsonl", "t.json", "t.feather"):
        table = open_table(tmp_path / name)
        assert table.typed
        assert table.names == ("a", "b", "c")
        assert [column for column, _ in table.unreadable] == ["deep"]
        (batch,) = table.batches()
        assert batch.column(1).to_pylist() == ["NA", None]


def test_reads_the_sheet_of_a_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "first"
    for row in (
        ["a", "when", "ok"],
        [1, datetime(2024, 2, 29), True],
        [None, datetime(2024, 3, 1, 13, 5), False],
        [None] * 3,
    ):
        book["first"].append(row)
    book.create_sheet("second").append(["other"])
    book.save(tmp_path / "t.xlsx")

    table = open_table(tmp_path / "t.xlsx")

    assert table.frame().to_dict("list") == {
        "a": ["1", ""],
        "when": ["2024-02-29", "2024-03-01 13:05:00"],
        "ok": ["true", "false"],
    }
    assert table.notes == ("read the sheet 'first'; it has 1 more, override sheet",)
    assert open_table(tmp_path / "t.xlsx", Format(sheet="second")).names == ("other",)
    with pytest.raises(InputError, match=r"has no sheet 'frist' .did you mean 'first'"):
        open_table(tmp_path / "t.xlsx", Format(sheet="frist"))


ROWS = "".join(f"{place / 4},{place % 3},x\n" for place in range(50))


@pytest.mark.parametrize(
    ("content", "names", "first", "note"),
    [
        ("Report of 2024\n\na,b,y\n" + ROWS, ("a", "b", "y"), ["0.0", "0", "x"], "2 lines before the header"),
        ("# made by x\n# at noon\na,b,y\n" + ROWS, ("a", "b", "y"), ["0.0", "0", "x"], "such as '# made by x'"),
        ("sep=;\na;b;y\n" + ROWS.replace(",", ";"), ("a", "b", "y"), ["0.0", "0", "x"], "such as 'sep=;'"),
        ("a b   y\n" + ROWS.replace(",", "  "), ("a", "b", "y"), ["0.0", "0", "x"], "separated by blanks"),
        ("a~b~y\n" + ROWS.replace(",", "~"), ("a", "b", "y"), ["0.0", "0", "x"], ""),
        (
            "a,b,y,,\n" + ROWS.replace("x", "x,,"),
            ("a", "b", "y", "unnamed 4", "unnamed 5"),
            ["0.0", "0", "x", "", ""],
            "",
        ),
        ("a;b\n" + "1,5;2,5\n" * 50, ("a", "b"), ["1,5", "2,5"], ""),
        ("Titel\n\na;b\n" + "1,5;2,5\n" * 50, ("a", "b"), ["1,5", "2,5"], "2 lines before"),
        ('a,b\n"x; y; z",1\n' * 1 + '"p; q; r",2\n' * 50, ("a", "b"), ["x; y; z", "1"], ""),
        ("only\n" + "1\n2\n" * 50, ("only",), ["1"], ""),
    ],
    ids=[
        "preamble",
        "comments",
        "sep",
        "blanks",
        "tilde",
        "empty-columns",
        "decimal-commas",
        "both",
        "quotes",
        "one-column",
    ],
)
def test_finds_the_header_and_the_delimiter(
    write: Callable[[bytes], Path], content: str, names: tuple[str, ...], first: list[str], note: str
) -> None:
    table = open_table(write(content.encode()))
    batch = next(iter(table.batches()))

    assert table.names == names
    assert [column[0].as_py() for column in batch.columns] == first
    assert any(note in told for told in table.notes) if note else not table.notes
    assert not table.headless


def test_a_file_without_a_header_is_seen_and_can_be_numbered(write: Callable[[bytes], Path]) -> None:
    path = write(ROWS.encode())

    assert open_table(path).headless
    numbered = open_table(path, Format(header=False))
    assert numbered.names == ("column 1", "column 2", "column 3")
    assert sum(batch.num_rows for batch in numbered.batches()) == 50


def test_a_header_of_years_is_a_header(write: Callable[[bytes], Path]) -> None:
    years = ",".join(map(str, range(1960, 1975)))
    rows = "".join(f"land {n}," + ",".join(str(n * year) for year in range(15)) + "\n" for n in range(30))

    assert not open_table(write(f"name,{years}\n{rows}".encode())).headless


CYRILLIC = "город,цена\n" + "Москва,1\nКазань,2\nТула,3\n" * 30
JAPANESE = "都市,y\n" + "東京,1\n大阪,2\n名古屋,3\n" * 30


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(CYRILLIC, "cp1251"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), ("ä,é\nß,ñ\n" * 9, "cp1252")],
)
def test_the_encoding_is_found(write: Callable[[bytes], Path], text: str, encoding: str) -> None:
    names, _, rest = text.partition("\n")
    table = open_table(write(text.encode(encoding)))

    assert table.names == tuple(names.split(","))
    assert next(iter(table.frame().iloc[0])) == rest.split(",")[0]
    assert "the file is not UTF-8" in table.notes[0]


@pytest.mark.parametrize(
    ("content", "said", "told"),
    [
        (
            "ä,b\n".encode() * 40 + b"x,\xff\n",
            Format(),
            r"byte 202 \(0xff, line 41\) is no text in utf-8; the rest is UTF-8",
        ),
        (b"a,b\nx\x8d\x81,1\nq\x9d,2\n" * 9, Format(), r"byte 5 \(0x8d, line 2\) .* no other encoding fits"),
        ("ä,b\n".encode("cp1252"), Format(encoding="utf-8"), r"byte 0 \(0xe4, line 1\) is no text in utf-8"),
    ],
)
def test_bytes_that_are_no_text_are_named(
    write: Callable[[bytes], Path], content: bytes, said: Format, told: str
) -> None:
    with pytest.raises(InputError, match=told) as refused:
        open_table(write(content), said)

    assert 'override {"encoding": "cp1252"}' in str(refused.value)


def test_a_person_names_the_encoding(write: Callable[[bytes], Path]) -> None:
    table = open_table(write("č,ž\n1,2\n".encode("cp1250")), Format(encoding="cp1250"))

    assert table.names == ("č", "ž")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "pointer of Git LFS.*git lfs pull",
        ),
        (b"outs:\n- md5: 1\n", "pointer of DVC"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n <HTML>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "XML"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x80\x04\x95pickle", "a Python pickle, which is never loaded"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "save it as .xlsx"),
        (b"@RELATION iris\n@ATTRIBUTE a", "an ARFF file"),
        (b"PK\x03\x04 cut", "a broken zip file"),
        (b'{"a": 1}\n{"a": ', "not readable as JSON Lines"),
    ],
)
def test_what_is_no_table_is_named(write: Callable[[bytes], Path], content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        open_table(write(content))
