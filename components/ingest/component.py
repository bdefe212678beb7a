"""KFP glue of ingest."""

from kfp.dsl import Dataset, Output

from components.images import component


@component("ingest")
def ingest(
    data: Output[Dataset], use_case: str, source: str, target: str, overrides: str, model: str, seed: int
) -> str:
    """Fetch the source, clean it, split it and store it under its hash.

    Args:
        data: The data set folder.
        use_case: Whose data to fetch.
        source: Where the data is, when not where the use case says.
        target: Column to predict, when not the use case's.
        overrides: JSON object of inferred properties to replace.
        model: Name of the model; empty takes the use case's.
        seed: Seed of the split.

    Returns:
        The version of the data set: its hash.
    """
    from pathlib import Path

    from components.ingest.step import ingest as run

    return run(Path(data.path), use_case, source, target, overrides, model, int(seed))
