"""Plots of a model's answers: curves, confusion, calibration, residuals, learning, importance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.models import metrics
from components.models.card import word
from components.models.insight import CurvePoint, Dependence, Importance
from components.reports.plots import chart, grid_of
from components.reports.theme import ACCENT, MUTED, PALETTE, PAPER
from serving.schema import Schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DOTS = 1_500
"""Points drawn of a scatter plot; more hide each other."""
COLUMNS = 15
CLASSES = 12
ON_SHADE = "#1a2028"
"""Nearly the ink, but not replaced in the dark theme: the shades stay light there."""


def answers(schema: Schema, truth: NDArray[Any], scores: NDArray[np.float64]) -> dict[str, Figure]:
    """Return the plots that fit the task, by name."""
    if schema.target.task == "regression":
        values, predicted = truth.astype(np.float64), scores[:, 0]
        return {
            "prediction": prediction(schema, values, predicted),
            "residuals": residuals(schema, values, predicted),
            "residual_histogram": residual_histogram(schema, values, predicted),
        }
    return {
        "roc": roc(schema, truth, scores),
        "precision_recall": precision_recall(schema, truth, scores),
        "confusion": confusion(schema, truth, scores),
        "calibration": calibration(schema, truth, scores),
        "scores": score_histogram(schema, truth, scores),
        **({"thresholds": thresholds(schema, truth, scores)} if schema.target.task == "binary" else {}),
    }


def roc(schema: Schema, truth: NDArray[Any], scores: NDArray[np.float64]) -> Figure:
    """Return the ROC curve, one per class for more than two."""
    fig, axes = chart()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
    for position, label in _watched(schema):
        happened = truth == position
        false_rate, true_rate, _ = metrics.roc_curve(happened, scores[:, position])
        axes.plot(false_rate, true_rate, label=f"{label}: {np.trapezoid(true_rate, false_rate):.3f}")
    _square(axes, "ROC curve", "false positive rate", "true positive rate", "lower right")
    return fig


def precision_recall(schema: Schema, truth: NDArray[Any], scores: NDArray[np.float64]) -> Figure:
    """Return the precision-recall curve, one per class for more than two."""
    fig, axes = chart()
    for position, label in _watched(schema):
        recall, precision = metrics.precision_recall_curve(truth == position, scores[:, position])
        area = float((np.diff(recall, prepend=0.0) * precision).sum())
        axes.step(
            np.append(0.0, recall), np.append(precision[:1], precision), where="pre", label=f"{label}: {area:.3f}"
        )
    _square(axes, "Precision and recall", "recall", "precision", "lower left")
    return fig


def confusion(schema: Schema, truth: NDArray[Any], scores: NDArray[np.float64]) -> Figure:
    """Return the confusion matrix: shade by share of the true class, numbers are rows."""
    matrix = metrics.confusion(truth, scores)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    fig, axes = chart()
    from matplotlib.colors import LinearSegmentedColormap

    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("", [PAPER, ACCENT]), vmin=0, vmax=1, aspect="auto")
    names = [str(label)[:12] for label in schema.target.classes]
    if len(names) <= CLASSES:
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if shares[row, column] > 0.6 else ON_SHADE
            axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.set(title="Confusion", xlabel="predicted", ylabel="true")
    return fig


def calibration(schema: Schema, truth: NDArray[Any], scores: NDArray[np.float64]) -> Figure:
    """Return stated probability against what happened; dots are as large as their bins are full."""
    counts, stated, observed = metrics.reliability(*metrics.confidence(schema.target, truth, scores))
    fig, axes = chart()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
    axes.plot(stated, observed, color=ACCENT)
    axes.scatter(stated, observed, s=15 + 120 * counts / counts.max(), color=ACCENT, zorder=3)
    _square(axes, "Calibration", "stated probability", "share that happened", "")
    return fig


def score_histogram(schema: Schema, truth: NDArray[Any], scores: NDArray[np.float64]) -> Figure:
    """Return how the probability of the positive class, or of the predicted one, is spread."""
    happened, probability = metrics.confidence(schema.target, truth, scores)
    binary = schema.target.task == "binary"
    classes = schema.target.classes
    positive = metrics.positive_index(schema.target) if binary else 0
    # Classes have the colours that the profile gives them.
    names = (str(classes[positive]), str(classes[1 - positive])) if binary else ("right", "wrong")
    fig, axes = chart()
    axes.hist(
        [probability[happened], probability[~happened]],
        bins=20,
        range=(0, 1),
        stacked=True,
        label=[f"{schema.target.name[:16]}: {name[:12]}" if binary else name for name in names],
        color=[PALETTE[positive], PALETTE[1 - positive]],
    )
    axes.set(title="Probabilities", xlabel=f"probability of {names[0][:20]}" if binary else "confidence", ylabel="rows")
    axes.set_ylim(top=axes.get_ylim()[1] * 1.25)  # room for the legend above the bars
    axes.legend(loc="upper center", ncols=2)
    return fig


def thresholds(schema: Schema, truth: NDArray[Any], scores: NDArray[np.float64]) -> Figure:
    """Return precision, recall and F1 of a binary model by the probability from which it says yes."""
    positive = metrics.positive_index(schema.target)
    happened, probability = truth == positive, scores[:, positive]
    cuts = np.linspace(0.02, 0.98, 49)
    claimed = probability[None, :] >= cuts[:, None]
    hits = (claimed & happened[None, :]).sum(axis=1)
    fig, axes = chart()
    with np.errstate(invalid="ignore"):
        axes.plot(cuts, hits / claimed.sum(axis=1), label="precision")
        axes.plot(cuts, hits / max(1, int(happened.sum())), label="recall")
        axes.plot(cuts, 2 * hits / (claimed.sum(axis=1) + happened.sum()), label="F1")
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
    _square(axes, "Where to say yes", f"probability of {str(schema.target.classes[positive])[:20]}", "", "lower left")
    return fig


def dependence(schema: Schema, found: Sequence[Dependence]) -> Figure:
    """Return how the answer changes with each of a few columns, the others as they are (partial dependence)."""
    fig, several = grid_of(len(found))
    lowest, highest = (end([end(one.answers) for one in found]) for end in (min, max))
    room = (highest - lowest) * 0.08 or 0.05
    for one, axes in zip(found, several, strict=True):
        if one.labels:
            axes.barh([label[:14] for label in one.labels], one.answers, color=ACCENT)
            axes.set_xlim(min(0.0, lowest - room) if lowest >= 0 else lowest - room, highest + room)
            axes.grid(visible=False, axis="y")
        else:
            axes.plot(one.values, one.answers, color=ACCENT)
            axes.set_ylim(lowest - room, highest + room)
            _thousands(axes)
        axes.set_title(one.column[:28], loc="left", fontsize=9.5)
    return fig


def prediction(schema: Schema, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    """Return predicted against true values."""
    fig, axes = chart()
    shown = _some(len(truth))
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.scatter(truth[shown], predicted[shown], s=7, alpha=0.35, color=ACCENT, linewidths=0, rasterized=True)
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=":")
    axes.set(title="Predicted and true", xlabel=_quantity(schema), ylabel="predicted")
    _thousands(axes)
    return fig


def residuals(schema: Schema, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    """Return residuals against predictions, with the band that holds the middle half."""
    fig, axes = chart()
    shown = _some(len(truth))
    error = predicted - truth
    axes.scatter(predicted[shown], error[shown], s=7, alpha=0.35, color=ACCENT, linewidths=0, rasterized=True)
    groups = [group for group in np.array_split(np.argsort(predicted), 12) if len(group)]
    centres = [float(predicted[group].mean()) for group in groups]
    for share in (0.25, 0.75):
        axes.plot(
            centres, [float(np.quantile(error[group], share)) for group in groups], color=PALETTE[1], linewidth=1.4
        )
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=":")
    axes.set(title="Residuals; half of them lie between the lines", xlabel="predicted", ylabel="predicted − true")
    _thousands(axes)
    return fig


def residual_histogram(schema: Schema, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    """Return how large errors are and how often."""
    fig, axes = chart()
    error = predicted - truth
    reach = float(np.quantile(np.abs(error), 0.995)) or 1.0
    axes.hist(error, bins=40, range=(-reach, reach), color=ACCENT)
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=":")
    axes.set(title="Errors (99.5 % of the rows)", xlabel="predicted − true", ylabel="rows")
    axes.xaxis.set_major_formatter(_short)
    return fig


def learning(points: Sequence[CurvePoint], metric: str) -> Figure:
    """Return the metric over the number of training rows."""
    fig, axes = chart()
    rows = [point.rows for point in points]
    outside = np.array([point.outside for point in points])
    deviation = np.array([point.deviation for point in points])
    axes.fill_between(rows, outside - deviation, outside + deviation, color=ACCENT, alpha=0.15, linewidth=0)
    axes.plot(rows, outside, marker="o", markersize=4, color=ACCENT, label="rows held out")
    inside = [point.inside for point in points]
    axes.plot(rows, inside, marker="o", markersize=4, color=PALETTE[1], label="rows trained on")
    axes.set(title="Learning curve", xlabel="training rows", ylabel=word(metric))
    axes.margins(y=0.22)
    axes.legend(loc="lower right", ncols=2)
    _thousands(axes)
    return fig


def importances(found: Sequence[Importance], metric: str) -> Figure:
    """Return how much each column matters, the largest at the top."""
    shown = list(reversed(found[:COLUMNS]))
    fig, axes = chart(4.6, max(3.0, 0.6 + 0.22 * len(shown)))
    axes.barh(
        [item.column[:24] for item in shown],
        [item.mean for item in shown],
        xerr=[item.deviation for item in shown],
        color=ACCENT,
        error_kw={"ecolor": MUTED, "elinewidth": 1},
    )
    axes.grid(visible=False, axis="y")
    axes.set(title="Importance of columns", xlabel=f"{word(metric)} lost when shuffled")
    axes.xaxis.set_major_formatter(_short)
    return fig


def _watched(schema: Schema) -> list[tuple[int, str]]:
    classes = schema.target.classes
    if schema.target.task == "binary":
        position = metrics.positive_index(schema.target)
        return [(position, "area")]
    return [(position, str(label)[:16]) for position, label in enumerate(classes[:CLASSES])]


def _square(axes: Axes, title: str, across: str, up: str, legend: str) -> None:
    axes.set(title=title, xlabel=across, ylabel=up, xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    if legend:
        axes.legend(loc=legend)


def _some(rows: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(rows)[:DOTS]


def _quantity(schema: Schema) -> str:
    target = schema.target
    return f"{target.name} ({target.unit})" if target.unit else target.name


def _thousands(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(_short)
    axes.yaxis.set_major_formatter(_short)


def _short(value: float, position: float = 0.0) -> str:
    """Return a tick label without a long row of zeros."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:g}"
