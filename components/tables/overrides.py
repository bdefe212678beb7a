"""What a person may decide where Headrace would infer: the JSON object `overrides` of a table of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from components.errors import InputError, meant
from serving.schema import KINDS, Kind, Label, Task

TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class Overrides:
    """Decisions that win over inference.

    Attributes:
        columns: Column -> kind.
        drop: Columns to leave out.
        keep: Columns to keep although they look like identifiers, free text or constants.
        positive: The class whose probability is the score of a binary task.
        missing: More texts that mean "no value", such as `-999`.
        not_missing: Column -> texts that are values there, such as `NA` where it is a country; `*` for every column.
        decimal: The decimal sign of numbers that could be read in two ways, `.` or `,`.
        day_first: Whether 01/02/2020 is the first of February, where no value tells.
        encoding: Of a text file, where it cannot be told from its bytes.
        header: Whether the first row has names; without, they are `column 1` and so on.
        sheet: Of a workbook, the first without it.
        accept: Columns that `validate` may find to give the target away.
        accept_duplicates: Whether more than half of the rows may be copies of others.
        accept_changes: Whether the data may differ from the previous version in ways `validate` would refuse.
    """

    columns: Mapping[str, Kind] = field(default_factory=dict)
    task: Task | None = None
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    positive: Label | None = None
    missing: tuple[str, ...] = ()
    not_missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    decimal: str = ""
    day_first: bool | None = None
    encoding: str = ""
    header: bool | None = None
    sheet: str = ""
    accept: tuple[str, ...] = ()
    accept_duplicates: bool = False
    accept_changes: bool = False


def parse(text: str) -> Overrides:
    """Return the overrides of a JSON object; an empty text is none.

    Raises:
        InputError: Not a JSON object, an unknown key, or a value that cannot be meant.
    """
    try:
        document = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f"overrides are not JSON ({error}): expected an object such as {EXAMPLE}") from error
    if not isinstance(document, dict):
        raise InputError(f"overrides are not a JSON object: expected something like {EXAMPLE}")
    known = [one.name for one in fields(Overrides)]
    for key in document:
        if key not in known:
            raise InputError(f"unknown override {key!r}{meant(key, known)}: choose from {', '.join(known)}")
    return Overrides(**{key: _CHECKS[key](key, value) for key, value in document.items()})


EXAMPLE = '{"columns": {"zip": "category"}, "task": "regression", "drop": ["id"], "positive": "yes"}'


def check_columns(overrides: Overrides, names: tuple[str, ...], target: str) -> None:
    """Refuse overrides that name a column the table does not have.

    Raises:
        InputError: With the column and the columns there are.
    """
    kept = [name for name in overrides.not_missing if name != "*"]
    mentioned = [*overrides.columns, *overrides.drop, *overrides.keep, *overrides.accept, *kept]
    for name in mentioned:
        if name not in names:
            raise InputError(
                f"overrides name the column {name!r}, which the table lacks{meant(name, names)}; it has {listed(names)}"
            )
    if target in overrides.drop:
        raise InputError(f"overrides drop the target {target!r}: drop other columns, or name another target")


def listed(names: tuple[str, ...], most: int = 30) -> str:
    """Return names for a message, cut where nobody would read on."""
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _kinds(key: str, value: Any) -> dict[str, Kind]:
    if not isinstance(value, dict) or not all(kind in KINDS for kind in value.values()):
        raise InputError(
            f'override {key!r}: expected {{"column": kind}} with the kinds {", ".join(KINDS)}; got {value!r}'
        )
    return value


def _task(key: str, value: Any) -> Task:
    if value not in TASKS:
        raise InputError(f"override {key!r}: choose one of {', '.join(TASKS)}; got {value!r}")
    chosen: Task = value
    return chosen


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"override {key!r}: expected a list of texts; got {value!r}")
    return tuple(value)


def _label(key: str, value: Any) -> Label:
    if not isinstance(value, str | int | float | bool):
        raise InputError(f'override {key!r}: expected one class, such as "yes" or 1; got {value!r}')
    return value


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"override {key!r}: expected true or false; got {value!r}")
    return value


def _kept(key: str, value: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(value, list):
        return {"*": _texts(key, value)}
    if not isinstance(value, dict):
        raise InputError(f'override {key!r}: expected {{"column": ["text"]}}, or a list for all columns; got {value!r}')
    return {name: _texts(key, texts) for name, texts in value.items()}


def _decimal(key: str, value: Any) -> str:
    if value not in (".", ","):
        raise InputError(f'override {key!r}: expected "." or ","; got {value!r}')
    return str(value)


def _encoding(key: str, value: Any) -> str:
    import codecs

    try:
        return codecs.lookup(value).name
    except (LookupError, TypeError) as error:
        raise InputError(f'override {key!r}: expected an encoding, such as "cp1251"; got {value!r}') from error


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"override {key!r}: expected a text; got {value!r}")
    return value


_CHECKS: Mapping[str, Any] = {
    "columns": _kinds,
    "task": _task,
    "drop": _texts,
    "keep": _texts,
    "positive": _label,
    "missing": _texts,
    "not_missing": _kept,
    "decimal": _decimal,
    "day_first": _truth,
    "encoding": _encoding,
    "header": _truth,
    "sheet": _text,
    "accept": _texts,
    "accept_duplicates": _truth,
    "accept_changes": _truth,
}
