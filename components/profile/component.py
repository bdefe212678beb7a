"""KFP glue of profile."""

from kfp.dsl import HTML, Dataset, Input, Output

from components.images import component


@component("profile")
def profile(data: Input[Dataset], page: Output[HTML]) -> None:
    """Draw the data on one page.

    Args:
        data: The data set folder.
        page: One self-contained HTML file.
    """
    from pathlib import Path

    from components.profile.step import profile as run

    run(Path(data.path), Path(page.path))
