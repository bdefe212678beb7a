"""KFP glue of ingest."""

from kfp.dsl import Dataset, Output

from components.images import component


@component("ingest")
def ingest(
    data: Output[Dataset],
    use_case: str,
    source: str,
    target: str,
    overrides: str,
    model: str,
    candidates: list[str],
    bar: str,
    seed: int,
) -> list[str]:
    """Fetch the source, clean it, split it and store it under its hash, which is the version in its metadata.

    Args:
        data: The data set folder.
        use_case: Whose data to fetch.
        source: Where the data is, when not where the use case says.
        target: Column to predict, when not the use case's.
        overrides: JSON object of inferred properties to replace.
        model: Name of the model; empty takes the use case's.
        candidates: Names of the models to fit; empty takes all of the use case.
        bar: Figures that a winner must reach, checked here so that a wrong one ends the run before training.
        seed: Seed of the split.

    Returns:
        The names of the models to fit.
    """
    from pathlib import Path

    from components.ingest.step import candidates as choose
    from components.ingest.step import ingest as run
    from components.ingest.step import understood

    chosen = choose(use_case, candidates)
    data.metadata["version"] = run(Path(data.path), use_case, source, target, overrides, model, int(seed), bar)
    data.metadata["understood"] = understood(Path(data.path))
    return chosen
