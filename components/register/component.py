"""KFP glue of register."""

from typing import NamedTuple

from kfp.dsl import Input, Model

from components.images import component


@component("register")
def register(winner: Input[Model], run: str, accepted: bool) -> NamedTuple(  # type: ignore[valid-type]  # KFP's form
    "Outputs", [("model", str), ("version", str), ("uri", str), ("new", bool)]
):
    """Publish the winner as a version.

    Args:
        winner: The bundle folder.
        run: The pipeline's run id.
        accepted: The verdict; the pipeline calls this step only when it holds.

    Returns:
        The name of the model, the number of its version, where its bundle is, and whether the version is a new one.
    """
    from pathlib import Path

    from components.register.step import register as publish

    version = publish(Path(winner.path), run)
    return version.model, version.number, version.uri, version.new
