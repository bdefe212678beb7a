"""Turns a source file into one typed Parquet file, from which the splits are cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.errors import InputError
from components.tables.casting import INFINITE, TYPES, Reading, absent, matches, typed
from components.tables.decisions import Decision
from components.tables.inference import infer
from components.tables.overrides import listed
from components.tables.reading import Format, gathered, open_table
from serving.schema import FLOAT32_MAX, Kind, Label, Task

if TYPE_CHECKING:
    import pandas as pd

    from components.tables.overrides import Overrides
    from components.use_cases import UseCase

GROUP_ROWS = 1 << 17


@dataclass(frozen=True)
class Staged:
    """A typed table on disk.

    Attributes:
        kinds: Feature -> kind, in model order.
        notes: What was decided and changed on the way.
        decisions: The same by column.
    """

    path: Path
    kinds: dict[str, Kind]
    target: str
    task: Task
    positive: Label | None
    notes: tuple[str, ...]
    decisions: tuple[Decision, ...] = ()


def stage_known(use_case: UseCase, source: Path, path: Path) -> Staged:
    """Write the typed table of a use case that knows its columns.

    Raises:
        InputError: The file lacks a column, or holds text where numbers belong.
    """
    try:
        frame = use_case.read(source)
    except (ValueError, OSError) as error:
        raise InputError(f"{source.name} is not readable as data of {use_case.name}: {error}") from error
    absent = [name for name in (*use_case.columns, use_case.target) if name not in frame.columns]
    if absent:
        raise InputError(
            f"{source.name} lacks the columns {listed(tuple(absent))} of {use_case.name}; "
            f"it has {listed(tuple(map(str, frame.columns)))}"
        )
    kinds = {name: expected.kind for name, expected in use_case.columns.items()}
    arrays = {name: _known_array(frame[name], kind, source) for name, kind in kinds.items()}
    wanted: Kind = "number" if use_case.task == "regression" else "category"
    arrays[use_case.target] = _known_array(frame[use_case.target], wanted, source)
    table = pa.table(arrays)
    pq.write_table(table, path, row_group_size=GROUP_ROWS)
    lost = [(name, array.null_count - int(frame[name].isna().sum())) for name, array in arrays.items()]
    told = {name: f"infinite, so missing: {number:,} values" for name, number in lost if number}
    notes = tuple(f"column {name!r}: {remark}" for name, remark in told.items())
    decisions = [Decision(name, kind, (told[name],) if name in told else ()) for name, kind in kinds.items()]
    assert use_case.task is not None
    return Staged(path, kinds, use_case.target, use_case.task, use_case.positive, notes, tuple(decisions))


def _known_array(series: pd.Series[Any], kind: Kind, source: Path) -> pa.Array:
    """Return the typed array of a column; categories keep their own type, integers where they are whole."""
    array = pa.Array.from_pandas(series)
    try:
        if kind == "category":
            return _codes(array)
        if array.type == pa.string() and kind != "date":
            raise InputError(f"{source.name}: column {series.name!r} holds text, expected kind {kind}")
        if pa.types.is_floating(array.type):
            array = pc.if_else(pc.less_equal(pc.abs(array), FLOAT32_MAX), array, pa.scalar(None, array.type))
        return pc.cast(array, TYPES[kind])
    except pa.ArrowInvalid as error:
        raise InputError(f"{source.name}: column {series.name!r} does not fit its kind {kind}: {error}") from error


def _codes(array: pa.Array) -> pa.Array:
    if pa.types.is_floating(array.type) and pc.all(pc.equal(array, pc.floor(array))).as_py():
        return pc.cast(array, pa.int64())
    return pc.cast(array, pa.string()) if pa.types.is_large_string(array.type) else array


def stage_inferred(source: Path, target: str, overrides: Overrides, path: Path) -> Staged:
    """Write the typed table of a file nobody described, in two passes over it.

    Raises:
        InputError: The file or the target cannot be used.
    """
    table = open_table(source, path.parent, Format(overrides.encoding, overrides.header, overrides.sheet))
    plan = infer(table, target, overrides)
    losses = {reading.name: _Loss(reading) for reading in (*plan.columns, plan.target)}
    readings = (*plan.columns, plan.target)
    names = [reading.name for reading in readings]
    schema = pa.schema([(reading.name, reading.type) for reading in readings])
    with pq.ParquetWriter(path, schema) as writer:
        for rows in gathered(table.batches(names)):
            raw = [absent(rows.column(reading.name), plan.gaps(reading)) for reading in readings]
            arrays = [typed(values, reading) for values, reading in zip(raw, readings, strict=True)]
            for before, after, loss in zip(raw, arrays, losses.values(), strict=True):
                loss.add(before, after)
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=GROUP_ROWS)
    kinds = {reading.name: reading.kind for reading in plan.columns}
    told = {name: loss.told for name, loss in losses.items() if loss.lost}
    notes = [*plan.notes, *(f"column {name!r}: {remark}" for name, remark in told.items())]
    decisions = tuple(one.also(told[one.column]) if one.column in told else one for one in plan.decisions)
    return Staged(path, kinds, target, plan.task, overrides.positive, tuple(notes), decisions)


class _Loss:
    """Values of a column that did not fit its kind and so became missing."""

    def __init__(self, reading: Reading) -> None:
        self._kind = reading.kind
        self._values = 0
        self._example: Any = None
        self.lost = 0

    def add(self, before: pa.Array, after: pa.Array) -> None:
        """Count those of a batch; infinite numbers are counted where kinds are decided."""
        self._values += len(before) - before.null_count
        if after.null_count == before.null_count:
            return
        lost = before.filter(pc.and_(pc.is_valid(before), pc.is_null(after)))
        if lost.type == pa.string() and self._kind in ("number", "integer"):
            lost = lost.filter(pc.invert(matches(lost, INFINITE)))
        elif pa.types.is_floating(lost.type):
            lost = lost.filter(pc.is_finite(lost))
        self.lost += len(lost)
        if len(lost) and self._example is None:
            self._example = lost[0].as_py()

    @property
    def told(self) -> str:
        return f"no {self._kind}, so missing: {self.lost:,} of {self._values:,} values, such as {self._example!r}"
