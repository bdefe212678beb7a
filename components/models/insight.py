"""What a person asks about a fitted model: which columns matter, and would more rows help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from components.models import metrics
from components.models.score import Scorer, fitted
from components.models.search import SEARCH_ROWS, aligned, folds_of, sample
from serving.schema import Column, Schema, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

REPEATS = 5
ROWS = 5_000
CELLS = 65_000
"""Rows times columns above which the learning curve is drawn on one fold: all five would cost as much as the search."""
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
CLASS_ROWS = 5
ASKED, POINTS, LABELLED = 300, 25, 8
"""Rows asked for a partial dependence, values of a number, and most categories."""


@dataclass(frozen=True)
class Importance:
    """How much worse the metric gets when one column is shuffled: mean and standard deviation of the repeats."""

    column: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class CurvePoint:
    """The metric after training on so many rows, on those rows and on rows held out; means over folds."""

    rows: int
    inside: float
    outside: float
    deviation: float


def importance(
    scorer: Scorer, schema: Schema, X: NDArray[np.float64], y: NDArray[Any], metric: str, seed: int
) -> list[Importance]:
    """Return the permutation importance of each column on rows the model has not seen, the largest first."""
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(X))[:ROWS]
    X, y = X[rows], y[rows]
    whole = _good(schema, metric, y, scorer(X))
    found = []
    for position, column in enumerate(schema.columns):
        drops = []
        for _ in range(REPEATS):
            shuffled = X.copy()
            shuffled[:, position] = generator.permutation(shuffled[:, position])
            drops.append(whole - _good(schema, metric, y, scorer(shuffled)))
        found.append(Importance(column.name, float(np.mean(drops)), float(np.std(drops))))
    return sorted(found, key=lambda item: -item.mean)


@dataclass(frozen=True)
class Dependence:
    """The mean answer while one column has each of some values and the others are as they are.

    Attributes:
        values: Encoded; of categories and truths their positions in `labels`.
        answers: Mean probability of the positive (else the most frequent) class, or mean prediction.
        labels: Of categories and truths; empty for numbers and dates.
    """

    column: str
    values: tuple[float, ...]
    answers: tuple[float, ...]
    labels: tuple[str, ...] = ()


def dependences(
    scorer: Scorer, schema: Schema, X: NDArray[np.float64], names: Sequence[str], seed: int
) -> list[Dependence]:
    """Return the partial dependence (Friedman 2001) of columns, on at most `ASKED` rows.

    Numbers go from their 2nd to their 98th percentile, of categories the most frequent are asked.
    """
    rows = X[np.random.default_rng(seed).permutation(len(X))[:ASKED]]
    scored = _explained(schema, scorer(rows))
    found = []
    for name in names:
        place = schema.names.index(name)
        column = schema.columns[place]
        present = X[:, place][~np.isnan(X[:, place])]
        if len(present) == 0:
            continue
        values, labels = _asked(column, present)
        answers = []
        for value in values:
            changed = rows.copy()
            changed[:, place] = value
            answers.append(float(scorer(changed)[:, scored].mean()))
        found.append(Dependence(name, tuple(map(float, values)), tuple(answers), labels))
    return found


def _asked(column: Column, present: NDArray[np.float64]) -> tuple[list[float], tuple[str, ...]]:
    """Return the values that a column is given in turn, and their names where they have some."""
    if column.kind in ("category", "boolean"):
        counted = np.unique(present[present >= 0], return_counts=True)
        frequent = sorted(counted[0][np.argsort(-counted[1])][:LABELLED].tolist())
        return frequent, tuple(str(decode(column, value)) for value in frequent)
    low, high = np.quantile(present, (0.02, 0.98))
    return [float(value) for value in np.linspace(low, high, POINTS)], ()


def _explained(schema: Schema, scores: NDArray[np.float64]) -> int:
    """Return the column of the scores that is looked at."""
    if schema.target.task == "binary":
        return metrics.positive_index(schema.target)
    return int(np.bincount(scores.argmax(axis=1)).argmax())


def learning_curve(
    pipeline: Pipeline, schema: Schema, X: NDArray[np.float64], y: NDArray[Any], metric: str, seed: int
) -> list[CurvePoint]:
    """Return the metric for growing shares of the rows, on the folds that the search compared settings on.

    So its last point is the cross-validated figure of the page it stands on; of more than `ROWS` rows, or `CELLS`
    cells, only the first fold is drawn.
    """
    kept = sample(y, min(len(X), SEARCH_ROWS), schema.target, seed)
    X, y = X[kept], y[kept]
    splits = list(folds_of(schema.target, y, seed).split(X, y))[: 1 if len(X) > ROWS or X.size > CELLS else None]
    mixed = [np.random.default_rng(seed).permutation(inside) for inside, _ in splits]
    points = []
    for share in SHARES:
        results = [
            result
            for (inside, outside), any_order in zip(splits, mixed, strict=True)
            if (result := _fit_share(pipeline, schema, X, y, _part(inside, any_order, share), outside, metric))
        ]
        if results:
            learned, held = np.array([result[:2] for result in results]).T
            points.append(CurvePoint(results[0][2], float(learned.mean()), float(held.mean()), float(held.std())))
    return points


def _part(inside: NDArray[np.int64], any_order: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return a share of the rows of a fold; all of them in the order of the search, which forests depend on."""
    return inside if share == 1.0 else any_order[: round(share * len(inside))]


def _fit_share(
    pipeline: Any, schema: Schema, X: Any, y: Any, inside: Any, outside: Any, metric: str
) -> tuple[float, float, int] | None:
    """Return (metric inside, metric outside, rows); None when a class has too few rows in the share to be fitted.

    Calibrated models cut the rows into five folds of their own, each of which needs every class.
    """
    if schema.target.classes and np.bincount(y[inside], minlength=len(schema.target.classes)).min() < CLASS_ROWS:
        return None
    model = clone(pipeline).fit(X[inside], y[inside])
    scores = [aligned(schema, model, fitted(model)(X[rows])) for rows in (inside, outside)]
    values = [
        metrics.compute(schema.target, y[rows], answered)[metric]
        for rows, answered in zip((inside, outside), scores, strict=True)
    ]
    return values[0], values[1], len(inside)


def _good(schema: Schema, metric: str, y: NDArray[Any], scores: NDArray[np.float64]) -> float:
    return metrics.goodness(metric, metrics.compute(schema.target, y, scores)[metric])
