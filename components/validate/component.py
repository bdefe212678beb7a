"""KFP glue of validate."""

from kfp.dsl import Dataset, Input, Markdown, Metrics, Output

from components.images import component


@component("validate")
def validate(data: Input[Dataset], report: Output[Markdown], metrics: Output[Metrics]) -> None:
    """Stop the run when the data is not what the use case expects.

    Args:
        data: The data set folder.
        report: What was checked and found.
        metrics: Rows, columns and shares, as numbers.
    """
    from pathlib import Path

    from components.artifacts import write_metrics
    from components.validate.step import validate as run

    write_metrics(metrics, run(Path(data.path), Path(report.path)).numbers)
