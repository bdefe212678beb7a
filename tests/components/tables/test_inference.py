"""What is inferred about an unknown table, how it is told, and how a person decides otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import InputError
from components.tables import reading as tables
from components.tables.casting import Reading
from components.tables.inference import Plan, infer
from components.tables.overrides import Overrides, parse

ROWS = 60
TARGET = ["yes", "no"] * (ROWS // 2)


def opened(path: Path) -> tables.Table:
    return tables.open_table(path, path.parent)


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Infer the plan of columns given as lists of text, with a yes-or-no target."""

    def inferred(columns: Mapping[str, Sequence[Any]], overrides: Overrides | None = None, target: str = "y") -> Plan:
        table = {"y": TARGET, "filler": ["a", "b", "c"] * (ROWS // 3), **columns}
        lines = [";".join(table), *(";".join(map(str, row)) for row in zip(*table.values(), strict=True))]
        path = tmp_path / "t.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return infer(opened(path), target, overrides or Overrides())

    return inferred


def reading(plan: Plan, name: str) -> Reading | None:
    return next((column for column in plan.columns if column.name == name), None)


def cycle(*values: Any) -> list[Any]:
    return [values[place % len(values)] for place in range(ROWS)]


@pytest.mark.parametrize(
    ("values", "kind", "form"),
    [
        (cycle(1, 5, 9), "integer", ""),
        (cycle("1.0", "2.0", ""), "integer", ""),
        (cycle("1.5", "-2e3", ".5", "7"), "number", ""),
        (cycle("1,5", "-2,25", "7"), "number", "comma"),
        (cycle("true", "False", "TRUE"), "boolean", ""),
        (cycle("yes", "no"), "category", ""),
        (cycle("00501", "94105", "10001"), "category", ""),
        (cycle("2024-02-29", "2023-12-31T10:00:00Z"), "date", "iso"),
        (cycle("31.12.2023", "1.2.2024"), "date", "day first"),
        (cycle("12/31/2023", "1/2/2024"), "date", "month first"),
        (cycle("31/12/2023", "1/2/2024"), "date", "day first"),
        (cycle("2023/12/31", "2024/1/2"), "date", "year first"),
        (cycle("red", "green", "NA"), "category", ""),
        (cycle("123456789012345678", "223456789012345678"), "number", ""),
        ([str(10**17 + 3 * place) for place in range(ROWS)], None, ""),
        (cycle("1,200", "999", "2,199"), "number", "point"),
        (cycle("1,234,567", "12"), "number", "point"),
        (cycle("$1,234.50", "($99.00)", "$5"), "number", "point"),
        (cycle("1.234,56", "12,5"), "number", "comma"),
        (cycle("1 234", "12 345", "7"), "number", "point"),
        (cycle("12.5%", "3%"), "number", "point"),
        (cycle("$5", "€7", "$9"), "category", ""),
        (cycle("13:08", "9:30"), "number", "time of day"),
        (cycle("Jan 05, 2020", "Feb 6, 2021"), "date", "name of the month, day"),
        (cycle("5-Jan-20", "06-Feb-21"), "date", "day, name of the month"),
        (cycle("01-02-2011", "13-02-2011"), "date", "day first"),
        (cycle("1/5/20", "12/31/99"), "date", "month first"),
        (cycle("2020/01/05 10:00:00", "2020/01/06 11:30:00"), "date", "year first"),
        (["13/01/2020"] * 5 + [f"0{1 + n % 9}/0{1 + n % 7}/2020" for n in range(ROWS - 5)], "date", "day first"),
        (["none", "-", "missing"] * 10 + [str(n) for n in range(30)], "integer", ""),
        (cycle("none", "full", "-"), "category", ""),
    ],
)
def test_infers_the_kind_of_a_column(plan: Callable[..., Plan], values: list[str], kind: str, form: str) -> None:
    found = reading(plan({"x": values}), "x")

    assert found == (kind and Reading("x", kind, form))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("gone", cycle("", "NA"), "all of its values are missing"),
        ("same", cycle("x"), "all of its values are 'x'"),
        ("n", list(range(100, 100 + ROWS)), "it numbers the rows"),
        ("customer_id", random.Random(0).sample(range(10**6), ROWS), "it is an identifier by its name, and no value"),
        ("note", [f"text {place}" for place in range(ROWS)], "free text or an identifier: 60 different values"),
    ],
)
def test_leaves_out_what_cannot_help_and_says_why(
    plan: Callable[..., Plan], name: str, values: list[Any], why: str
) -> None:
    found = plan({name: values})

    assert reading(found, name) is None
    assert any(note.startswith(f"column {name!r} was left out: ") and why in note for note in found.notes)


def test_keeps_different_integers_that_are_no_identifier(plan: Callable[..., Plan]) -> None:
    assert reading(plan({"income": random.Random(0).sample(range(10**6), ROWS)}), "income") is not None


def test_reads_mixed_values_as_numbers_when_most_are(plan: Callable[..., Plan]) -> None:
    found = plan({"x": ["so so", "unknown", "inf", *map(str, range(0, 5 * (ROWS - 3), 5))]})

    assert reading(found, "x") == Reading("x", "integer")
    assert "column 'x': infinite, so missing: 1 of 60 values" in found.notes
    assert "column 'x': texts that mean missing among numbers: 1 of 60 values" in found.notes


def test_one_impossible_date_does_not_spoil_the_column(plan: Callable[..., Plan]) -> None:
    found = plan({"d": ["2023-02-29 or so", *[f"2024-01-{1 + place % 28:02}" for place in range(ROWS - 1)]]})

    assert reading(found, "d") == Reading("d", "date", "iso")


@pytest.mark.parametrize(
    ("more", "form", "told"),
    [
        ({}, "month first", 'no value tells day from month, so by custom; override {"day_first": true}'),
        ({"other": cycle("13.02.2020", "01.03.2020")}, "day first", "as in other columns"),
    ],
)
def test_day_and_month_that_nothing_tells_apart_follow_other_columns_or_custom_and_say_so(
    plan: Callable[..., Plan], more: dict[str, Any], form: str, told: str
) -> None:
    found = plan({"d": cycle("01/02/2020", "03/04/2021"), **more})
    chosen = plan({"d": cycle("01/02/2020", "03/04/2021")}, parse('{"day_first": true}'))

    assert reading(found, "d") == Reading("d", "date", form)
    assert any(note.startswith("column 'd'") and told in note for note in found.notes)
    assert reading(chosen, "d") == Reading("d", "date", "day first")


@pytest.mark.parametrize(
    ("more", "overrides", "form", "told"),
    [
        ({}, "{}", "point", "'1,200' is 1200 (nothing says otherwise; if it has a decimal comma, override"),
        ({"other": cycle("0,5", "12,25")}, "{}", "comma", "'1,200' is 1.200 (as in other columns"),
        ({}, '{"decimal": ","}', "comma", "'1,200' is 1.200"),
        ({"other": cycle("0,5", "12,25")}, '{"decimal": "."}', "point", "'1,200' is 1200"),
    ],
)
def test_a_comma_that_may_be_two_things_follows_other_columns_and_says_so(
    plan: Callable[..., Plan], more: dict[str, Any], overrides: str, form: str, told: str
) -> None:
    found = plan({"x": cycle("1,200", "5,300"), **more}, parse(overrides))

    assert reading(found, "x") == Reading("x", "number", form)
    assert any(told in note for note in found.notes)


def test_units_that_differ_are_no_number(plan: Callable[..., Plan]) -> None:
    found = plan({"price": [f"{sign}{place}" for place in range(ROWS // 2) for sign in "$€"]})

    assert reading(found, "price") is None
    assert any("its numbers have several units ($, €)" in note for note in found.notes)


@pytest.mark.parametrize(
    "name",
    ["ID", "Id", "PID", "USERID", "Customer ID", "customerId", "CustomerID", "uid", "rownames", "Unnamed: 0",
     "Kunden-Nr", "order_no", "", "#", "row.number", "Index", "caseid", "SUBJECT_ID"],
)  # fmt: skip
def test_identifiers_are_known_by_any_spelling_of_their_name(plan: Callable[..., Plan], name: str) -> None:
    values = random.Random(0).sample(range(10**6), ROWS)

    assert reading(plan({name: values}), name) is None


@pytest.mark.parametrize("name", ["paid", "humid", "bid", "grid", "mid", "liquid", "Valid", "amount", "notes", "nodes"])
def test_words_that_end_like_an_identifier_are_none(plan: Callable[..., Plan], name: str) -> None:
    values = random.Random(0).sample(range(10**6), ROWS)

    assert reading(plan({name: values}), name) is not None


def test_a_country_called_na_is_kept_where_nothing_else_is_missing(plan: Callable[..., Plan]) -> None:
    codes = cycle("NA", "ZA", "BW", "AO", "ZM", "ZW")
    found, elsewhere = plan({"land": codes}), plan({"land": codes, "x": cycle("NA", 1, 2)})
    gaps = plan({"land": cycle("NA", "ZA", "BW", "AO", "ZM", "")})
    said = plan({"land": codes}, parse('{"missing": ["NA"]}'))

    assert "NA" not in found.markers.always("land")
    assert "NA" in found.markers.always("filler")
    assert any("column 'land': NA is one of its codes, not a gap" in note for note in found.notes)
    assert all("NA" in one.markers.always("land") for one in (elsewhere, gaps, said))


def test_a_person_says_which_markers_are_values(plan: Callable[..., Plan]) -> None:
    found = plan({"odor": cycle("?", "a", "b")}, parse('{"not_missing": {"odor": ["?"]}}'))
    everywhere = plan({"odor": cycle("?", "a", "b")}, parse('{"not_missing": ["?"]}'))

    assert "?" not in found.markers.always("odor")
    assert "?" in found.markers.always("filler")
    assert "?" not in everywhere.markers.always("filler")


def test_every_column_has_a_decision(plan: Callable[..., Plan]) -> None:
    found = plan({"x": cycle("1,5", "2"), "note": [f"text {n}" for n in range(ROWS)]}, parse('{"drop": ["filler"]}'))

    assert [(one.column, one.kind) for one in found.decisions] == [
        ("filler", "left out"), ("x", "number"), ("note", "left out"), ("y", "target"),
    ]  # fmt: skip
    assert found.decisions[1].told == "'1,5' is 1.5"
    assert found.decisions[0].told == "as the overrides say"


def test_whole_numbers_beyond_what_a_number_holds_are_told_apart(tmp_path: Path) -> None:
    ids = [1212733493561926133 + 2 * place for place in range(ROWS)]
    few = [(1 << 53) + place % 2 for place in range(ROWS)]
    pq.write_table(
        pa.table({"id": ids, "few": few, "x": [n % 7 for n in range(ROWS)], "y": TARGET}), tmp_path / "t.parquet"
    )

    found = infer(opened(tmp_path / "t.parquet"), "y", Overrides())

    assert [column.name for column in found.columns] == ["few", "x"]
    assert any("'id' was left out: it is an identifier: whole numbers beyond 2^53" in note for note in found.notes)
    assert any("column 'few': beyond 2^53 and so rounded: 30 values" in note for note in found.notes)


def test_text_of_parquet_is_what_it_says(tmp_path: Path) -> None:
    table = pa.table({"s": cycle("NA", "x", None, ""), "n": cycle("1", "2", "NA"), "y": TARGET})
    pq.write_table(table, tmp_path / "t.parquet")

    found = infer(opened(tmp_path / "t.parquet"), "y", Overrides())

    assert found.columns == (Reading("s", "category"), Reading("n", "integer"))
    assert found.gaps(found.columns[0]) == {""}
    assert "NA" in found.gaps(found.columns[1])


def test_a_file_without_a_header_says_what_to_add(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("".join(f"{n / 4},{n % 3},x\n" for n in range(30)))

    with pytest.raises(InputError, match=r"its first row looks like data .*override \{\"header\": false\}.*'column 3'"):
        infer(opened(tmp_path / "t.csv"), "y", Overrides())


def test_reads_mixed_values_as_categories_when_many_are_text(plan: Callable[..., Plan]) -> None:
    assert reading(plan({"x": cycle("1", "2", "red")}), "x") == Reading("x", "category")


def test_ten_to_the_five_categories_are_left_out_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,x,y\n" + "".join(f"word {n},{n % 7},{n % 2}\n" for n in range(100_000)))

    found = infer(opened(path), "y", Overrides())

    assert [column.name for column in found.columns] == ["x"]
    assert any("'a' was left out: it is free text or an identifier: more than 10,000" in note for note in found.notes)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (cycle("a", "b"), "binary"),
        (cycle(0, 1), "binary"),
        (cycle("true", "false"), "binary"),
        (cycle("a", "b", "c"), "multiclass"),
        (cycle(1, 2, 3), "multiclass"),
        (cycle("1.0", "2.0"), "binary"),
        (list(range(ROWS)), "regression"),
        (cycle(*(place / 4 for place in range(30))), "regression"),
    ],
)
def test_infers_the_task_from_the_target(plan: Callable[..., Plan], values: list[Any], task: str) -> None:
    assert plan({"t": values}, target="t").task == task


def test_shows_how_everything_was_read(plan: Callable[..., Plan]) -> None:
    notes = plan({"x": cycle(1, 2, 3)}).notes

    assert notes[0] == "the task is binary (inferred): target 'y' has 2 different values"
    assert notes[1] == "columns were read as category: filler; integer: x"


def test_overrides_win(plan: Callable[..., Plan]) -> None:
    overrides = parse(
        '{"columns": {"zip": "category", "ok": "boolean"}, "drop": ["filler"], "keep": ["n"], "missing": ["-999"]}'
    )
    found = plan(
        {"zip": cycle(1, 2, 3), "ok": cycle("y", "n"), "n": list(range(ROWS)), "gap": cycle("-999", 5, 7)}, overrides
    )

    assert list(found.columns) == [
        Reading("zip", "category", "whole"),
        Reading("ok", "boolean"),
        Reading("n", "integer"),
        Reading("gap", "integer"),
    ]
    assert "-999" in found.markers.always("x")
    assert "column 'zip': read as category, as the overrides say" in found.notes


def test_a_number_can_be_made_a_regression_target(plan: Callable[..., Plan]) -> None:
    assert plan({"t": cycle(1, 2, 3)}, parse('{"task": "regression"}'), target="t").task == "regression"


@pytest.mark.parametrize(
    ("columns", "target", "message"),
    [
        ({}, "", "name the target column .* has 'y', 'filler'"),
        ({}, "price", "has no column 'price'; it has 'y', 'filler'"),
        ({}, "Y", "did you mean 'y'"),
        ({"t": cycle("only")}, "t", "target 't' has one class, 'only'"),
        ({"t": cycle("NA")}, "t", "target 't' has no value in any row"),
        ({"t": [f"name {place % 59}" for place in range(ROWS)], "z": cycle("p")}, "t", None),
    ],
)
def test_explains_a_target_it_cannot_use(
    plan: Callable[..., Plan], columns: dict[str, Any], target: str, message: str | None
) -> None:
    if message is None:
        assert plan(columns, target=target).task == "multiclass"
        return
    with pytest.raises(InputError, match=message):
        plan(columns, target=target)


def test_refuses_a_target_of_too_many_classes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{n},name {n % 200}\n" for n in range(2000)))

    with pytest.raises(InputError, match=r"target 'y' has 200 different values.*at most 100 classes"):
        infer(opened(path), "y", Overrides())


def test_explains_a_header_without_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n")

    with pytest.raises(InputError, match=r"t\.csv has a header and no rows"):
        infer(opened(tmp_path / "t.csv"), "y", Overrides())


def test_explains_when_no_column_is_left(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "1,a\n1,b\n" * 20)

    with pytest.raises(InputError, match="no column to learn 'y' from: column 'x' was left out"):
        infer(opened(tmp_path / "t.csv"), "y", Overrides())


def test_parquet_types_are_believed(tmp_path: Path) -> None:
    table = pa.table(
        {
            "i": pa.array(cycle(3, 1, None), pa.int32()),
            "f": cycle(1.5, float("nan"), float("inf")),
            "whole": cycle(1.0, 2.0, 5.0),
            "b": cycle(True, False),
            "s": cycle("1", "x", None),
            "y": TARGET,
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")

    found = infer(opened(tmp_path / "t.parquet"), "y", Overrides())

    assert [column.kind for column in found.columns] == ["integer", "number", "integer", "boolean", "category"]
    assert "column 'f': infinite, so missing: 20 of 40 values" in found.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "overrides are not JSON"),
        ("[]", "not a JSON object"),
        ('{"colums": {}}', "unknown override 'colums' .did you mean 'columns'..: choose from columns"),
        ('{"columns": {"a": "float"}}', "kinds number, integer, category, boolean, date"),
        ('{"task": "clustering"}', "choose one of binary, multiclass, regression"),
        ('{"drop": "id"}', "expected a list of texts"),
        ('{"positive": ["a"]}', "expected one class"),
        ('{"accept_changes": "yes"}', "expected true or false"),
    ],
)
def test_explains_overrides_that_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


def test_overrides_must_name_columns_of_the_table(plan: Callable[..., Plan]) -> None:
    with pytest.raises(InputError, match="name the column 'zap', which the table lacks; it has 'y', 'filler'"):
        plan({}, Overrides(drop=("zap",)))
