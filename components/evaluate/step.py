"""Pick the winner on validation, judge it on the test rows, and write the verdict."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import dataset as datasets
from components import registry, settings, tracking, use_cases
from components.models import bars, card, contest, judgement, metrics
from components.models.contest import Entry
from components.models.judgement import Check, Result, Rival
from components.reports import evaluate_page, verdict_text
from serving import bundle as bundles
from serving.bundle import Bundle, BundleError

if TYPE_CHECKING:
    from components.dataset import Dataset
    from components.settings import Settings
    from components.use_cases import UseCase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """Yes or no, and why.

    Attributes:
        reasons: Sentences: what failed when refused, what was met when accepted.
        metrics: Figures of the winner on the test split, and its time per row.
        roc: False positive rates, true positive rates and thresholds, for two classes.
        confusion: Class labels and rows by [true][predicted].
        candidate: The winner's name; empty when no candidate is usable.
        warnings: What is worth knowing and no reason to refuse.
        headline: The figure of the gate's metric with its interval, and the constant answer's, in a sentence.
    """

    accepted: bool
    reasons: tuple[str, ...]
    metrics: dict[str, float] = field(default_factory=dict)
    roc: tuple[list[float], list[float], list[float]] | None = None
    confusion: tuple[list[str], list[list[int]]] | None = None
    candidate: str = ""
    warnings: tuple[str, ...] = ()
    headline: str = ""


def evaluate(dataset: Path, bundles: list[Path], winner: Path, report: Path, run: str, bar: str = "") -> Verdict:
    """Write the winner's bundle and the verdict as a page; log both to the MLflow run of the pipeline.

    Args:
        bundles: One folder per candidate; a damaged or unproved one is out, and the report says why.
        winner: The best bundle with its test figures and its model card, accepted or not.
        run: The pipeline's run id.
        bar: What is asked for beside the use case's own gate, see `components.models.bars`.

    Raises:
        InputError: The bar cannot be read, or names a figure that the task does not have.
    """
    from dataclasses import replace

    current = settings.read()
    data = datasets.read(dataset)
    use_case = use_cases.load(data.use_case)
    bars.check(bar, data.schema.target)
    use_case = replace(use_case, gate=bars.raised(use_case.gate, bar))
    metric = metrics.chosen(use_case.gate.metric, data.schema.target)
    entries = [contest.enter(folder, data) for folder in bundles]
    best = contest.winner(entries, metric, data, [candidate.name for candidate in use_case.candidates])
    report.parent.mkdir(parents=True, exist_ok=True)
    with tracking.parent_run(current, data.model, run, _children(entries)) as parent:
        _adopt(current, parent, entries)
        tracking.log_dataset(current, parent, data, "train", "validation", "test")
        tracking.log_params(current, parent, _choice(data, entries, best, metric, bar))
        if best is None or best.bundle is None:
            verdict = _nobody(entries, winner)
            report.write_text(evaluate_page.nobody(use_case, entries))
            text = verdict_text.nobody(use_case, entries)
        else:
            verdict, text = _judge(current, use_case, data, entries, best, best.bundle, metric, winner, report)
        _log(verdict, report, text)
    for warning in verdict.warnings:
        logger.warning("%s: %s", data.model, warning)
    logger.info("%s: %s", data.model, "accepted" if verdict.accepted else "refused: " + "; ".join(verdict.reasons))
    return verdict


def _judge(
    current: Settings,
    use_case: UseCase,
    data: Dataset,
    entries: list[Entry],
    best: Entry,
    bundle: Bundle,
    metric: str,
    folder: Path,
    report: Path,
) -> tuple[Verdict, str]:
    """Return the verdict, and the same as Markdown."""
    result = judgement.judge(bundle, data, metric, data.seed)
    rival = _rival(current, data, result, metric)
    former = _former(current, data, result, metric)
    figures = best.figures
    checks = judgement.checks(use_case.gate, metric, result, rival, figures["parity"]["onnx"], former)
    accepted = all(check.passed for check in checks)
    written = _write_winner(bundle, use_case, data, figures, result, rival, checks, folder)
    story = verdict_text.Story(use_case, data, metric, entries, best, result, rival, checks)
    report.write_text(evaluate_page.write(story))
    roc, confusion = judgement.curves(data, result)
    verdict = Verdict(
        accepted=accepted,
        reasons=tuple(check.sentence for check in checks if check.passed == accepted),
        metrics=_numbers(result),
        roc=roc,
        confusion=confusion,
        candidate=best.name,
        warnings=story.warnings,
        headline=checks[0].sentence,
    )
    return verdict, verdict_text.write(story, written)


def _rival(current: Settings, data: Dataset, result: Result, metric: str) -> Rival | str | None:
    """Return the champion on the same rows, why it cannot be asked, or None when there is none."""
    version = tracking.champion(current, data.model)
    if version is None:
        return None
    return _asked(current, data, result, metric, version)


def _asked(current: Settings, data: Dataset, result: Result, metric: str, version: str) -> Rival | str:
    """Return a registered version on the same rows, or why it cannot be asked."""
    with tempfile.TemporaryDirectory(prefix="headrace-champion-") as scratch:
        try:
            champion = registry.fetch(current, data.model, version, Path(scratch) / "bundle")
            return judgement.compare(champion, data, result, metric, data.seed)
        except (BundleError, FileNotFoundError) as error:
            return str(error)


def _former(current: Settings, data: Dataset, result: Result, metric: str) -> Rival | None:
    """Return the best version that was ever released from this very data, unless it is the champion.

    A chain of champions may each lose a little within the tolerance; compared with the best of them, the losses cannot
    add up. Versions of other data are not asked: they may have learned from rows that are test rows now.
    """
    champion = tracking.champion(current, data.model)
    found = [
        (metrics.goodness(metric, version.figures[metric]), -version.number, str(version.number))
        for version in tracking.versions(current, data.model)
        if version.released and version.dataset == data.version and metric in version.figures
    ]
    best = max(found, default=None)
    if best is None or best[2] == champion:
        return None
    rival = _asked(current, data, result, metric, best[2])
    if isinstance(rival, str):
        logger.warning("version %s, the best so far of this data, could not be compared: %s", best[2], rival)
        return None
    return rival


def _write_winner(
    bundle: Bundle,
    use_case: UseCase,
    data: Dataset,
    figures: dict[str, Any],
    result: Result,
    rival: Rival | str | None,
    checks: list[Check],
    folder: Path,
) -> Bundle:
    """Write the winner's folder: the same model with its test figures and its final card, sealed again."""
    from dataclasses import replace

    judgement.copy_folder(bundle.folder, folder)
    figures["test"] = result.as_json()
    figures["verdict"] = {
        "accepted": all(check.passed for check in checks),
        "checks": [{"passed": check.passed, "sentence": check.lasting or check.sentence} for check in checks],
        "champion": rival.version if isinstance(rival, Rival) else None,
    }
    metrics.write_json(folder / bundles.METRICS, figures)
    timed = {"latency_ms": dict(result.latency_ms)}
    moved = replace(bundle, folder=folder, provenance={**bundle.provenance, **timed})
    golden = bundle.json(bundles.GOLDEN)
    (folder / bundles.CARD).write_text(card.write(moved, use_case, data, figures, golden))
    return bundles.seal(moved)


def _nobody(entries: list[Entry], winner: Path) -> Verdict:
    """Return the verdict of a contest without a usable candidate; the winner's folder then says only that."""
    reasons = tuple(f"{entry.name}: {entry.out}" for entry in entries) or ("no candidate was trained",)
    winner.mkdir(parents=True, exist_ok=True)
    (winner / "verdict.json").write_text(json.dumps({"accepted": False, "reasons": reasons}, indent=1))
    return Verdict(accepted=False, reasons=reasons)


def _children(entries: list[Entry]) -> list[str]:
    """Return the MLflow runs of the candidates."""
    found = [entry.bundle.provenance.get("mlflow_run") for entry in entries if entry.bundle is not None]
    return [str(run) for run in found if run]


def _choice(data: Dataset, entries: list[Entry], best: Entry | None, metric: str, bar: str) -> dict[str, Any]:
    """Return what the run was about, what it chose among, and the settings of what it chose."""
    chosen = best.figures.get("parameters", {}) if best else {}
    return {
        "use_case": data.use_case,
        "dataset": data.version,
        "source": data.source["location"],
        "target": data.schema.target.name,
        "seed": data.seed,
        "metric": metric,
        "bar": bar or "none",
        "candidates": ", ".join(sorted(entry.name for entry in entries)),
        "chosen": best.name if best else "none",
        **{f"chosen.{name.removeprefix('model__')}": value for name, value in chosen.items()},
    }


def _adopt(current: Settings, parent: str, entries: list[Entry]) -> None:
    """Show the candidates' runs below this one; those of another tracking store (a resumed run) stay where they are."""
    from mlflow.exceptions import MlflowException

    for entry in entries:
        child = entry.bundle.provenance.get("mlflow_run") if entry.bundle is not None else None
        if child:
            try:
                tracking.adopt(current, parent, [str(child)])
            except MlflowException as error:
                logger.warning("the MLflow run %s of %s is not shown below this run: %s", child, entry.name, error)


def _numbers(result: Result) -> dict[str, float]:
    figures = {name: interval.value for name, interval in result.figures.items()}
    times = {f"latency_{form}_ms": value for form, value in result.latency_ms.items()}
    return {**figures, **times, "rows": float(result.rows)}


def _log(verdict: Verdict, report: Path, text: str) -> None:
    import math

    import mlflow

    known = {f"test_{name}": value for name, value in verdict.metrics.items() if math.isfinite(value)}
    mlflow.log_metrics({**known, "accepted": float(verdict.accepted)})
    mlflow.set_tags({"headrace.candidate": verdict.candidate, "headrace.reasons": "\n".join(verdict.reasons)[:5_000]})
    mlflow.log_text(text, "verdict.md")
    mlflow.log_text(report.read_text(), "evaluation.html")
