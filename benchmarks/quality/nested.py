"""Nested cross-validation: the whole choice (settings, then candidate) is repeated inside every outer fold.

So no row that a figure is computed on had a part in any choice, and the figure is not optimistic. Candidates are told
apart by their inner folds; a pipeline run, which has no outer folds, tells them apart by its validation split
(`components.models.contest.winner`). Both take the simpler candidate unless the better one is so beyond chance.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy.stats import t as student

from components.models import metrics
from components.models.score import fitted
from components.models.search import Trial, aligned, folds_of, search

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from components.use_cases import UseCase
    from serving.schema import Schema

CHOSEN = "chosen by search"
"""Name of the row of results that belongs to the candidate that the inner folds choose."""


@dataclass(frozen=True)
class Outcome:
    """One candidate on the held-out rows of one outer fold."""

    repeat: int
    fold: int
    candidate: str
    chosen: bool
    figures: dict[str, float]


@dataclass(frozen=True)
class Table:
    """All rows of a use case, encoded."""

    use_case: UseCase
    schema: Schema
    X: NDArray[np.float64]
    y: NDArray[Any]


def outcomes(table: Table, *, repeats: int, seed: int, jobs: int) -> Iterator[Outcome]:
    """Yield every candidate's figures in every outer fold, fold after fold."""
    from joblib import Parallel, delayed

    work = [
        (repeat, fold, inside, outside)
        for repeat in range(repeats)
        for fold, (inside, outside) in enumerate(
            folds_of(table.schema.target, table.y, seed + repeat).split(table.X, table.y)
        )
    ]
    tasks = (delayed(_fold)(table, seed, *item) for item in work)
    started = time.monotonic()
    for done, found in enumerate(Parallel(n_jobs=jobs, return_as="generator")(tasks), 1):
        spent = time.monotonic() - started
        print(f"{table.use_case.name}: fold {done} of {len(work)}, {spent:.0f} s", flush=True)
        yield from found


def _fold(
    table: Table, seed: int, repeat: int, fold: int, inside: NDArray[np.int64], outside: NDArray[np.int64]
) -> list[Outcome]:
    schema, X, y = table.schema, table.X, table.y
    metric = metrics.chosen(table.use_case.gate.metric, schema.target)
    inner: dict[str, Trial] = {}
    figures: dict[str, dict[str, float]] = {}
    for candidate in table.use_case.candidates:
        found = search(candidate, schema, X[inside], y[inside], metric=metric, seed=seed + repeat)
        pipeline = candidate.build(schema, seed + repeat).set_params(**found.best.parameters).fit(X[inside], y[inside])
        inner[candidate.name] = found.best
        scores = aligned(schema, pipeline, fitted(pipeline)(X[outside]))
        figures[candidate.name] = metrics.compute(schema.target, y[outside], scores)
    top = max(inner.values(), key=lambda trial: metrics.goodness(metric, trial.mean(metric)))
    best = next(trial for trial in inner.values() if trial is top or not significantly_better(top, trial, metric))
    return [Outcome(repeat, fold, name, inner[name] is best, found) for name, found in figures.items()]


def significantly_better(best: Trial, simple: Trial, metric: str) -> bool:
    """Tell whether one trial beats another on the same folds by more than chance, one-sided at 5 %.

    The corrected resampled t-test of Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52
    (2003): training sets of folds overlap, so the variance of the mean difference is 1/k + 1/(k-1) times a fold's.
    """
    gains = [
        metrics.goodness(metric, ours[metric]) - metrics.goodness(metric, theirs[metric])
        for ours, theirs in zip(best.folds, simple.folds, strict=True)
    ]
    folds = len(gains)
    error = statistics.stdev(gains) * math.sqrt(1.0 / folds + 1.0 / (folds - 1))
    return statistics.fmean(gains) > float(student.ppf(0.95, folds - 1)) * error
