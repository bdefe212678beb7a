"""Where a model is weaker than on the whole: the same metric on parts of the test rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.models import metrics
from serving.schema import UNSEEN, Column, Schema, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN_ROWS = 10
"""Fewer rows than this say nothing and are left out."""
GATED_ROWS = 30
"""Rows from which a slice counts for the verdict."""
QUANTILES = 4


@dataclass(frozen=True)
class Slice:
    """One part of the rows.

    Attributes:
        column: The column it is cut by.
        name: The part in words, such as `4` or `55 to 61`.
        value: The metric on it.
        drop: How much worse than on all rows; negative is better.
    """

    column: str
    name: str
    rows: int
    value: float
    drop: float


def measure(
    schema: Schema, matrix: NDArray[np.float64], truth: NDArray[Any], scores: NDArray[np.float64], metric: str
) -> list[Slice]:
    """Return the slices by category and by quantile, the weakest first; those where the metric does not exist not."""
    whole = metrics.goodness(metric, metrics.compute(schema.target, truth, scores)[metric])
    found = []
    for position, column in enumerate(schema.columns):
        for name, rows in _parts(column, matrix[:, position]):
            if int(rows.sum()) >= SHOWN_ROWS:
                value = metrics.compute(schema.target, truth[rows], scores[rows])[metric]
                if not np.isnan(value):
                    drop = whole - metrics.goodness(metric, value)
                    found.append(Slice(column.name, name, int(rows.sum()), value, drop))
    return sorted(found, key=lambda part: -part.drop)


def _parts(column: Column, values: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    missing = np.isnan(values)
    if missing.any():
        yield "missing", missing
    if column.kind in ("category", "boolean"):
        for code in np.unique(values[~missing]):
            yield (
                "unseen" if code == UNSEEN and column.kind == "category" else str(decode(column, code)),
                values == code,
            )
        return
    known = values[~missing]
    parts = min(QUANTILES, max(2, len(known) // GATED_ROWS))
    if len(np.unique(known)) < 2:
        return
    edges = np.unique(np.quantile(known, np.arange(1, parts) / parts))
    place = np.searchsorted(edges, values, side="right")
    for part in range(len(edges) + 1):
        rows = (place == part) & ~missing
        if rows.any():
            yield _range(column, values[rows].min(), values[rows].max()), rows


def _range(column: Column, low: float, high: float) -> str:
    if column.kind == "number":
        return f"{low:,.4g} to {high:,.4g}"
    return f"{decode(column, float(low))} to {decode(column, float(high))}"
