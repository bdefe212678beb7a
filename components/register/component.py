"""KFP glue of register."""

from typing import NamedTuple

from kfp.dsl import Input, Model

from components.images import component


@component("register")
def register(winner: Input[Model], run: str) -> NamedTuple("Outputs", [("model", str), ("version", str), ("uri", str)]):  # type: ignore[valid-type]  # KFP's form
    """Publish the winner as a version.

    Args:
        winner: The bundle folder.
        run: The pipeline's run id.

    Returns:
        The name of the model, the number of its version, and where its bundle is.
    """
    from pathlib import Path

    from components.register.step import register as publish

    version = publish(Path(winner.path), run)
    return version.model, version.number, version.uri
