"""Decides what the columns of an unknown table are, from one pass over all of its rows.

Every decision that a person might want to know about, or undo, becomes a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.errors import InputError
from components.tables.casting import WHOLE, Reading, is_missing
from components.tables.overrides import Overrides, check_columns, listed
from components.tables.tallies import MOST_DISTINCT, Tally

if TYPE_CHECKING:
    from components.tables.reading import Table
    from serving.schema import Kind, Task

MOST_CATEGORIES = 100
"""Categories a column may have; of more, the most frequent are kept, and the others count as unseen."""
CERTAINLY_CATEGORIES = 1_000
"""A column with more different texts than this is kept only if its most frequent ones cover half of the rows."""
MOST_CLASSES = 100
MOST_INTEGER_CLASSES = 20
IDENTIFIER = re.compile(r"(^|[\s_.\-])(id|uuid|guid|index|key|row ?id|row ?number|unnamed)$|^unnamed|[a-z]I[dD]$|^$")


@dataclass(frozen=True)
class Plan:
    """How each kept column is read, the target last.

    Attributes:
        task: As inferred or overridden.
        missing: Texts that mean "no value".
        notes: A sentence per decision.
    """

    columns: tuple[Reading, ...]
    target: Reading
    task: Task
    missing: frozenset[str]
    notes: tuple[str, ...]


@dataclass
class _Decisions:
    notes: list[str] = field(default_factory=list)
    kept: list[Reading] = field(default_factory=list)


def infer(table: Table, target: str, overrides: Overrides) -> Plan:
    """Return the plan of a table.

    Raises:
        InputError: No such target, no rows, a target that cannot be learned, or no column left to learn from.
    """
    _check_target(table, target)
    check_columns(overrides, table.names, target)
    missing = is_missing(overrides.missing)
    tallies = count(table, [name for name in table.names if name not in overrides.drop], missing)
    rows = tallies[target].rows
    if rows == 0:
        raise InputError(f"{table.path.name} has a header and no rows: expected at least 20")
    reading = _target_reading(tallies[target], overrides)
    task = overrides.task or _task(tallies[target], reading)
    _check_task(tallies[target], reading, task)
    decisions = _Decisions()
    if table.encoding not in ("", "utf-8"):
        decisions.notes.append(f"the file is not UTF-8; it was read as {table.encoding}")
    decisions.notes += [f"column {name!r} was left out: its type is {kind}" for name, kind in table.unreadable]
    for name in overrides.drop:
        decisions.notes.append(f"column {name!r} was left out, as the overrides say")
    for name, tally in tallies.items():
        if name != target:
            _decide(tally, overrides, decisions)
    if not decisions.kept:
        why = "; ".join(decisions.notes) or "it is the only one"
        raise InputError(f"{table.path.name} has no column to learn {target!r} from: {why}")
    kinds = dict.fromkeys(reading.kind for reading in decisions.kept)
    read = "; ".join(f"{kind}: {', '.join(r.name for r in decisions.kept if r.kind == kind)}" for kind in kinds)
    decisions.notes.insert(0, f"columns were read as {read}")
    how = "as the overrides say" if overrides.task else "inferred"
    decisions.notes.insert(0, f"the task is {task} ({how}): target {target!r} has {_described(tallies[target])}")
    return Plan(tuple(decisions.kept), reading, task, missing, tuple(decisions.notes))


def count(table: Table, names: Sequence[str], missing: frozenset[str]) -> dict[str, Tally]:
    """Return the tally of each column over all rows."""
    tallies = {name: Tally(name, missing) for name in names}
    for batch in table.batches(names):
        for name, array in zip(names, batch.columns, strict=True):
            tallies[name].add(array)
    return tallies


def _check_target(table: Table, target: str) -> None:
    if not target:
        raise InputError(f"name the target column (TARGET=...): {table.path.name} has {listed(table.names)}")
    if target not in table.names:
        close = [name for name in table.names if name.casefold().strip() == target.casefold().strip()]
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{table.path.name} has no column {target!r}{hint}; it has {listed(table.names)}")


def _decide(tally: Tally, overrides: Overrides, decisions: _Decisions) -> None:
    """Add the column to the kept ones, or a note on why not."""
    name = tally.name
    forced = overrides.columns.get(name)
    reading = Reading(name, *tally.kind()) if forced is None else _forced(tally, forced)
    reason = _unusable(tally) or (None if forced or name in overrides.keep else _useless(tally, reading.kind))
    if reason:
        decisions.notes.append(f"column {name!r} was left out: {reason}")
        return
    decisions.kept.append(reading)
    decisions.notes += [f"column {name!r}: {remark}" for remark in _remarks(tally, reading, forced is not None)]


def _forced(tally: Tally, kind: Kind) -> Reading:
    """Return the reading of a column whose kind a person chose; categories that are integers stay integers."""
    if kind == "category":
        return Reading(tally.name, kind, WHOLE if tally.whole and tally.countable and not tally.leading_zeros else "")
    return Reading(tally.name, kind, tally.kind()[1])


def _unusable(tally: Tally) -> str | None:
    if tally.present == 0:
        return "all of its values are missing"
    return None


def _useless(tally: Tally, kind: Kind) -> str | None:
    """Return why a column cannot help a model, None when it may."""
    if tally.distinct == 1:
        return f"all of its values are {tally.example!r}"
    if kind == "integer" and tally.unique and (tally.consecutive or IDENTIFIER.search(tally.name)):
        return "it numbers the rows"
    if kind == "integer" and tally.distinct is None and IDENTIFIER.search(tally.name):
        return f"it is an identifier by its name, with more than {MOST_DISTINCT:,} values"
    if kind != "category":
        return None
    if tally.distinct is None:
        return f"it is free text or an identifier: more than {MOST_DISTINCT:,} different values"
    if tally.distinct > 2 and tally.distinct > tally.present / 2:
        return f"it is free text or an identifier: {tally.distinct:,} different values in {tally.present:,} rows"
    if tally.distinct > CERTAINLY_CATEGORIES and tally.covered(MOST_CATEGORIES) < tally.present / 2:
        return (
            f"it has {tally.distinct:,} different values, and the {MOST_CATEGORIES} most frequent cover less than half "
            "of the rows"
        )
    return None


def _remarks(tally: Tally, reading: Reading, forced: bool) -> list[str]:
    remarks = [f"read as {reading.kind}, as the overrides say"] if forced else []
    if reading.kind in ("number", "integer") and tally.infinite:
        remarks.append(f"infinite, so missing: {tally.infinite:,} of {tally.present:,} values")
    if reading.kind in ("number", "integer", "date", "boolean") and (odd := tally.odd(reading.kind)):
        example = tally.odd_example(reading.kind)
        remarks.append(f"no {reading.kind}, so missing: {odd:,} of {tally.present:,} values, such as {example!r}")
    if reading.kind == "category" and (tally.distinct is None or tally.distinct > MOST_CATEGORIES):
        many = f"{tally.distinct:,}" if tally.distinct else f"more than {MOST_DISTINCT:,}"
        remarks.append(f"of its {many} categories the {MOST_CATEGORIES} most frequent are kept; others count as unseen")
    if reading.kind == "category" and tally.leading_zeros:
        remarks.append("its numbers have leading zeros, so they are codes: read as category")
    if reading.form == "comma":
        remarks.append("a comma is its decimal point")
    if reading.form.startswith("%"):
        remarks.append(f"its dates are read as {reading.form}; requests give them as YYYY-MM-DD")
    return remarks


def _target_reading(tally: Tally, overrides: Overrides) -> Reading:
    if tally.rows and tally.present == 0:
        raise InputError(f"target {tally.name!r} has no value in any row: name a column that has some")
    kind, form = tally.kind()
    if overrides.task == "regression":
        kind = kind if kind in ("number", "integer") else "number"
    elif overrides.task is not None and kind in ("number", "date"):
        kind, form = ("integer", form) if tally.whole else ("category", "")
    kind = overrides.columns.get(tally.name, kind)
    if kind in ("category", "date"):
        return _forced(tally, "category")
    return Reading(tally.name, kind, form)


def _task(tally: Tally, reading: Reading) -> Task:
    if reading.kind == "number":
        return "regression"
    if reading.kind == "boolean" or tally.distinct == 2:
        return "binary"
    if reading.kind == "category":
        return "multiclass"
    few = tally.distinct is not None and tally.distinct <= MOST_INTEGER_CLASSES
    return "multiclass" if few and tally.present >= 10 * (tally.distinct or 1) else "regression"


def _check_task(tally: Tally, reading: Reading, task: Task) -> None:
    if task == "regression" or reading.kind == "boolean":
        return
    if tally.distinct is None or tally.distinct > MOST_CLASSES:
        found = f"more than {MOST_DISTINCT:,}" if tally.distinct is None else f"{tally.distinct:,}"
        raise InputError(
            f"target {tally.name!r} has {found} different values, such as {tally.example!r}: at most {MOST_CLASSES} "
            'classes can be told apart; name another target, or override {"task": "regression"} if it is a number'
        )
    if tally.distinct == 1:
        raise InputError(
            f"target {tally.name!r} has one class, {tally.example!r}, in all rows: a model needs two or more"
        )


def _described(tally: Tally) -> str:
    if tally.distinct is None:
        return f"more than {MOST_DISTINCT:,} different values"
    return f"{tally.distinct:,} different values"
