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
from components.tables.casting import Reading
from components.tables.inference import Plan, infer
from components.tables.overrides import Overrides, parse
from components.tables.reading import open_table

ROWS = 60
TARGET = ["yes", "no"] * (ROWS // 2)


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Infer the plan of columns given as lists of text, with a yes-or-no target."""

    def inferred(columns: Mapping[str, Sequence[Any]], overrides: Overrides | None = None, target: str = "y") -> Plan:
        table = {"y": TARGET, "filler": ["a", "b", "c"] * (ROWS // 3), **columns}
        lines = [";".join(table), *(";".join(map(str, row)) for row in zip(*table.values(), strict=True))]
        path = tmp_path / "t.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return infer(open_table(path), target, overrides or Overrides())

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
        (cycle("31.12.2023", "1.2.2024"), "date", "%d.%m.%Y"),
        (cycle("12/31/2023", "1/2/2024"), "date", "%m/%d/%Y"),
        (cycle("31/12/2023", "1/2/2024"), "date", "%d/%m/%Y"),
        (cycle("2023/12/31", "2024/1/2"), "date", "%Y/%m/%d"),
        (cycle("red", "green", "NA"), "category", ""),
        (cycle("123456789012345678", "223456789012345678"), "number", ""),
    ],
)
def test_infers_the_kind_of_a_column(plan: Callable[..., Plan], values: list[str], kind: str, form: str) -> None:
    assert reading(plan({"x": values}), "x") == Reading("x", kind, form)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("gone", cycle("", "NA"), "all of its values are missing"),
        ("same", cycle("x"), "all of its values are 'x'"),
        ("n", list(range(100, 100 + ROWS)), "it numbers the rows"),
        ("customer_id", random.Random(0).sample(range(10**6), ROWS), "it numbers the rows"),
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


def test_reads_mixed_values_as_numbers_when_most_are_and_tells_which_are_not(plan: Callable[..., Plan]) -> None:
    found = plan({"x": ["unknown", "inf", *map(str, range(0, 5 * (ROWS - 2), 5))]})

    assert reading(found, "x") == Reading("x", "integer")
    assert "column 'x': infinite, so missing: 1 of 60 values" in found.notes
    assert "column 'x': no integer, so missing: 1 of 60 values, such as 'unknown'" in found.notes


def test_one_impossible_date_does_not_spoil_the_column(plan: Callable[..., Plan]) -> None:
    found = plan({"d": ["2023-02-29 or so", *[f"2024-01-{1 + place % 28:02}" for place in range(ROWS - 1)]]})

    assert reading(found, "d") == Reading("d", "date", "iso")
    assert "column 'd': no date, so missing: 1 of 60 values, such as '2023-02-29 or so'" in found.notes


def test_reads_mixed_values_as_categories_when_many_are_text(plan: Callable[..., Plan]) -> None:
    assert reading(plan({"x": cycle("1", "2", "unknown")}), "x") == Reading("x", "category")


def test_ten_to_the_five_categories_are_left_out_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,x,y\n" + "".join(f"word {n},{n % 7},{n % 2}\n" for n in range(100_000)))

    found = infer(open_table(path), "y", Overrides())

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
    assert "-999" in found.missing
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
        infer(open_table(path), "y", Overrides())


def test_explains_a_header_without_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n")

    with pytest.raises(InputError, match=r"t\.csv has a header and no rows"):
        infer(open_table(tmp_path / "t.csv"), "y", Overrides())


def test_explains_when_no_column_is_left(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "1,a\n1,b\n" * 20)

    with pytest.raises(InputError, match="no column to learn 'y' from: column 'x' was left out"):
        infer(open_table(tmp_path / "t.csv"), "y", Overrides())


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

    found = infer(open_table(tmp_path / "t.parquet"), "y", Overrides())

    assert [column.kind for column in found.columns] == ["integer", "number", "integer", "boolean", "category"]
    assert "column 'f': infinite, so missing: 20 of 40 values" in found.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "overrides are not JSON"),
        ("[]", "not a JSON object"),
        ('{"colums": {}}', "unknown override 'colums': choose from columns, task, drop"),
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
