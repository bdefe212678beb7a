"""Decides what the columns of an unknown table are, from one pass over all of its rows.

Every decision that a person might want to know about, or undo, becomes a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.errors import InputError, meant
from components.tables import numerals
from components.tables.calendars import DAY_FIRST, MONTH_FIRST, TIME_FORM
from components.tables.casting import WHOLE, Reading
from components.tables.decisions import LEFT_OUT, Decision
from components.tables.markers import COUNTRY, FEWEST_CODES, Markers, is_code
from components.tables.names import is_identifier
from components.tables.overrides import Overrides, check_columns, listed
from components.tables.reading import gathered
from components.tables.tallies import MOST_DISTINCT, Customs, Tally

if TYPE_CHECKING:
    from components.tables.reading import Table
    from serving.schema import Kind, Task

MOST_CATEGORIES = 100
"""Categories a column may have; of more, the most frequent are kept, and the others count as unseen."""
CERTAINLY_CATEGORIES = 1_000
"""A column with more different texts than this is kept only if its most frequent ones cover half of the rows."""
MOST_CLASSES = 100
MOST_INTEGER_CLASSES = 20


@dataclass(frozen=True)
class Plan:
    """How each kept column is read, the target last.

    Attributes:
        task: As inferred or overridden.
        markers: Which texts mean "no value".
        notes: A sentence per decision.
        decisions: The same by column, in the order of the file, the target last.
    """

    columns: tuple[Reading, ...]
    target: Reading
    task: Task
    markers: Markers
    notes: tuple[str, ...]
    decisions: tuple[Decision, ...] = ()

    def gaps(self, reading: Reading) -> frozenset[str]:
        """Return the texts that mean "no value" in a column of a kind."""
        always = self.markers.always(reading.name)
        return always if reading.kind == "category" else always | self.markers.among_numbers(reading.name)


@dataclass
class _Decisions:
    customs: Customs
    notes: list[str] = field(default_factory=list)
    kept: list[Reading] = field(default_factory=list)
    made: list[Decision] = field(default_factory=list)


def infer(table: Table, target: str, overrides: Overrides) -> Plan:
    """Return the plan of a table.

    Raises:
        InputError: No such target, no rows, a target that cannot be learned, or no column left to learn from.
    """
    check_target(table, target)
    check_columns(overrides, table.names, target)
    markers = Markers(overrides.missing, overrides.not_missing, typed=table.typed)
    tallies = count(table, [name for name in table.names if name not in overrides.drop], markers)
    markers, countries = _countries(tallies, markers, overrides)
    if countries:
        tallies |= count(table, countries, markers)
    rows = tallies[target].rows
    if rows == 0:
        raise InputError(f"{table.path.name} has a header and no rows: expected at least 20")
    decisions = _Decisions(customs_of(tallies, overrides))
    reading = _target_reading(tallies[target], overrides, decisions.customs)
    task = overrides.task or _task(tallies[target], reading)
    _check_task(tallies[target], reading, task)
    decisions.notes += table.notes
    for name, kind in table.unreadable:
        _leave_out(decisions, name, f"its type is {kind}")
    for name in overrides.drop:
        decisions.notes.append(f"column {name!r} was left out, as the overrides say")
        decisions.made.append(Decision(name, LEFT_OUT, ("as the overrides say",)))
    for name, tally in tallies.items():
        if name != target:
            _decide(tally, overrides, decisions, name in countries)
    if not decisions.kept:
        why = "; ".join(decisions.notes) or "it is the only one"
        raise InputError(f"{table.path.name} has no column to learn {target!r} from: {why}")
    kinds = dict.fromkeys(reading.kind for reading in decisions.kept)
    read = "; ".join(f"{kind}: {', '.join(r.name for r in decisions.kept if r.kind == kind)}" for kind in kinds)
    decisions.notes.insert(0, f"columns were read as {read}")
    how = "as the overrides say" if overrides.task else "inferred"
    described = f"{how}): target {target!r} has {_described(tallies[target])}"
    decisions.notes.insert(0, f"the task is {task} ({described}")
    remarks = [f"{task}, {how}", *_remarks(tallies[target], reading, target in overrides.columns, decisions.customs)]
    made = sorted(decisions.made, key=lambda one: table.order(one.column))
    return Plan(
        tuple(decisions.kept),
        reading,
        task,
        markers,
        tuple(decisions.notes),
        (*made, Decision(target, "target", tuple(remarks))),
    )


def customs_of(tallies: Mapping[str, Tally], overrides: Overrides) -> Customs:
    """Return what the columns that prove something prove for those that do not; what a person says comes first."""
    decimal = {".": numerals.POINT, ",": numerals.COMMA, "": ""}[overrides.decimal]
    first = "" if overrides.day_first is None else DAY_FIRST if overrides.day_first else MONTH_FIRST
    # Plain numbers such as 0.5 are in every file, those with a decimal comma only where it is the custom.
    commas = any(
        tally.signs.certain == numerals.COMMA and tally.kind()[1] == numerals.COMMA for tally in tallies.values()
    )
    firsts = {tally.dates.certain for tally in tallies.values() if tally.kind()[1] in (DAY_FIRST, MONTH_FIRST)} - {""}
    return Customs(
        decimal=decimal or (numerals.COMMA if commas else ""),
        first=first or (next(iter(firsts)) if len(firsts) == 1 else ""),
    )


def _countries(tallies: Mapping[str, Tally], markers: Markers, overrides: Overrides) -> tuple[Markers, list[str]]:
    """Return the markers with `NA` kept as a value where it is a code: Namibia, North America.

    So it is in a column of two capital letters each without empty cells, in a table that does not write `NA` for gaps
    elsewhere.
    """
    if COUNTRY in overrides.missing or any(tally.marked and not _codes(tally) for tally in tallies.values()):
        return markers, []
    found = [name for name, tally in tallies.items() if tally.marked and _codes(tally)]
    for name in found:
        markers = markers.keeping(name, COUNTRY)
    return markers, found


def _codes(tally: Tally) -> bool:
    gaps = tally.rows - tally.present - tally.marked
    return bool(gaps == 0 and len(tally.values) >= FEWEST_CODES and all(map(is_code, tally.values)))


def _leave_out(decisions: _Decisions, name: str, why: str) -> None:
    decisions.notes.append(f"column {name!r} was left out: {why}")
    decisions.made.append(Decision(name, LEFT_OUT, (why,)))


def count(table: Table, names: Sequence[str], markers: Markers) -> dict[str, Tally]:
    """Return the tally of each column over all rows."""
    tallies = {name: Tally(name, markers.always(name), markers.among_numbers(name)) for name in names}
    for batch in gathered(table.batches(names)):
        for name, array in zip(names, batch.columns, strict=True):
            tallies[name].add(array)
    return tallies


def check_target(table: Table, target: str) -> None:
    """Make sure that a table has a target column.

    Raises:
        InputError: None is named, or the table has no such column; the message names those it has.
    """
    if not target:
        raise InputError(f"name the target column (TARGET=...): {table.path.name} has {listed(table.names)}")
    if target not in table.names:
        if table.headless:
            raise InputError(
                f"{table.path.name} has no column {target!r}: its first row looks like data and not like names "
                f'({listed(table.names, 6)}); add a header line, or override {{"header": false}} and name the target '
                f"'column 1' to 'column {len(table.names)}'"
            )
        raise InputError(
            f"{table.path.name} has no column {target!r}{meant(target, table.names)}; it has {listed(table.names)}"
        )


def _decide(tally: Tally, overrides: Overrides, decisions: _Decisions, codes: bool) -> None:
    """Add the column to the kept ones, or a note on why not."""
    name = tally.name
    forced = overrides.columns.get(name)
    reading = (
        Reading(name, *tally.kind(decisions.customs)) if forced is None else _forced(tally, forced, decisions.customs)
    )
    reason = _unusable(tally) or (None if forced or name in overrides.keep else _useless(tally, reading.kind))
    if reason:
        _leave_out(decisions, name, reason)
        return
    decisions.kept.append(reading)
    remarks = _remarks(tally, reading, forced is not None, decisions.customs)
    if codes:
        remarks.append(f'{COUNTRY} is one of its codes, not a gap; override {{"missing": ["{COUNTRY}"]}}')
    decisions.notes += [f"column {name!r}: {remark}" for remark in remarks]
    decisions.made.append(Decision(name, reading.kind, tuple(remarks)))


def _forced(tally: Tally, kind: Kind, customs: Customs) -> Reading:
    """Return the reading of a column whose kind a person chose; categories that are integers stay integers."""
    if kind == "category":
        return Reading(tally.name, kind, WHOLE if tally.whole and tally.countable and not tally.leading_zeros else "")
    inferred, form = tally.kind(customs)
    if kind in ("number", "integer") and inferred not in ("number", "integer"):
        form = tally.signs.form(customs.decimal)
    elif kind == "date" and inferred != "date":
        form = tally.dates.form(0, customs.first, None)
    return Reading(tally.name, kind, form)


def _unusable(tally: Tally) -> str | None:
    if tally.present == 0:
        return "all of its values are missing"
    return None


def _useless(tally: Tally, kind: Kind) -> str | None:
    """Return why a column cannot help a model, None when it may."""
    if tally.distinct == 1:
        return f"all of its values are {tally.example!r}"
    if tally.identifies:
        return "it is an identifier: whole numbers beyond 2^53, of which the next one cannot be told"
    if kind == "integer" and tally.unique and tally.consecutive:
        return "it numbers the rows"
    if kind == "integer" and tally.unique and is_identifier(tally.name):
        return "it is an identifier by its name, and no value occurs twice"
    if kind == "integer" and tally.distinct is None and is_identifier(tally.name):
        return f"it is an identifier by its name, with more than {MOST_DISTINCT:,} values"
    if kind != "category":
        return None
    few = tally.distinct is not None and tally.distinct <= max(2, tally.present / 2)
    if not few and (units := tally.signs.mixed) and tally.signs.fitting(tally.signs.form("")) > tally.present / 2:
        return f"its numbers have several units ({', '.join(units)}): give them one, or a column each"
    if tally.distinct is None:
        return f"it is free text or an identifier: more than {MOST_DISTINCT:,} different values"
    if not few:
        return f"it is free text or an identifier: {tally.distinct:,} different values in {tally.present:,} rows"
    if tally.distinct > CERTAINLY_CATEGORIES and tally.covered(MOST_CATEGORIES) < tally.present / 2:
        return (
            f"it has {tally.distinct:,} different values, and the {MOST_CATEGORIES} most frequent cover less than half "
            "of the rows"
        )
    return None


def _remarks(tally: Tally, reading: Reading, forced: bool, customs: Customs) -> list[str]:
    remarks = [f"read as {reading.kind}, as the overrides say"] if forced else []
    if reading.kind in ("number", "integer"):
        remarks += [f"infinite, so missing: {tally.infinite:,} of {tally.present:,} values"] if tally.infinite else []
        remarks += [told] if (told := numerals.told(tally.signs, reading.form, customs.decimal)) else []
        if tally.huge:
            remarks.append(f"beyond 2^53 and so rounded: {tally.huge:,} values")
    weak = tally.weak if reading.kind != "category" else 0
    if weak:
        remarks.append(f"texts that mean missing among numbers: {weak:,} of {tally.present:,} values")
    if gaps := tally.rows - tally.present + weak:
        remarks.append(f"missing in {gaps:,} of {tally.rows:,} rows")
    if reading.kind == "category" and (tally.distinct is None or tally.distinct > MOST_CATEGORIES):
        many = f"{tally.distinct:,}" if tally.distinct else f"more than {MOST_DISTINCT:,}"
        remarks.append(f"of its {many} categories the {MOST_CATEGORIES} most frequent are kept; others count as unseen")
    if reading.kind == "category" and tally.leading_zeros:
        remarks.append("its numbers have leading zeros, so they are codes: read as category")
    if reading.kind == "date" or reading.form == TIME_FORM:
        remarks += [told] if (told := tally.dates.told(reading.form, customs.first)) else []
    return remarks


def _target_reading(tally: Tally, overrides: Overrides, customs: Customs) -> Reading:
    if tally.rows and tally.present == 0:
        raise InputError(f"target {tally.name!r} has no value in any row: name a column that has some")
    kind, form = tally.kind(customs)
    if overrides.task == "regression" and kind not in ("number", "integer"):
        kind, form = "number", tally.signs.form(customs.decimal)
    if overrides.task == "regression":
        pass
    elif overrides.task is not None and kind in ("number", "date"):
        kind, form = ("integer", form) if tally.whole else ("category", "")
    kind = overrides.columns.get(tally.name, kind)
    if kind in ("category", "date"):
        return _forced(tally, "category", customs)
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
