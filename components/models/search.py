"""Which setting of a candidate to use: grid or successive halving over stratified, seeded cross-validation.

Among settings that the folds cannot tell apart the simplest is taken, not the luckiest: the one-standard-error rule of
Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), on differences paired by fold.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, ParameterGrid, StratifiedKFold, train_test_split

from components.models import metrics
from components.models.score import fitted
from components.use_cases import Candidate
from serving.schema import Schema, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
HALVING = 3
"""Successive halving keeps the best third and gives it three times the rows."""
FIT_ROWS = 100_000
"""The chosen setting is fitted on at most this many rows, so that trees stay small enough to be served."""
SEARCH_ROWS = 20_000
"""Settings are compared on at most this many rows: more would change the ranking little and cost hours."""


@dataclass(frozen=True)
class Trial:
    """One setting, cross-validated.

    Attributes:
        folds: The figures of each held-out fold.
        held_out: Rows of the matrix, in order, that `scores` answers: each by the model that did not see it.
    """

    parameters: Mapping[str, Any]
    folds: tuple[Mapping[str, float], ...]
    held_out: NDArray[np.int64]
    scores: NDArray[np.float64]

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the folds."""
        return statistics.fmean(fold[metric] for fold in self.folds)

    def deviation(self, metric: str) -> float:
        """Return the standard deviation of a metric over the folds."""
        return statistics.stdev(fold[metric] for fold in self.folds)


@dataclass(frozen=True)
class Search:
    """All trials of a candidate, in the order they ran, and the one to use."""

    metric: str
    trials: tuple[Trial, ...]
    best: Trial

    @property
    def score(self) -> float:
        """The cross-validated score of the best setting; more is better."""
        return metrics.goodness(self.metric, self.best.mean(self.metric))


def search(
    candidate: Candidate,
    schema: Schema,
    X: NDArray[np.float64],
    y: NDArray[Any],
    *,
    metric: str,
    seed: int,
    jobs: int = 1,
) -> Search:
    """Return the cross-validated trials of a candidate's search space and the simplest that is as good as the best.

    A space lists the values of each parameter from the simplest model to the most flexible.

    Args:
        metric: Name of the figure to choose by, from `components.models.metrics`.
        jobs: Settings fitted at the same time; candidates already run in parallel, so a step leaves this at 1.

    Raises:
        ValueError: No parameter of the search space is one of the pipeline.
    """
    settings = list(ParameterGrid(_space(candidate, schema, seed)))
    trials: list[Trial] = []
    for rows in _rungs(candidate, len(settings), min(len(X), SEARCH_ROWS)):
        kept = sample(y, rows, schema.target, seed)
        rung = _run(candidate, schema, X, y, kept, settings, seed, jobs)
        trials += rung
        ranked = sorted(range(len(rung)), key=lambda position: -_order(rung[position], metric))
        kept_settings = sorted(ranked[: math.ceil(len(rung) / HALVING)])
        settings = [dict(rung[position].parameters) for position in kept_settings]
    return Search(metric, tuple(trials), simplest(rung, metric))


def simplest(trials: Sequence[Trial], metric: str) -> Trial:
    """Return the first trial, simplest first, that is within one standard error of the best on the same folds."""
    top = max(trials, key=lambda trial: _order(trial, metric))
    best = [metrics.goodness(metric, fold[metric]) for fold in top.folds]
    for trial in trials:
        behind = [good - metrics.goodness(metric, fold[metric]) for good, fold in zip(best, trial.folds, strict=True)]
        if statistics.fmean(behind) <= statistics.stdev(behind) / math.sqrt(len(behind)):
            return trial
    return top


def folds_of(target: Target, y: NDArray[Any], seed: int) -> StratifiedKFold | KFold:
    """Return the splitter of a task: five folds, fewer when the rarest class has fewer rows."""
    if target.task == "regression":
        return KFold(min(FOLDS, len(y)), shuffle=True, random_state=seed)
    rarest = int(np.unique(y, return_counts=True)[1].min())
    return StratifiedKFold(max(2, min(FOLDS, rarest)), shuffle=True, random_state=seed)


def _space(candidate: Candidate, schema: Schema, seed: int) -> dict[str, Any]:
    """Return the part of the search space that the pipeline has: one candidate may build one model per task."""
    known = candidate.build(schema, seed).get_params()
    space = {name: list(values) for name, values in candidate.space.items() if name in known}
    if candidate.space and not space:
        raise ValueError(
            f"candidate {candidate.name!r} has none of the parameters {', '.join(candidate.space)}: "
            f"choose from {', '.join(name for name in known if '__' in name)}"
        )
    return space


def _order(trial: Trial, metric: str) -> float:
    value = trial.mean(metric)
    return -math.inf if math.isnan(value) else metrics.goodness(metric, value)


def _rungs(candidate: Candidate, settings: int, rows: int) -> list[int]:
    """Return the number of rows of each round."""
    if candidate.search == "grid" or settings == 1:
        return [rows]
    rounds = math.ceil(math.log(settings, HALVING))
    return [max(rows // HALVING ** (rounds - 1 - number), min(rows, 200)) for number in range(rounds)]


def sample(y: NDArray[Any], rows: int, target: Target, seed: int) -> NDArray[np.int64]:
    """Return sorted row numbers: all, or a sample with every class in it, stratified where it can be."""
    everything = np.arange(len(y))
    if rows >= len(y):
        return everything
    if target.task == "regression":
        return np.sort(np.random.default_rng(seed).permutation(len(y))[:rows])
    _, first, counts = np.unique(y, return_index=True, return_counts=True)
    strata = y if counts.min() >= 2 else None
    chosen, _ = train_test_split(everything, train_size=rows, stratify=strata, random_state=seed)
    return np.union1d(chosen, first[~np.isin(y[first], y[chosen])])


def _run(
    candidate: Candidate,
    schema: Schema,
    X: NDArray[np.float64],
    y: NDArray[Any],
    kept: NDArray[np.int64],
    settings: list[dict[str, Any]],
    seed: int,
    jobs: int,
) -> list[Trial]:
    from joblib import Parallel, delayed

    pipeline = candidate.build(schema, seed)
    splits = list(folds_of(schema.target, y[kept], seed).split(kept, y[kept]))
    tries = (delayed(_cross_validate)(pipeline, setting, schema, X[kept], y[kept], splits) for setting in settings)
    return [
        Trial(setting, folds, kept, scores)
        for setting, (folds, scores) in zip(settings, Parallel(n_jobs=jobs)(tries), strict=True)
    ]


def _cross_validate(
    pipeline: Any, setting: dict[str, Any], schema: Schema, X: NDArray[np.float64], y: NDArray[Any], splits: list[Any]
) -> tuple[tuple[dict[str, float], ...], NDArray[np.float64]]:
    """Return the figures of each fold, and the answer to every row by the model that did not see it."""
    scores = np.zeros((len(X), schema.width))
    folds = []
    for inside, outside in splits:
        model = clone(pipeline).set_params(**setting).fit(X[inside], y[inside])
        scores[outside] = aligned(schema, model, fitted(model)(X[outside]))
        folds.append(metrics.compute(schema.target, y[outside], scores[outside]))
    return tuple(folds), scores


def aligned(schema: Schema, pipeline: Any, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities with one column per class of the schema: zero for a class the model never saw."""
    if not schema.target.classes or scores.shape[1] == schema.width:
        return scores
    full = np.zeros((len(scores), schema.width))
    full[:, np.asarray(pipeline.classes_, dtype=np.int64)] = scores
    return full
