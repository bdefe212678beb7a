"""KFP glue of refuse."""

from kfp.dsl import Dataset, Input

from components.images import component


@component("refuse")
def refuse(data: Input[Dataset], run: str, accepted: bool) -> str:
    """Leave the champion where it is and record why.

    Args:
        data: The data set folder.
        run: The pipeline's run id.
        accepted: The verdict; the pipeline calls this step only when it does not hold.

    Returns:
        The version that goes on serving; empty before the first release.
    """
    from pathlib import Path

    from components.refuse.step import refuse as keep

    return keep(Path(data.path), run)
