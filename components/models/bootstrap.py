"""How sure a test score is: intervals from resampled rows, also of the difference of two models on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.models import metrics
from serving.schema import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1_000
ROWS_DRAWN = 20_000_000
"""Fewer resamples for large test splits, whose intervals are narrow anyway: at most so many rows are drawn in all."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float


def intervals(
    target: Target, truth: NDArray[Any], scores: NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return every figure of the task with its interval."""
    drawn: dict[str, list[float]] = {name: [] for name in metrics.names(target)}
    for rows in _resampled(len(truth), resamples, seed):
        for name, value in metrics.compute(target, truth[rows], scores[rows]).items():
            drawn[name].append(value)
    exact = metrics.compute(target, truth, scores)
    return {name: Interval(exact[name], *_ends(values)) for name, values in drawn.items()}


def difference(
    target: Target,
    metric: str,
    truth: NDArray[Any],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return how much better our scores are than theirs on the same rows; negative is worse, whatever the metric."""

    def gain(rows: Any) -> float:
        here = metrics.compute(target, truth[rows], ours[rows])[metric]
        there = metrics.compute(target, truth[rows], theirs[rows])[metric]
        return metrics.goodness(metric, here) - metrics.goodness(metric, there)

    drawn = [gain(rows) for rows in _resampled(len(truth), resamples, seed)]
    return Interval(gain(np.arange(len(truth))), *_ends(drawn))


def _resampled(rows: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    for _ in range(max(50, min(resamples, ROWS_DRAWN // max(rows, 1)))):
        yield generator.integers(0, rows, rows)


def _ends(values: list[float]) -> tuple[float, float]:
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return float("nan"), float("nan")
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return float(low), float(high)
