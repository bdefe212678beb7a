"""What one row of a request looks like, and how it becomes the numbers a model sees.

A file of its own because training and serving must agree on it to the bit: both sides encode through this module, so a
category has one code, a date one number and a missing value one representation (NaN) everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Literal

Kind = Literal["number", "integer", "category", "boolean", "date"]
Task = Literal["binary", "multiclass", "regression"]
Label = str | int | float | bool

KINDS: tuple[Kind, ...] = ("number", "integer", "category", "boolean", "date")
UNSEEN = -1.0
"""The code of a category that training never saw: no one-hot column is set for it."""
NUMERAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number as text: with a point, and without the grouping, currency or spaces that files of some places have."""
TRUTHS = {"true": 1.0, "false": 0.0}
FLOAT32_MAX = 3.4028234663852886e38
"""Largest finite float32: scikit-learn's trees cast features to float32 and refuse what does not fit."""


class InvalidValue(ValueError):
    """One value does not fit its column; the message starts with the path of the value."""


@dataclass(frozen=True)
class Column:
    """One input column.

    Attributes:
        name: As it stands in the data and in requests; any unicode text.
        kind: `category` has a closed list of known values; every other kind is a number for the model.
        unit: For people, such as `mm Hg`.
        minimum: Smallest value of the training rows (encoded), None for categories.
        maximum: Largest value of the training rows (encoded), None for categories.
        categories: Known values in code order: the i-th has code float(i). All str, or all int/float.
        missing: Whether the training rows had missing values. Missing is accepted either way.
    """

    name: str
    kind: Kind
    unit: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str | int | float, ...] = ()
    missing: bool = False


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        classes: In the order of the probability columns; empty for regression.
        positive: The class whose probability is *the* score of a binary task.
    """

    name: str
    task: Task
    classes: tuple[Label, ...] = ()
    positive: Label | None = None
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class Schema:
    """The table a model takes and what it answers.

    Attributes:
        unused: Columns of the table it learned from that it does not look at. Requests may carry them, and the target,
            since rows of that table do.
    """

    columns: tuple[Column, ...]
    target: Target
    unused: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Numbers per answered row: one per class, or one for regression."""
        return len(self.target.classes) or 1


def encode(column: Column, value: Any, path: str) -> float:
    """Return the number the model sees for one JSON value; NaN when it is missing (None, or text without a character).

    What a reader of files makes of a value is taken too: numerals and truth values as text, and a number for a category
    that is a numeral (20 for "020", where no other is 20).

    Args:
        path: Where the value stands in the request, for the message, such as `instances[3].age`.

    Raises:
        InvalidValue: Wrong type, not finite, or beyond float32.
    """
    if value is None or (value == "" and "" not in column.categories):
        return math.nan
    if column.kind == "category":
        return _code(column, value, path)
    if column.kind == "boolean":
        return _truth(value, path)
    if column.kind == "date":
        return _days(value, path)
    return _number(value, path)


def encode_row(schema: Schema, row: Sequence[Any], path: str) -> list[float]:
    """Return the encoded row of a list of values in column order.

    Raises:
        InvalidValue: Wrong length, or a value that does not fit.
    """
    if len(row) != len(schema.columns):
        raise InvalidValue(f"{path}: expected {len(schema.columns)} values ({', '.join(schema.names)}), got {len(row)}")
    return [
        encode(column, value, f"{path}[{position}]")
        for position, (column, value) in enumerate(zip(schema.columns, row, strict=True))
    ]


def decode(column: Column, number: float) -> Label | None:
    """Return the JSON value of an encoded number; the inverse of `encode` for known values.

    An unseen category has no value of its own and comes back as None.
    """
    if math.isnan(number):
        return None
    if column.kind == "category":
        return column.categories[int(number)] if number >= 0 else None
    if column.kind == "boolean":
        return bool(number)
    if column.kind == "date":
        moment = datetime.fromtimestamp(number * 86400.0, UTC)
        return moment.date().isoformat() if number == int(number) else moment.isoformat()
    if column.kind == "integer" and number == int(number):
        return int(number)
    return number


def _number(value: Any, path: str) -> float:
    if isinstance(value, str) and NUMERAL.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue(f"{path}: expected a number, got {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not -FLOAT32_MAX <= number <= FLOAT32_MAX:
        raise InvalidValue(f"{path}: expected a finite number within float32, got {_shown(value)}")
    return number


def _truth(value: Any, path: str) -> float:
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return float(value)
    if isinstance(value, str) and value.lower() in TRUTHS:
        return TRUTHS[value.lower()]
    raise InvalidValue(f"{path}: expected true or false, got {_shown(value)}")


def _days(value: Any, path: str) -> float:
    """Return days since 1970-01-01 UTC, with the time of day as fraction."""
    if not isinstance(value, str):
        raise InvalidValue(f"{path}: expected an ISO 8601 date, got {_shown(value)}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidValue(f"{path}: expected an ISO 8601 date, got {_shown(value)}") from error
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86400.0


def _code(column: Column, value: Any, path: str) -> float:
    known = column.categories
    textual = not known or isinstance(known[0], str)
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(value, str) and not textual and NUMERAL.fullmatch(value):
        number = float(value)
    if textual and number is not None:
        found = _numerals(known).get(number)
        if found is not None:
            return found
    if textual and not isinstance(value, str):
        raise InvalidValue(f"{path}: expected text, got {_shown(value)}")
    if not textual and number is None:
        raise InvalidValue(f"{path}: expected a number, got {_shown(value)}")
    try:
        return float(known.index(value if textual else number))
    except ValueError:
        return UNSEEN


@lru_cache(maxsize=256)
def _numerals(categories: tuple[str, ...]) -> Mapping[float, float]:
    """Return the codes of the categories that are numerals, by their number; those that share it have none."""
    numbers = [float(text) if NUMERAL.fullmatch(text) else math.nan for text in categories]
    return {number: float(code) for code, number in enumerate(numbers) if numbers.count(number) == 1}


def _shown(value: Any) -> str:
    """Return a short form of a value for a message: at most 40 characters of text."""
    if isinstance(value, str):
        return f'"{value if len(value) <= 40 else value[:37] + "..."}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, date):
        return value.isoformat()
    return repr(value)[:40]


def schema_to_json(schema: Schema) -> dict[str, Any]:
    """Return the JSON object that `schema_from_json` reads; absent attributes are left out."""

    def kept(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
            if value not in (None, "", ())
        }

    return {
        "columns": [kept(vars(column)) for column in schema.columns],
        "target": kept(vars(schema.target)),
        **({"unused": list(schema.unused)} if schema.unused else {}),
    }


def schema_from_json(document: Mapping[str, Any]) -> Schema:
    """Return the schema of a parsed JSON object.

    Raises:
        ValueError: A field is unknown, missing or of the wrong type.
    """
    try:
        columns = tuple(
            Column(**{**fields, "categories": tuple(fields.get("categories", ()))}) for fields in document["columns"]
        )
        target = Target(**{**document["target"], "classes": tuple(document["target"].get("classes", ()))})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the schema is not readable: {error}") from error
    wrong = sorted({column.kind for column in columns} - set(KINDS))
    if wrong:
        raise ValueError(f"unknown column kind {wrong[0]!r}: choose one of {', '.join(KINDS)}")
    unused = document.get("unused", [])
    if not isinstance(unused, list) or not all(isinstance(name, str) for name in unused):
        raise ValueError("the schema is not readable: unused is a list of names")
    return Schema(columns, target, tuple(unused))
