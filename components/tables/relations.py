"""How columns relate to each other and to the target, on a sample of encoded rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.schema import UNSEEN, Column, Schema, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class Binned:
    """A column cut into bins.

    Attributes:
        codes: Bin of each row; -1 where the value is missing, or beyond the drawn range.
        edges: Of a number or date; empty for categories.
        labels: Of categories, truths and few different numbers; empty where there are edges.
    """

    codes: NDArray[np.int64]
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        return len(self.labels) or len(self.edges) - 1


def binned(column: Column, values: NDArray[np.float64], *, equal_rows: bool, bins: int = BINS) -> Binned | None:
    """Return a column in bins, of equal width or of (nearly) equal numbers of rows; None when it has no value."""
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return None
    if column.kind == "boolean":
        return Binned(np.where(np.isnan(values), -1, values).astype(np.int64), labels=("false", "true"))
    if column.kind == "category":
        codes = np.where(np.isnan(values), -1, np.where(values == UNSEEN, len(column.categories), values))
        more = ("(other)",) if (present == UNSEEN).any() else ()
        return Binned(codes.astype(np.int64), labels=(*map(str, column.categories), *more))
    distinct = np.unique(present)
    if equal_rows and len(distinct) <= bins:
        codes = np.where(np.isnan(values), -1, np.searchsorted(distinct, values))
        return Binned(codes.astype(np.int64), labels=tuple(str(decode(column, float(value))) for value in distinct))
    return _cut(column, values, present, equal_rows, bins)


def _cut(
    column: Column, values: NDArray[np.float64], present: NDArray[np.float64], equal_rows: bool, bins: int
) -> Binned:
    low, high = (float(present.min()), float(present.max())) if equal_rows else drawn_range(present)
    if equal_rows:
        # Edges are values, so that equal ones are never torn apart; the largest gets a bin of its own where it is as
        # frequent as a bin.
        edges = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1), method="higher"))
        if np.mean(present == edges[-1]) * bins > 1:
            edges = np.append(edges, np.nextafter(edges[-1], np.inf))
    elif column.kind == "integer":
        width = max(1, -(-int(high - low + 1) // bins))
        edges = np.arange(low, high + 1 + width, width) - 0.5
    else:
        edges = np.linspace(low, high, bins + 1)
    if len(edges) < 2 or edges[0] == edges[-1]:
        edges = np.array([low - 0.5, low + 0.5])
    codes = np.searchsorted(edges, values, side="right") - 1
    codes[values == edges[-1]] = len(edges) - 2
    codes[(codes >= len(edges) - 1) | np.isnan(values)] = -1
    return Binned(codes.astype(np.int64), edges=tuple(float(edge) for edge in edges))


def drawn_range(present: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range worth drawing: without the outermost 0.5 % of values where they would squeeze the others."""
    low, high = float(present.min()), float(present.max())
    near_low = float(np.quantile(present, 0.005, method="higher"))
    near_high = float(np.quantile(present, 0.995, method="lower"))
    reach = (near_high - near_low) / 2
    if reach == 0:
        return low, high
    return near_low if low < near_low - reach else low, near_high if high > near_high + reach else high


def counts(cut: Binned, series: NDArray[np.int64], number: int) -> list[list[int]]:
    """Return series -> rows per bin."""
    known = cut.codes >= 0
    flat = np.bincount(series[known] * cut.number + cut.codes[known], minlength=number * cut.number)
    rows: list[list[int]] = flat.reshape(number, cut.number).tolist()
    return rows


def association(cut: Binned | None, target: NDArray[np.int64]) -> float:
    """Return how strongly a binned column and target classes (or bins) go together, 0 to 1.

    Cramér's V with the bias correction of Bergsma (2013); missing values are a bin of their own.
    """
    if cut is None:
        return 0.0
    _, rows = np.unique(cut.codes, return_inverse=True)
    _, columns = np.unique(target, return_inverse=True)
    table = np.bincount(rows * (columns.max() + 1) + columns, minlength=(rows.max() + 1) * (columns.max() + 1))
    table = table.reshape(rows.max() + 1, -1).astype(np.float64)
    total = table.sum()
    fitted = np.outer(table.sum(1), table.sum(0)) / total
    height, width = table.shape
    if total < 2 or min(height, width) < 2:
        return 0.0
    phi = ((table - fitted) ** 2 / fitted).sum() / total
    phi = max(0.0, phi - (height - 1) * (width - 1) / (total - 1))
    least = min(height - (height - 1) ** 2 / (total - 1), width - (width - 1) ** 2 / (total - 1)) - 1
    return float(min(1.0, np.sqrt(phi / least))) if least > 0 else 0.0


def correlations(schema: Schema, matrix: NDArray[np.float64], target: NDArray[Any]) -> tuple[list[str], Any]:
    """Return the names and the rank correlations (Spearman) of the columns that have an order, target last."""
    ordered = [place for place, column in enumerate(schema.columns) if column.kind != "category"]
    names = [schema.columns[place].name for place in ordered]
    columns = [matrix[:, place] for place in ordered]
    if schema.target.task != "multiclass":
        names.append(schema.target.name)
        columns.append(target.astype(np.float64))
    import pandas as pd

    frame = pd.DataFrame(dict(enumerate(columns)))
    return names, frame.rank().corr(min_periods=10).to_numpy()


def target_groups(schema: Schema, target: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class of each row, or its tenth of a regression target."""
    if schema.target.classes:
        return target.astype(np.int64)
    edges = np.unique(np.quantile(target, np.linspace(0, 1, BINS + 1)))[1:-1]
    return np.searchsorted(edges, target, side="right").astype(np.int64)
