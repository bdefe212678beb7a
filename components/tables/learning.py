"""What the schema says about columns and target, learned from the rows: ranges, categories, classes.

Of the columns only training rows are looked at; validation and test rows must be able to surprise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.tables import statistics
from components.tables.decisions import LEFT_OUT
from components.tables.inference import MOST_CATEGORIES
from components.tables.overrides import listed
from serving.schema import Column, Kind, Label, Schema, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.tables.staging import Staged
    from components.use_cases import Expected, UseCase

FEWEST_OF_A_CLASS = 10
"""With fewer rows a class cannot be in every split and in every fold of a cross-validation."""
FEWEST_ROWS = 20
POSITIVE_WORDS = ("1", "true", "yes", "y", "t", "positive", "pos")


@dataclass(frozen=True)
class Labels:
    """The target of a staged table.

    Attributes:
        positions: Of each row: the place of its class in `classes`, or its value (regression); meaningless where not
            usable.
        usable: Which rows have a target that can be learned.
    """

    classes: tuple[Label, ...]
    positive: Label | None
    positions: NDArray[Any]
    usable: NDArray[np.bool_]
    notes: tuple[str, ...]


def labels(staged: Staged) -> Labels:
    """Return the classes, and which rows can be used.

    Raises:
        InputError: Too few rows or classes are left, or `positive` is no class.
    """
    array = statistics.column([staged.path], staged.target)
    return _numeric(staged, array) if staged.task == "regression" else _classes(staged, array)


def schema_of(staged: Staged, found: Labels, use_case: UseCase, train: Path) -> tuple[Schema, tuple[str, ...]]:
    """Return the schema of a data set, and notes on what the training rows lack."""
    columns, notes = [], []
    for name, array in statistics.columns([train], list(staged.kinds)):
        column = _column(name, staged.kinds[name], use_case.columns.get(name), array)
        columns.append(column)
        if column.kind == "category" and not column.categories:
            notes.append(f"column {name!r} has no value in the training rows")
    target = Target(
        name=staged.target,
        task=staged.task,
        classes=found.classes,
        positive=found.positive,
        unit=use_case.target_unit,
        description=use_case.target_description,
    )
    unused = tuple(one.column for one in staged.decisions if one.kind == LEFT_OUT)
    return Schema(tuple(columns), target, unused), tuple(notes)


def _column(name: str, kind: Kind, expected: Expected | None, array: pa.ChunkedArray) -> Column:
    low = high = None
    categories: tuple[Any, ...] = ()
    if kind == "category":
        declared = expected.categories if expected else None
        categories = declared if declared is not None else _frequent(statistics.value_counts(array).counts)
    else:
        values = statistics.as_floats(array)
        if not np.isnan(values).all():
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return Column(
        name=name,
        kind=kind,
        unit=expected.unit if expected else "",
        description=expected.description if expected else "",
        minimum=low,
        maximum=high,
        categories=categories,
        missing=array.null_count > 0,
    )


def _frequent(counts: Mapping[Any, int]) -> tuple[Any, ...]:
    """Return the most frequent categories, sorted."""
    return tuple(sorted(list(counts)[:MOST_CATEGORIES]))


def _numeric(staged: Staged, array: pa.ChunkedArray) -> Labels:
    values = statistics.as_floats(array)
    usable = ~np.isnan(values)
    if usable.sum() < FEWEST_ROWS:
        raise InputError(
            f"{int(usable.sum())} rows have a number as target {staged.target!r}: at least {FEWEST_ROWS} are needed"
        )
    if np.ptp(values[usable]) == 0:
        raise InputError(
            f"target {staged.target!r} is {values[usable][0]:g} in every row: a model needs values that differ"
        )
    return Labels((), None, values, usable, _left_out(staged.target, int((~usable).sum())))


def _classes(staged: Staged, array: pa.ChunkedArray) -> Labels:
    counts = statistics.value_counts(array).counts
    rare = {label: count for label, count in counts.items() if count < FEWEST_OF_A_CLASS}
    classes = tuple(sorted(label for label in counts if label not in rare))
    if len(classes) < 2:
        raise InputError(_too_few_classes(staged.target, counts))
    if staged.task == "binary" and len(classes) != 2:
        found = listed(tuple(map(str, classes)))
        raise InputError(f"target {staged.target!r} has the classes {found}: a binary task has exactly two")
    places = pc.fill_null(pc.index_in(array, pa.array(classes, array.type)), -1)
    positions = places.to_numpy().astype(np.int64)
    missing = array.null_count
    notes = [*_left_out(staged.target, missing)]
    for label, count in sorted(rare.items(), key=lambda item: str(item[0])):
        notes.append(f"class {label!r} was left out: rows {count}, needed {FEWEST_OF_A_CLASS}")
    positive = _positive(staged, classes, counts) if staged.task == "binary" else None
    if positive is not None and staged.positive is None:
        notes.append(f"the score is the probability of class {positive!r} (inferred; override positive)")
    return Labels(classes, positive, positions, positions >= 0, tuple(notes))


def _left_out(target: str, number: int) -> tuple[str, ...]:
    return (f"left out for want of a value of the target {target!r}: rows {number:,}",) if number else ()


def _too_few_classes(target: str, counts: Mapping[Any, int]) -> str:
    found = ", ".join(f"{label!r} in {count:,} rows" for label, count in list(counts.items())[:10]) or "no value at all"
    return (
        f"target {target!r} has {found}: a model needs at least two classes with {FEWEST_OF_A_CLASS} rows each; "
        "add rows, or name another target"
    )


def _positive(staged: Staged, classes: Sequence[Label], counts: Mapping[Any, int]) -> Label:
    """Return the class that a binary score is about: as asked for, by its name, else the rarer one."""
    if staged.positive is not None:
        for label in classes:
            if str(label) == str(staged.positive):
                return label
        raise InputError(
            f"the positive class {staged.positive!r} is not a class of {staged.target!r}: "
            f"choose one of {', '.join(map(repr, classes))}"
        )
    named = [label for label in classes if str(label).casefold() in POSITIVE_WORDS]
    return named[0] if len(named) == 1 else min(reversed(classes), key=lambda label: counts[label])
