"""The figures a model is judged by, fast enough to be computed a thousand times for a bootstrap.

Classification figures are of the positive class for two classes and averaged over the classes (one against the rest,
each class the same weight) for more. A figure that does not exist for the rows given (ROC AUC of one class) is NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.schema import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWER_IS_BETTER = frozenset({"rmse", "mae", "brier", "log_loss", "ece"})
CLASSIFICATION = ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "brier", "log_loss", "ece")
REGRESSION = ("r2", "rmse", "mae")
BINS = 10
LEAST_LIKELIHOOD = 1e-15
"""A class that was called impossible and occurred costs its logarithm, 34.5, and not infinity."""


def compute(target: Target, truth: NDArray[np.generic], scores: NDArray[np.float64]) -> dict[str, float]:
    """Return every figure of a task.

    Args:
        truth: Class positions, or values for regression.
        scores: Probabilities [rows, classes], or predictions [rows, 1].
    """
    if target.task == "regression":
        return regression(np.asarray(truth, dtype=np.float64), scores[:, 0])
    return classification(target, np.asarray(truth, dtype=np.int64), scores)


def names(target: Target) -> tuple[str, ...]:
    """Return the names of the figures of a task, most important first."""
    return REGRESSION if target.task == "regression" else CLASSIFICATION


def chosen(metric: str, target: Target) -> str:
    """Return the metric that candidates of a task are compared by: the one asked for, or the task's usual one.

    Raises:
        ValueError: The task has no such metric.
    """
    if not metric:
        return "r2" if target.task == "regression" else "roc_auc"
    if metric not in names(target):
        raise ValueError(f"unknown metric {metric!r} of a {target.task} task: choose one of {', '.join(names(target))}")
    return metric


def goodness(metric: str, value: float) -> float:
    """Return a value of a metric so that more is better."""
    return -value if metric in LOWER_IS_BETTER else value


def regression(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float]:
    """Return R2, root mean square error and mean absolute error."""
    error = prediction - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    return {
        "r2": 1.0 - float((error**2).sum()) / spread if spread > 0 else float("nan"),
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
    }


def classification(target: Target, truth: NDArray[np.int64], scores: NDArray[np.float64]) -> dict[str, float]:
    """Return the figures of probabilities."""
    watched = [positive_index(target)] if target.task == "binary" else range(len(target.classes))
    predicted = scores.argmax(axis=1)
    parts = [_one_against_rest(truth == k, predicted == k, scores[:, k]) for k in watched]
    averaged = {name: _mean([part[name] for part in parts]) for name in parts[0]}
    onehot = np.eye(scores.shape[1])[truth]
    squares = ((scores - onehot) ** 2).sum(axis=1)
    likelihood = np.clip(scores[np.arange(len(truth)), truth], LEAST_LIKELIHOOD, 1.0)
    return {
        "accuracy": float((predicted == truth).mean()),
        **averaged,
        "brier": float(squares.mean()) / (2.0 if target.task == "binary" else 1.0),
        "log_loss": float(-np.log(likelihood).mean()),
        "ece": calibration_error(*confidence(target, truth, scores)),
    }


def positive_index(target: Target) -> int:
    """Return the position of the positive class of a binary task: the named one, else the last."""
    return len(target.classes) - 1 if target.positive is None else target.classes.index(target.positive)


def confidence(
    target: Target, truth: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return (it happened, its probability) of the positive class, or of the predicted class for more than two."""
    if target.task == "binary":
        positive = positive_index(target)
        return truth == positive, scores[:, positive]
    return scores.argmax(axis=1) == truth, scores.max(axis=1)


def calibration_error(happened: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """Return the expected calibration error over ten bins of equal width."""
    counts, stated, observed = reliability(happened, probability)
    return float((counts * np.abs(stated - observed)).sum() / max(counts.sum(), 1))


def reliability(
    happened: NDArray[np.bool_], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (rows, mean probability, share that happened) of the bins that are not empty."""
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS).astype(np.float64)
    filled = counts > 0
    stated = np.bincount(place, probability, BINS)[filled] / counts[filled]
    observed = np.bincount(place, happened, BINS)[filled] / counts[filled]
    return counts[filled], stated, observed


def roc_curve(
    truth: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (false positive rate, true positive rate, threshold), from the highest threshold down; ends included."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(truth[order])[last]
    misses = last + 1 - hits
    positives, negatives = max(int(truth.sum()), 1), max(int((~truth).sum()), 1)
    start = np.zeros(1)
    return (
        np.concatenate([start, misses / negatives]),
        np.concatenate([start, hits / positives]),
        np.concatenate([ranked[:1] + 1e-9, ranked[last]]),
    )


def precision_recall_curve(
    truth: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (recall, precision), from the highest threshold down."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(truth[order])[last]
    return hits / max(int(truth.sum()), 1), hits / (last + 1)


def confusion(truth: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return rows by true class (down) and predicted class (across)."""
    classes = scores.shape[1]
    return np.bincount(truth * classes + scores.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def write_json(path: Path, content: Any) -> None:
    """Write figures as strict JSON: what has no number (NaN, infinity) becomes null."""
    path.write_text(json.dumps(_finite(content), indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False))


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float):
        return float(content) if np.isfinite(content) else None
    return content


def _one_against_rest(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], score: NDArray[np.float64]
) -> dict[str, float]:
    hits = int((truth & predicted).sum())
    positives, claimed = int(truth.sum()), int(predicted.sum())
    return {
        "precision": hits / claimed if claimed else 0.0,
        "recall": hits / positives if positives else float("nan"),
        "f1": 2.0 * hits / (positives + claimed) if positives + claimed else 0.0,
        "roc_auc": _roc_auc(truth, score),
        "pr_auc": _average_precision(truth, score),
    }


def _roc_auc(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    if truth.all() or not truth.any():
        return float("nan")
    false_rate, true_rate, _ = roc_curve(truth, score)
    return float(np.trapezoid(true_rate, false_rate))


def _average_precision(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    if not truth.any():
        return float("nan")
    recall, precision = precision_recall_curve(truth, score)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else float("nan")
