"""Counts of what was predicted, and of the features it was predicted from, in the bins of the bundle's reference.

Comparing these counts with the reference's is all that a drift metric needs, and counting is all a server can afford.
With the C extension the hot path counts by itself and takes what other paths have scored; this module is its equal in
Python for servers without it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Protocol

from serving.schema import Schema

COUNT_AT = 256
"""Rows that are counted together."""


class Observer(Protocol):
    """Counts scored rows; `serving.native` describes what `counters` holds."""

    def observe(self, features: array[float], outputs: memoryview[float], rows: int) -> None: ...

    def counters(self) -> Mapping[str, Any]: ...


class Drift:
    """Counters of one bundle, binned by its reference.json."""

    def __init__(self, schema: Schema, reference: Mapping[str, Any]) -> None:
        self._columns = [_bins(reference.get("columns", {}).get(column.name)) for column in schema.columns]
        self._categories = [len(column.categories) if column.kind == "category" else None for column in schema.columns]
        self._counts = [
            [0] * (len(edges) + 1 if known is None else known)
            for edges, known in zip(self._columns, self._categories, strict=True)
        ]
        self._missing = [0] * len(self._columns)
        self._unseen = [0] * len(self._columns)
        outcomes = reference.get("predictions", {})
        self._edges = _bins(outcomes)
        self._classes = len(schema.target.classes)
        self._scored = _scored_class(schema)
        self._predictions = [0] * (self._classes or len(self._edges) + 1)
        self._scores = [0] * (len(self._edges) + 1 if self._classes else 0)
        self._rows = 0
        self._features = array("d")
        self._outputs = array("d")

    def observe(self, features: array[float], outputs: memoryview[float], rows: int) -> None:
        """Keep rows that were scored; many are counted at once, which costs a tenth of one at a time."""
        self._features += features
        self._outputs.frombytes(outputs.cast("B"))
        self._rows += rows
        if len(self._features) >= COUNT_AT * len(self._columns):
            self._count()

    def _count(self) -> None:
        features, self._features = self._features, array("d")
        outputs, self._outputs = self._outputs, array("d")
        width = len(self._columns)
        for position, (edges, known) in enumerate(zip(self._columns, self._categories, strict=True)):
            self._count_column(position, features[position::width], edges, known)
        if not self._classes:
            _add(self._predictions, (bisect_right(self._edges, number) for number in outputs))
            return
        for start in range(0, len(outputs), self._classes):
            numbers = outputs[start : start + self._classes]
            best = numbers.index(max(numbers))
            self._predictions[best] += 1
            score = numbers[best if self._scored < 0 else self._scored]
            self._scores[bisect_right(self._edges, score)] += 1

    def _count_column(self, position: int, values: Sequence[float], edges: Sequence[float], known: int | None) -> None:
        present = [value for value in values if value == value]
        self._missing[position] += len(values) - len(present)
        if known is None:
            _add(self._counts[position], (bisect_right(edges, value) for value in present))
            return
        seen = [int(value) for value in present if value >= 0]
        self._unseen[position] += len(present) - len(seen)
        _add(self._counts[position], seen)

    def counters(self) -> Mapping[str, Any]:
        """Return the counts so far."""
        self._count()
        return {
            "rows": self._rows,
            "predictions": list(self._predictions),
            "scores": list(self._scores),
            "columns": [
                {"counts": list(counts), "missing": missing, "unseen": unseen}
                for counts, missing, unseen in zip(self._counts, self._missing, self._unseen, strict=True)
            ],
        }


def _add(counts: list[int], places: Iterable[int]) -> None:
    for place, number in Counter(places).items():
        counts[place] += number


def _bins(histogram: Mapping[str, Any] | None) -> list[float]:
    return sorted(float(edge) for edge in (histogram or {}).get("edges", ()) if isfinite(edge))


def _scored_class(schema: Schema) -> int:
    """Return the class whose probability is the score: the positive one, or -1 for the likeliest."""
    positive = schema.target.positive
    return schema.target.classes.index(positive) if positive in schema.target.classes else -1
