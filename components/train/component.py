"""KFP glue of train."""

from kfp.dsl import HTML, Dataset, Input, Model, Output

from components.images import component


@component("train")
def train(data: Input[Dataset], candidate: str, bundle: Output[Model], page: Output[HTML], seed: int) -> float:
    """Fit one candidate and write it as a bundle.

    Args:
        data: The data set folder.
        candidate: Which of the use case's models to fit.
        bundle: The bundle folder.
        page: Plots and scores on one HTML page.
        seed: Seed of the search and the model.

    Returns:
        Its cross-validated score; higher is better.
    """
    from pathlib import Path

    from components.train.step import train as run
    from components.train.step import why_out

    bundle.metadata["candidate"] = candidate
    score = run(Path(data.path), candidate, Path(bundle.path), Path(page.path), int(seed))
    bundle.metadata["out"] = why_out(Path(bundle.path))
    return float(score)
