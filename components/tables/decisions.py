"""What was decided about each column of a table, told in one short table before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

LEFT_OUT = "left out"
SHOWN = 40
"""Columns that a terminal is shown; the report has all of them."""
WIDEST = 28


@dataclass(frozen=True)
class Decision:
    """One column.

    Attributes:
        kind: As it is used; `left out` where it is not.
        remarks: How it was read, what was lost, why it was left out.
    """

    column: str
    kind: str
    remarks: tuple[str, ...] = ()

    def also(self, *remarks: str) -> Decision:
        """Return the same with more remarks."""
        return replace(self, remarks=(*self.remarks, *remarks))

    @property
    def told(self) -> str:
        """The remarks in one line."""
        return "; ".join(self.remarks)


def as_json(decisions: Iterable[Decision]) -> list[list[Any]]:
    """Return decisions as lists."""
    return [[one.column, one.kind, list(one.remarks)] for one in decisions]


def from_json(document: Iterable[Sequence[Any]]) -> tuple[Decision, ...]:
    """Return the decisions of `as_json`."""
    return tuple(Decision(column, kind, tuple(remarks)) for column, kind, remarks in document)


def lines(decisions: Sequence[Decision]) -> list[str]:
    """Return the table for a terminal: columns with something to say, and how many there are without."""
    said = [one for one in decisions if one.remarks or one.kind == LEFT_OUT]
    silent = [one for one in decisions if not one.remarks and one.kind != LEFT_OUT]
    rows = [(_cut(one.column), one.kind, one.told) for one in said[:SHOWN]]
    wide = max((len(name) for name, _, _ in rows), default=0)
    kinds = max((len(kind) for _, kind, _ in rows), default=0)
    found = [f"{name:<{wide}}  {kind:<{kinds}}  {told}".rstrip() for name, kind, told in rows]
    if len(said) > SHOWN:
        found.append(f"… and {len(said) - SHOWN} more with a remark, in the validation report")
    if silent:
        counted = {kind: sum(one.kind == kind for one in silent) for kind in dict.fromkeys(o.kind for o in silent)}
        parts = ", ".join(f"{number} {kind}" for kind, number in counted.items())
        found.append(f"{'the others' if said else 'all'} as they stand: {parts}")
    return found


def _cut(name: str) -> str:
    return name if len(name) <= WIDEST else name[: WIDEST - 1] + "…"
