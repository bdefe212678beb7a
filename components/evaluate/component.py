"""KFP glue of evaluate."""

from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.images import component


@component("evaluate")
def evaluate(
    data: Input[Dataset],
    bundles: Input[list[Model]],
    winner: Output[Model],
    report: Output[HTML],
    metrics: Output[Metrics],
    curves: Output[ClassificationMetrics],
    run: str,
    bar: str = "",
) -> bool:
    """Pick the best candidate, judge it on rows nobody has seen, and compare it with the champion.

    Args:
        data: The data set folder.
        bundles: One bundle per candidate.
        winner: The best one, with its test scores.
        report: The verdict with its reasons.
        metrics: Test scores.
        curves: ROC curve and confusion matrix of a classifier.
        run: The pipeline's run id.
        bar: Figures asked for beside the use case's own, such as roc_auc>=0.8, ece<=0.1.

    Returns:
        Whether the winner may be released.
    """
    from pathlib import Path

    from components.artifacts import write_curves, write_metrics
    from components.evaluate.step import evaluate as judge

    folders = [Path(bundle.path) for bundle in bundles]
    verdict = judge(Path(data.path), folders, Path(winner.path), Path(report.path), run, bar)
    winner.metadata["candidate"] = verdict.candidate
    report.metadata["headline"] = verdict.headline
    report.metadata["reasons"] = "\n".join(verdict.reasons)
    report.metadata["warnings"] = "\n".join(verdict.warnings)
    write_metrics(metrics, verdict.metrics)
    write_curves(curves, verdict.roc, verdict.confusion)
    return bool(verdict.accepted)
