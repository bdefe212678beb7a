"""Where a model errs more than elsewhere: its error on parts of the test rows.

A part is judged by the mean of its rows' errors (log loss, absolute error) and not by the gate's metric: R2 and ROC AUC
on a part say how much the target varies there, so that a part on which every answer is close can look bad.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from components.models import metrics
from serving.schema import UNSEEN, Column, Schema, Target, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST_ROWS = 20
"""Fewer rows than this, inside or outside, say nothing and are left out."""
GATED_ROWS = 30
"""Rows from which a slice counts for the verdict."""
QUANTILES = 4
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Slice:
    """One part of the rows.

    Attributes:
        column: The column it is cut by.
        name: The part in words, such as `4` or `55 to 61`.
        value: The metric of the gate on it; None where it does not exist there (ROC AUC of one class).
        error: Mean log loss or mean absolute error of its rows.
        excess: How much that is above the mean of the other rows.
        low: Lower end of the 95 % interval of the excess (Welch's t); above 0, the slice is weaker than the rest.
        high: Upper end of it.
    """

    column: str
    name: str
    rows: int
    value: float | None
    error: float
    excess: float
    low: float
    high: float


def error_name(target: Target) -> str:
    """Return the figure that is the mean of `errors`."""
    return "mae" if target.task == "regression" else "log_loss"


def errors(target: Target, truth: NDArray[Any], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error of each row: absolute, or minus the logarithm of the true class's probability."""
    if target.task == "regression":
        return np.abs(scores[:, 0] - np.asarray(truth, dtype=np.float64))
    likely = scores[np.arange(len(truth)), np.asarray(truth, dtype=np.int64)]
    return np.asarray(-np.log(np.clip(likely, metrics.LEAST_LIKELIHOOD, 1.0)))


def measure(
    schema: Schema, matrix: NDArray[np.float64], truth: NDArray[Any], scores: NDArray[np.float64], metric: str
) -> list[Slice]:
    """Return the slices by category and by quantile, those that are most certainly weaker first."""
    wrong = errors(schema.target, truth, scores)
    found = []
    for position, column in enumerate(schema.columns):
        for name, rows in _parts(column, matrix[:, position]):
            if min(int(rows.sum()), int((~rows).sum())) >= FEWEST_ROWS:
                value = metrics.compute(schema.target, truth[rows], scores[rows])[metric]
                found.append(
                    Slice(
                        column.name,
                        name,
                        int(rows.sum()),
                        None if np.isnan(value) else value,
                        float(wrong[rows].mean()),
                        *_excess(wrong[rows], wrong[~rows]),
                    )
                )
    return sorted(found, key=lambda part: (-part.low, part.column, part.name))


def weak(parts: Sequence[Slice]) -> list[Slice]:
    """Return the slices whose interval says that they are weaker than the rest."""
    return [part for part in parts if part.low > 0]


def _excess(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the difference of two means and the ends of its interval: Welch, Biometrika 34 (1947).

    Not `scipy.stats.ttest_ind`, which warns where all errors of a part are equal.
    """
    difference = float(inside.mean() - outside.mean())
    parts = [inside.var(ddof=1) / len(inside), outside.var(ddof=1) / len(outside)]
    spread = sum(parts)
    freedom = sum(part**2 / (len(rows) - 1) for part, rows in zip(parts, (inside, outside), strict=True))
    if freedom == 0:
        return difference, difference, difference
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, spread**2 / freedom) * np.sqrt(spread))
    return difference, difference - reach, difference + reach


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
