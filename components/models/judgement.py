"""Good enough or not: the winner on the untouched test rows, against the thresholds and against the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.dataset import encode_frame
from components.models import bootstrap, floors, metrics, score, slices
from components.models.bootstrap import Interval
from components.models.card import number, word
from components.models.floors import Floor
from components.models.slices import GATED_ROWS, Slice
from serving import bundle as bundles
from serving import native
from serving.bundle import Bundle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.dataset import Dataset
    from components.use_cases import Gate

RESAMPLES = 1_000


@dataclass(frozen=True)
class Check:
    """One condition of the gate, in a sentence that holds either way.

    Attributes:
        lasting: The sentence without what was timed, for what must not differ between runs; empty where it is the same.
    """

    passed: bool
    sentence: str
    lasting: str = ""


@dataclass(frozen=True)
class Rival:
    """The champion on the same test rows.

    Attributes:
        gain: How much better the winner is in the metric of the gate; negative is worse.
    """

    version: str
    candidate: str
    figures: Mapping[str, float]
    gain: Interval
    same_data: bool


@dataclass(frozen=True)
class Result:
    """The winner on the test split.

    Attributes:
        floor: The constant answer on the same rows.
        last: The last known answer on the same rows; None where they have no order in time.
    """

    rows: int
    floor: Floor
    last: Floor | None
    figures: Mapping[str, Interval]
    slices: Sequence[Slice]
    latency_ms: Mapping[str, float]
    truth: NDArray[Any]
    scores: NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        """Return what goes into the bundle's metrics.json under `test`: all but what was timed."""
        return {
            "rows": self.rows,
            "figures": {name: asdict(interval) for name, interval in self.figures.items()},
            "slices": [asdict(part) for part in self.slices],
            "constant": asdict(self.floor),
            **({"last_value": asdict(self.last)} if self.last else {}),
        }


def judge(bundle: Bundle, dataset: Dataset, metric: str, seed: int) -> Result:
    """Return the figures of a bundle on the test split, with intervals, slices and the time of one row."""
    X, y = dataset.load("test")
    scorer = score.scorer(bundle)
    scores = scorer(X)
    latency = {"onnx": score.latency_ms(scorer, X[0])}
    folded = bundle.path(bundles.TABLE)
    if folded is not None and native.available():
        latency["table"] = score.latency_ms(score.table(folded.read_bytes()), X[0])
    return Result(
        rows=len(X),
        floor=floors.constant(dataset, metric, y, scores, seed),
        last=floors.last_value(dataset, metric, y, scores, seed),
        figures=bootstrap.intervals(bundle.schema.target, y, scores, seed=seed, resamples=RESAMPLES),
        slices=slices.measure(bundle.schema, X, y, scores, metric),
        latency_ms=latency,
        truth=y,
        scores=scores,
    )


def compare(champion: Bundle, dataset: Dataset, result: Result, metric: str, seed: int) -> Rival | str:
    """Return how the champion does on the same rows, or why it cannot be asked about them."""
    target = dataset.schema.target
    if (champion.schema.target.task, champion.schema.target.classes) != (target.task, target.classes):
        return "it answers another question (other classes or another task)"
    frame = dataset.frame("test")
    absent = [name for name in champion.schema.names if name not in frame.columns]
    if absent:
        return f"it needs columns that the data no longer has: {', '.join(absent)}"
    scores = score.scorer(champion)(encode_frame(champion.schema, frame))
    gain = bootstrap.difference(target, metric, result.truth, result.scores, scores, seed=seed, resamples=RESAMPLES)
    figures = metrics.compute(target, result.truth, scores)
    same = champion.provenance.get("dataset") == dataset.version
    return Rival(champion.version or "", champion.candidate, figures, gain, same)


def checks(
    gate: Gate,
    metric: str,
    result: Result,
    rival: Rival | str | None,
    parity: Mapping[str, Any],
    former: Rival | None = None,
) -> list[Check]:
    """Return every condition of the gate with its outcome.

    Args:
        rival: The champion, why it could not be compared, or None when there is none.
        parity: The proof of the served ONNX graph, from metrics.json.
        former: The best version released so far from the same data; None where that is the champion, or none is.
    """
    found = [_above_floor(metric, result), *_above_last(metric, result)]
    found += [_threshold(name, bound, result.figures, at_least=True) for name, bound in gate.at_least.items()]
    found += [_threshold(name, bound, result.figures, at_least=False) for name, bound in gate.at_most.items()]
    found.append(_against(rival, metric, gate.tolerance))
    if former is not None:
        found.append(_compared(f"the best so far (version {former.version})", former, metric, gate.tolerance))
    found += [_proof(parity), _latency(gate, result.latency_ms)]
    if gate.slice_excess is not None:
        found.append(_slices(gate.slice_excess, result.slices))
    return found


def _above_floor(metric: str, result: Result) -> Check:
    """The least that is asked of any model, the first one too: to know more than a constant answer does."""
    found, gain = result.figures[metric], result.floor.gain
    sentence = (
        f"{word(metric)} on the test rows is {number(found.value)} ({number(found.low)} to {number(found.high)}); a "
        f"constant answer reaches {number(result.floor.value)}, the difference is at least {signed(gain.low)} and must "
        "be above 0"
    )
    return Check(bool(gain.low > 0), sentence)


def _above_last(metric: str, result: Result) -> list[Check]:
    """In time, more is asked: to know more than whoever repeats what was seen last."""
    if result.last is None:
        return []
    gain = result.last.gain
    sentence = (
        f"Repeating the last value known before each row reaches {number(result.last.value)}; the difference is at "
        f"least {signed(gain.low)} and must be above 0"
    )
    return [Check(bool(gain.low > 0), sentence)]


def _threshold(name: str, bound: float, figures: Mapping[str, Interval], *, at_least: bool) -> Check:
    wanted = f"{'at least' if at_least else 'at most'} {number(bound)}"
    if name not in figures:
        return Check(False, f"{word(name)} is not a figure of this task, so {wanted} cannot be met: correct the gate")
    value = figures[name].value
    passed = value >= bound if at_least else value <= bound
    return Check(bool(passed), f"{word(name)} on the test rows is {number(value)}; required is {wanted}")


def _against(rival: Rival | str | None, metric: str, tolerance: float) -> Check:
    if rival is None:
        return Check(True, "There is no champion yet to compare with")
    if isinstance(rival, str):
        return Check(True, f"The champion could not be compared: {rival}")
    return _compared(f"the champion (version {rival.version})", rival, metric, tolerance)


def _compared(who: str, rival: Rival, metric: str, tolerance: float) -> Check:
    gain = rival.gain
    sentence = (
        f"Against {who}, which reaches {number(rival.figures[metric])}, {word(metric)} changes by {signed(gain.value)} "
        f"({signed(gain.low)} to {signed(gain.high)}); accepted is a lower end of {signed(-tolerance)} or more"
    )
    return Check(bool(gain.low >= -tolerance), sentence)


def _proof(parity: Mapping[str, Any]) -> Check:
    sentence = (
        f"The served model equals the fitted pipeline on {parity['rows']:,} critical rows "
        f"(largest difference {parity['max_difference'] or 0.0:.1e}, {parity['flips']} classes differ)"
    )
    return Check(parity["proven"] is True, sentence)


def _latency(gate: Gate, latency_ms: Mapping[str, float]) -> Check:
    form = "table" if "table" in latency_ms else "onnx"
    passed = latency_ms[form] <= gate.latency_ms
    what = "compiled table" if form == "table" else "ONNX Runtime"
    allowed = f"allowed are {gate.latency_ms * 1e3:,.0f} µs"
    lasting = f"One row takes {'no' if passed else ''} longer than allowed ({what}); {allowed}".replace("  ", " ")
    return Check(passed, f"One row takes {latency_ms[form] * 1e3:,.1f} µs ({what}); {allowed}", lasting)


def _slices(allowed: float, parts: Sequence[Slice]) -> Check:
    gated = [part for part in parts if part.rows >= GATED_ROWS]
    if not gated:
        return Check(True, f"No slice has {GATED_ROWS} rows or more, so none counts")
    worst = max(gated, key=lambda part: part.low)
    sentence = (
        f"Weakest slice {worst.column}: {worst.name} ({worst.rows} rows): its error {number(worst.error)} is "
        f"{signed(worst.excess)} ({signed(worst.low)} to {signed(worst.high)}) against the other rows; the lower end "
        f"may be {number(allowed)}"
    )
    return Check(bool(worst.low <= allowed), sentence)


def signed(value: float) -> str:
    """Return a difference with its sign, in the digits of `number`."""
    return f"{'+' if value >= 0 else '−'}{number(abs(value))}"


def curves(dataset: Dataset, result: Result) -> tuple[Any, Any]:
    """Return (ROC points, confusion) for KFP, None where the task has none; the ROC only for two classes."""
    target = dataset.schema.target
    if target.task == "regression":
        return None, None
    confusion = [str(label) for label in target.classes], metrics.confusion(result.truth, result.scores).tolist()
    if target.task != "binary":
        return None, confusion
    positive = metrics.positive_index(target)
    points = metrics.roc_curve(result.truth == positive, result.scores[:, positive])
    kept = np.unique(np.linspace(0, len(points[0]) - 1, 200).astype(int))
    return tuple([float(value) for value in column[kept]] for column in points), confusion


def copy_folder(source: Path, target: Path) -> None:
    """Copy a bundle's files into a folder made anew, without its manifest, which is to be written again."""
    import shutil

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(bundles.MANIFEST))
