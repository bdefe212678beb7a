"""Finds columns that give the target away: alone they predict it almost perfectly, on rows they were not fitted to.

Such a column is mostly a consequence of the target, recorded after it, and absent when a prediction is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from components.dataset import Dataset, Split, encode_frame, encode_target
from components.models import metrics
from components.tables.checks import Check

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_ROWS = 20_000
LEAVES = 64
ALMOST_PERFECT = 0.999
"""Balanced accuracy, R2 or correlation from which a single column is suspected."""


def leaks(dataset: Dataset) -> Iterator[Check]:
    """Yield a check per feature: how well a small tree on it alone predicts rows it was not fitted to."""
    train, train_target = sampled(dataset, "train")
    held, held_target = sampled(dataset, "validation")
    accepted = set(dataset.source.get("overrides", {}).get("accept", ()))
    regression = dataset.schema.target.task == "regression"
    rule = "target leakage"
    for place, column in enumerate(dataset.schema.columns):
        score, error = _score(train[:, [place]], train_target, held[:, [place]], held_target, regression=regression)
        name = "R2" if regression else "balanced accuracy"
        excused = column.name in accepted
        yield Check(
            column.name,
            rule,
            f"{name} {score:.2f} ± {1.96 * error:.2f} by this column alone, on {len(held_target):,} rows",
            "any, as the overrides say" if excused else f"below {ALMOST_PERFECT}",
            excused or score < ALMOST_PERFECT,
            f'override {{"drop": ["{column.name}"]}} to leave it out, or {{"accept": ["{column.name}"]}} if it is '
            "known when a prediction is asked for",
        )


def sampled(dataset: Dataset, split: Split) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return at most 20,000 rows of a split, spread evenly, encoded."""
    frame = dataset.sample(split, SAMPLE_ROWS)
    return encode_frame(dataset.schema, frame), encode_target(dataset.schema, frame)


def _score(
    train: NDArray[np.float64],
    train_target: NDArray[Any],
    held: NDArray[np.float64],
    held_target: NDArray[Any],
    *,
    regression: bool,
) -> tuple[float, float]:
    """Return the score and its standard error; that of R2 after Olkin and Finn (1995), for one predictor."""
    from sklearn import config_context
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if len(held_target) < 2 or np.isnan(train).all():
        return 0.0, 0.0
    model = (DecisionTreeRegressor if regression else DecisionTreeClassifier)(max_leaf_nodes=LEAVES, random_state=0)
    with config_context(skip_parameter_validation=True, assume_finite=True):
        guess = model.fit(train, train_target).predict(held)
    if not regression:
        return _balanced_accuracy(held_target, guess)
    score = metrics.regression(held_target, guess)["r2"]
    known = ~np.isnan(held[:, 0])
    if known.sum() > 2 and np.ptp(held[known, 0]) > 0 and np.ptp(held_target[known]) > 0:
        straight = abs(float(np.corrcoef(held[known, 0], held_target[known])[0, 1]))
        score = max(score, straight if known.all() else 0.0)
    return score, 2 * (1 - score) * float(np.sqrt(max(0.0, score) / len(held_target)))


def _balanced_accuracy(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> tuple[float, float]:
    """Return the mean over the classes of the share found, and its standard error from binomial shares.

    scikit-learn's checks cost ten times the arithmetic.
    """
    rows = np.bincount(truth)
    found = np.bincount(truth[truth == guess], minlength=len(rows))
    shares, numbers = found[rows > 0] / rows[rows > 0], rows[rows > 0]
    return float(shares.mean()), float(np.sqrt((shares * (1 - shares) / numbers).sum()) / len(shares))
