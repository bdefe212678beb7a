"""Texts become typed values by their kind; whatever does not fit becomes missing, never wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from components.tables.casting import Reading, absent, typed
from components.tables.markers import Markers
from components.tables.tallies import Tally
from serving.schema import Kind

MISSING = Markers(["-999"]).always("x")


@pytest.mark.parametrize(
    ("kind", "form", "values", "expected"),
    [
        ("number", "", ["1.5", "+2", "-3e2", ".5", "7."], [1.5, 2.0, -300.0, 0.5, 7.0]),
        ("number", "", ["NA", "?", "", "nan", "-999", "inf", "-Infinity", "1e39", "0x1", "1_0", "a"], [None] * 11),
        ("number", "comma", ["1,5", "-2", "3.5"], [1.5, -2.0, None]),
        (
            "number",
            "point",
            ["$1,234.50", "(5)", "12%", "1 000", "7-", "1.234,5"],
            [1234.5, -5.0, 12.0, 1000.0, -7.0, None],
        ),
        ("number", "time of day", ["13:30", "1:30 pm", "12:00 AM", "25:00"], [13.5, 13.5, 0.0, None]),
        ("integer", "", ["1", "2.0", "-3", "+4", "1.5", "x"], [1, 2, -3, 4, None, None]),
        (
            "boolean",
            "",
            ["true", "FALSE", "Yes", "n", "1", "0", "maybe"],
            [True, False, True, False, True, False, None],
        ),
        ("category", "", ["a", "NA", "None", "none", "0012"], ["a", None, None, "none", "0012"]),
        ("category", "whole", ["1", "2", "x"], [1, 2, None]),
    ],
)
def test_casts_texts(kind: Kind, form: str, values: list[str], expected: list[Any]) -> None:
    reading = Reading("x", kind, form)

    found = typed(absent(pa.array(values), MISSING), reading)

    assert found.type == reading.type
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("iso", "2024-02-29", datetime(2024, 2, 29)),
        ("iso", "2024-02-29 13:45", datetime(2024, 2, 29, 13, 45)),
        ("iso", "2024-02-29T23:30:00-02:00", datetime(2024, 3, 1, 1, 30)),
        ("iso", "1066-10-14", datetime(1066, 10, 14)),
        ("iso", "2024-02-29T23:30:00.123456789+0200", datetime(2024, 2, 29, 21, 30, 0, 123000)),
        ("iso", "2024-02-29T23:30Z", datetime(2024, 2, 29, 23, 30)),
        ("iso", "2023-02-30", None),
        ("iso", "2023-02-29", None),
        ("iso", "2023-04-31", None),
        ("iso", "2023-04-30T24:00", None),
        ("iso", "yesterday", None),
        ("day first", "1.2.2024", datetime(2024, 2, 1)),
        ("month first", "1/31/2024", datetime(2024, 1, 31)),
        ("day first", "31/1/2024", datetime(2024, 1, 31)),
        ("year first", "2024/1/31", datetime(2024, 1, 31)),
    ],
)
def test_casts_dates(form: str, text: str, expected: datetime | None) -> None:
    assert typed(absent(pa.array([text]), MISSING), Reading("d", "date", form)).to_pylist() == [expected]


def test_dates_with_and_without_zones_do_not_touch_each_other() -> None:
    texts = pa.array(["2024-03-01T10:00+02:00", "2024-03-01 10:00", None, "2023-02-29", "2024-03-01T10:00:00Z"])

    hours = [one and one.hour for one in typed(absent(texts, MISSING), Reading("d", "date", "iso")).to_pylist()]

    assert hours == [8, 10, None, None, 10]


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array([1.0, float("nan"), float("inf"), None]), "number", [1.0, None, None, None]),
        (pa.array([1, 0, 2, None]), "boolean", [True, False, None, None]),
        (pa.array([True, None]), "number", [1.0, None]),
        (pa.array([True, False]), "category", ["true", "false"]),
        (pa.array([86_400_000], pa.timestamp("ms")), "number", [1.0]),
        (pa.array([86_400_000], pa.timestamp("ms")), "category", ["1970-01-02"]),
        (pa.array([1.0, 2.5]), "integer", [1, None]),
    ],
)
def test_casts_typed_values(array: pa.Array, kind: Kind, expected: list[Any]) -> None:
    assert typed(absent(array, MISSING), Reading("x", kind)).to_pylist() == expected


@pytest.mark.parametrize(
    ("batches", "consecutive"),
    [([["1", "2"], ["3", "4"]], True), ([["1", "2"], ["4", "5"]], False), ([["2", "1"]], False), ([["1", "x"]], False)],
)
def test_a_tally_follows_row_numbers_across_batches(batches: list[list[str]], consecutive: bool) -> None:
    tally = Tally("n", MISSING)
    for batch in batches:
        tally.add(pa.array(batch))

    assert tally.consecutive is consecutive


def test_a_tally_counts_alike_in_one_batch_or_many() -> None:
    values = ["1", "2.5", "x", "inf", "", "2024-01-01", "true"] * 30
    whole, parts = Tally("n", MISSING), Tally("n", MISSING)

    whole.add(pa.array(values))
    for start in range(0, len(values), 7):
        parts.add(pa.array(values[start : start + 7]))

    assert (whole.rows, whole.present, whole.infinite, whole.distinct, whole.kind()) == (
        parts.rows,
        parts.present,
        parts.infinite,
        parts.distinct,
        parts.kind(),
    )
