"""Exact Shapley values of folded trees and linear models, however many features a row has.

A sum of trees is explained tree by tree. With one background row, a leaf that is reached when some features come from
the row and others from the background is a game whose values are known: of v, each of the p features that must be the
row's gets v (p-1)! q! / (p+q)!, and each of the q that must be the background's loses v p! (q-1)! / (p+q)!
(interventional TreeSHAP: Lundberg et al., From local explanations to global understanding, Nature Machine Intelligence
2, 2020). The values are those of the sum before its link: probabilities for forests, log-odds for boosting.

Reads model.table; its format is described in native/table.h.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

MIX, LINEAR, TREES = 1, 2, 3
IDENTITY, EXPIT, SOFTMAX = 0, 1, 2
FILL, MEAN, SCALE, CODE = 1, 2, 4, 8
LEAF = 0xFFFFFFFF
MISSING_LEFT = 0x40000000
HEADER_BYTES = 24
LEAVES_LIMIT = 400_000
"""Leaves visited per row; beyond that an answer would take seconds, and sampling is the better choice."""


class _Other(Exception):
    """The model has a part that is not a sum of trees or terms over single columns."""


@dataclass(frozen=True, slots=True)
class Term:
    """One number made of one column."""

    column: int
    parts: int
    fill: float
    mean: float
    scale: float
    code: float

    def value(self, row: Sequence[float]) -> float:
        """Return the term of a row; NaN where its column is missing and not filled."""
        value = row[self.column]
        if self.parts & FILL and value != value:
            value = self.fill
        if self.parts & CODE:
            return float(value == self.code)
        if self.parts & MEAN:
            value -= self.mean
        return value / self.scale if self.parts & SCALE else value


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes in preorder; `leaves[i]` is the number of leaves before node i."""

    output: int
    test: memoryview[int]
    right: memoryview[int]
    threshold: memoryview[float]
    value: memoryview[float]
    leaves: array[int]


@dataclass(slots=True)
class Found:
    """What adds up: contributions by column, and the sums for the background and for the row."""

    contributions: dict[int, float] = field(default_factory=dict)
    base: float = 0.0
    score: float = 0.0
    visited: int = 0

    def add(self, column: int, value: float) -> None:
        """Add to the contribution of a column."""
        self.contributions[column] = self.contributions.get(column, 0.0) + value


@dataclass(frozen=True, slots=True)
class Linear:
    """Sums of terms, one per raw output."""

    link: int
    terms: Sequence[Term]
    intercept: Sequence[float]
    coefficient: Sequence[float]

    def explain(self, found: Found, background: Sequence[float], row: Sequence[float], raw: int, weight: float) -> None:
        """Add the effect of every term on a raw output."""
        found.base += weight * self.intercept[raw]
        found.score += weight * self.intercept[raw]
        start = raw * len(self.terms)
        for term, coefficient in zip(self.terms, self.coefficient[start : start + len(self.terms)], strict=True):
            before, after = (weight * coefficient * term.value(values) for values in (background, row))
            found.base += before
            found.score += after
            if before != after:
                found.add(term.column, after - before)


@dataclass(frozen=True, slots=True)
class Trees:
    """Sums of leaves, divided."""

    link: int
    single: bool
    divisor: float
    terms: Sequence[Term]
    leaf: int
    trees: Sequence[Tree]

    def explain(self, found: Found, background: Sequence[float], row: Sequence[float], raw: int, weight: float) -> None:
        """Add the effect of every feature on a raw output."""
        sides = [array("d", [term.value(values) for term in self.terms]) for values in (row, background)]
        if self.single:
            sides = [array("d", array("f", side)) for side in sides]
        weight /= self.divisor
        for tree in self.trees:
            if self.leaf > 1 or tree.output == raw:
                self._explain_tree(tree, found, sides, raw if self.leaf > 1 else 0, weight)

    def _explain_tree(
        self, tree: Tree, found: Found, sides: Sequence[array[float]], offset: int, weight: float
    ) -> None:
        """Visit every leaf that a mixture of the row and the background can reach."""
        terms, test, threshold = self.terms, tree.test, tree.threshold
        open_nodes: list[tuple[int, dict[int, int]]] = [(0, {})]
        while open_nodes:
            node, taken = open_nodes.pop()
            while test[node] != LEAF:
                index = test[node] & ~MISSING_LEFT
                lefts = [
                    value <= threshold[node] or (value != value and bool(test[node] & MISSING_LEFT))
                    for value in (sides[0][index], sides[1][index])
                ]
                column = terms[index].column
                side = taken.get(column)
                if side is None and lefts[0] != lefts[1]:
                    other = node + 1 if lefts[1] else tree.right[node]
                    open_nodes.append((other, {**taken, column: 1}))
                    taken = {**taken, column: 0}
                    side = 0
                node = node + 1 if lefts[side or 0] else tree.right[node]
            found.visited += 1
            if found.visited > LEAVES_LIMIT:
                raise _Other
            _share(found, taken, weight * tree.value[tree.leaves[node] * self.leaf + offset])


def _share(found: Found, taken: dict[int, int], value: float) -> None:
    """Divide a leaf's value among the features that decide whether it is reached."""
    absent = sum(taken.values())
    present = len(taken) - absent
    if not absent:
        found.score += value
    if not present:
        found.base += value
    gain, loss = _weights(present, absent)
    for column, side in taken.items():
        found.add(column, -loss * value if side else gain * value)


@cache
def _weights(present: int, absent: int) -> tuple[float, float]:
    total = math.factorial(present + absent)
    gain = math.factorial(present - 1) * math.factorial(absent) / total if present else 0.0
    loss = math.factorial(present) * math.factorial(absent - 1) / total if absent else 0.0
    return gain, loss


@dataclass(frozen=True, slots=True)
class Folded:
    """A table that is a sum: members with their weights, then one link."""

    link: int
    members: Sequence[tuple[float, Linear | Trees]]

    def explain(self, background: Sequence[float], row: Sequence[float], position: int) -> Found | None:
        """Return the contributions to one output, before the link; None where there are too many leaves to visit.

        Args:
            position: The class, or 0 for regression.
        """
        found = Found()
        logistic = self.link == EXPIT
        try:
            for weight, member in self.members:
                signed = -weight if logistic and position == 0 else weight
                member.explain(found, background, row, 0 if logistic else position, signed)
        except _Other:
            return None
        return found


def load(data: bytes) -> Folded | None:
    """Return the sum that a table computes; None where it is something else, such as a support vector machine.

    The table is one that the evaluator or the bundle's digest has accepted; nothing is checked again.
    """
    reader = _Reader(memoryview(data), HEADER_BYTES + 8)
    try:
        return _read(reader)
    except _Other:
        return None


def _read(reader: _Reader) -> Folded:
    kind, _ = reader.integers(2)
    if kind != MIX:
        member = _member(reader, kind)
        return Folded(member.link, ((1.0, member),))
    (count,) = reader.integers(1)
    divisor, *weights = reader.numbers(1 + count)
    members = []
    for weight in weights:
        kind, _ = reader.integers(2)
        member = _member(reader, kind)
        if member.link != IDENTITY:
            raise _Other
        members.append((weight / divisor, member))
    return Folded(IDENTITY, members)


def _member(reader: _Reader, kind: int) -> Linear | Trees:
    if kind == LINEAR:
        (link,) = reader.integers(1)
        terms = list(_terms(reader))
        outputs = 1 if link == EXPIT else reader.outputs
        intercept = reader.numbers(outputs)
        return Linear(link, terms, intercept, reader.numbers(outputs * len(terms)))
    if kind == TREES:
        link, single = reader.integers(2)
        (divisor,) = reader.numbers(1)
        terms = list(_terms(reader))
        leaf, count = reader.integers(2)
        return Trees(link, bool(single), divisor, terms, leaf, [_tree(reader, leaf) for _ in range(count)])
    raise _Other


def _terms(reader: _Reader) -> Iterator[Term]:
    (derived,) = reader.integers(1)
    if derived:  # such a term depends on several columns at once
        raise _Other
    (count,) = reader.integers(1)
    for _ in range(count):
        column, parts = reader.integers(2)
        yield Term(column, parts, *reader.numbers(4))


def _tree(reader: _Reader, leaf: int) -> Tree:
    output, nodes = reader.integers(2)
    test, right = reader.view(nodes * 4).cast("I"), reader.view(nodes * 4).cast("I")
    threshold = reader.view(nodes * 8).cast("d")
    before, leaves = 0, array("I")
    for kind in test:
        leaves.append(before)
        before += kind == LEAF
    return Tree(output, test, right, threshold, reader.view(before * leaf * 8).cast("d"), leaves)


class _Reader:
    """Takes numbers from a table, one after the other."""

    def __init__(self, data: memoryview[int], at: int) -> None:
        self._data = data
        self._at = at
        (self.outputs,) = struct.unpack_from("<I", data, at - 4)

    def integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.view(4 * count))

    def numbers(self, count: int) -> tuple[float, ...]:
        return struct.unpack(f"<{count}d", self.view(8 * count))

    def view(self, size: int) -> memoryview[int]:
        self._at += size
        return self._data[self._at - size : self._at]
