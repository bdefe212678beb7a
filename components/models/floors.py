"""The least a model has to know: more than a constant answer and, in time, more than the last value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.models import bootstrap, metrics
from components.models.bootstrap import Interval
from serving.schema import Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.dataset import Dataset

RESAMPLES = 1_000
DISTINCT = 0.9
"""Share of training rows with a date of their own from which they are one series; below, many things share a day."""


@dataclass(frozen=True)
class Floor:
    """An answer that takes no model, on the same test rows.

    Attributes:
        value: What it reaches in the metric of the gate.
        gain: How much better the winner is; negative is worse.
    """

    value: float
    gain: Interval


def constant(dataset: Dataset, metric: str, truth: NDArray[Any], scores: NDArray[np.float64], seed: int) -> Floor:
    """Return the constant answer: the classes' shares in the training rows, or the mean of their values."""
    _, y = dataset.load("train")
    answers = np.tile(_usual(dataset.schema, y), (len(truth), 1))
    return _floor(dataset.schema, metric, truth, scores, answers, seed)


def last_value(
    dataset: Dataset, metric: str, truth: NDArray[Any], scores: NDArray[np.float64], seed: int
) -> Floor | None:
    """Return what comes of repeating, for each row, the target of the latest training row before it.

    Whoever has such rows when asking knows that value without a model. None where no column is the date of nearly each
    row: then there is no last one.
    """
    X, y = dataset.load("train")
    place = _clock(dataset.schema, X)
    if place is None:
        return None
    asked, _ = dataset.load("test")
    order = np.argsort(X[:, place], kind="stable")
    before = np.searchsorted(X[order, place], asked[:, place], side="left") - 1
    usual = _usual(dataset.schema, y)
    known = np.eye(len(usual))[y] if dataset.schema.target.classes else np.asarray(y, dtype=np.float64)[:, None]
    answers = np.where((before >= 0)[:, None], known[order[before]], usual)
    return _floor(dataset.schema, metric, truth, scores, answers, seed)


def _usual(schema: Schema, y: NDArray[Any]) -> NDArray[np.float64]:
    if schema.target.task == "regression":
        return np.array([float(np.mean(np.asarray(y, dtype=np.float64)))])
    return np.bincount(np.asarray(y, dtype=np.int64), minlength=len(schema.target.classes)) / len(y)


def _clock(schema: Schema, X: NDArray[np.float64]) -> int | None:
    """Return the column that dates the rows, None where there is not exactly one."""
    dates = [place for place, column in enumerate(schema.columns) if column.kind == "date"]
    found = [place for place in dates if len(np.unique(X[:, place])) >= DISTINCT * len(X)]
    return found[0] if len(found) == 1 and not np.isnan(X[:, found[0]]).any() else None


def _floor(
    schema: Schema,
    metric: str,
    truth: NDArray[Any],
    scores: NDArray[np.float64],
    answers: NDArray[np.float64],
    seed: int,
) -> Floor:
    value = metrics.compute(schema.target, truth, answers)[metric]
    gain = bootstrap.difference(schema.target, metric, truth, scores, answers, seed=seed, resamples=RESAMPLES)
    return Floor(value, gain)
