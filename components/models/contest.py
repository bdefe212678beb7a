"""The bundles of a run side by side: which are usable, and which is the best on the validation split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.models import bootstrap, goldens, metrics, score
from components.models.score import Scorer
from serving import bundle as bundles
from serving.bundle import Bundle, BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.dataset import Dataset


OUT = "candidate.json"
"""In place of a bundle: which candidate could not be fitted or converted, and why."""


@dataclass(frozen=True)
class Entry:
    """One candidate in the contest.

    Attributes:
        name: The candidate, or the folder's name when its bundle cannot be read.
        bundle: None when it cannot be read.
        scorer: None when the candidate is out.
        out: Why it may not win; empty when it may.
        validation: Its figures on the validation split, computed here from the bundle's own model.
        answers: What it answers to the rows of the validation split; None when the candidate is out.
    """

    name: str
    bundle: Bundle | None = None
    scorer: Scorer | None = None
    out: str = ""
    validation: Mapping[str, float] = field(default_factory=dict)
    answers: NDArray[np.float64] | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """The content of its metrics.json; empty when there is none."""
        return dict(self.bundle.json(bundles.METRICS)) if self.bundle else {}


def enter(folder: Path, dataset: Dataset) -> Entry:
    """Return the entry of a bundle folder; whatever is wrong with it is said in `out`, never raised."""
    try:
        bundle = bundles.load(folder)
    except BundleError as error:
        return absent(folder) or Entry(folder.name, out=str(error))
    try:
        scorer = score.scorer(bundle)
        out = _unproven(bundle) or _foreign(bundle, dataset) or _forgetful(bundle, scorer)
        if out:
            return Entry(bundle.candidate, bundle, out=out)
        X, y = dataset.load("validation")
        answers = scorer(X)
        return Entry(bundle.candidate, bundle, scorer, "", metrics.compute(bundle.schema.target, y, answers), answers)
    except BundleError as error:
        return Entry(bundle.candidate, bundle, out=str(error))


def absent(folder: Path) -> Entry | None:
    """Return the entry of a candidate that left a note in place of a bundle."""
    try:
        note = json.loads((folder / OUT).read_bytes())
        return Entry(str(note["candidate"]), out=str(note["out"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def winner(entries: Sequence[Entry], metric: str, dataset: Dataset, order: Sequence[str]) -> Entry | None:
    """Return the simplest usable entry that the best does not clearly beat on the validation rows.

    Clearly: the 95 % paired bootstrap interval of the difference is above zero. A flexible model that wins by luck
    costs accuracy later, and time on every request.

    Args:
        order: Names of the candidates, simplest first, as the use case lists them.
    """
    usable = [entry for entry in entries if not entry.out]
    best = _best(usable, metric)
    if best is None or best.answers is None:
        return best
    _, truth = dataset.load("validation")
    target = dataset.schema.target
    for entry in sorted(usable, key=lambda one: order.index(one.name) if one.name in order else len(order)):
        if entry is best or entry.answers is None:
            return best
        gain = bootstrap.difference(target, metric, truth, best.answers, entry.answers, seed=dataset.seed)
        if gain.low <= 0.0:
            return entry
    return best


def _best(usable: Sequence[Entry], metric: str) -> Entry | None:
    """Return the entry with the best validation figure; equals are told apart by cross-validation, then name."""

    def rank(entry: Entry) -> tuple[float, float, str]:
        crossed = entry.figures["cross_validation"]["mean"].get(metric)
        return _rank(metric, entry.validation.get(metric)), _rank(metric, crossed), entry.name

    return min(usable, key=rank, default=None)


def _rank(metric: str, value: float | None) -> float:
    """Return a number that is smaller the better the value; a value that does not exist comes last."""
    return float("inf") if value is None or np.isnan(value) else -metrics.goodness(metric, value)


def _unproven(bundle: Bundle) -> str:
    proof = bundle.json(bundles.METRICS).get("parity", {}).get("onnx")
    if not proof:
        return "its conversion was never proved equal to the fitted pipeline: train it again"
    if proof.get("proven") is not True:
        return (
            f"its conversion differs from the fitted pipeline: largest difference {proof.get('max_difference')}, "
            f"{proof.get('flips')} of {proof.get('rows')} critical rows change class"
        )
    return ""


def _foreign(bundle: Bundle, dataset: Dataset) -> str:
    trained = bundle.provenance.get("dataset")
    if trained == dataset.version and bundle.schema == dataset.schema:
        return ""
    return f"it was trained on data set {str(trained)[:12]}, this is {dataset.version[:12]}: train it again"


def _forgetful(bundle: Bundle, scorer: Scorer) -> str:
    """Tell when the model does not reproduce its own golden requests."""
    golden = bundle.json(bundles.GOLDEN)
    for number, case in enumerate(golden["requests"]):
        scores = scorer(goldens.encode_instances(bundle.schema, case["instances"]))
        if not _same(bundle, scores, case, golden["tolerance"]):
            return f"it does not reproduce its golden request {number}"
    return ""


def _same(bundle: Bundle, scores: NDArray[np.float64], case: Mapping[str, Any], tolerance: float) -> bool:
    if "probabilities" in case:
        wanted = np.array(case["probabilities"])
        if score.labels(bundle.schema, scores) != case["predictions"]:
            return False
        return bool((np.abs(scores - wanted) <= tolerance).all())
    wanted = np.array(case["predictions"], dtype=np.float64).reshape(-1, 1)
    return bool((np.abs(scores - wanted) <= tolerance * np.maximum(1.0, np.abs(wanted))).all())
