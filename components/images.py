"""What we know about container images: which one runs a step, by digest once a release has recorded it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DIGESTS = Path(__file__).with_name("images.json")
"""Step -> full image reference, written by the release that pushed the images; absent in a working tree."""
PREFIX = "HEADRACE_IMAGE_PREFIX"
RELEASE = "0.1.0"
"""The tag of the images while no digest is recorded; a release never moves it."""


def image(step: str, environment: Mapping[str, str] = os.environ, digests: Path = DIGESTS) -> str:
    """Return the image of a step.

    The recorded digest wins; `HEADRACE_IMAGE_PREFIX` (such as `registry.example/team`) names another registry for
    compiling a copy of one's own.

    Raises:
        ValueError: Digests are recorded, but not for this step.
    """
    prefix = environment.get(PREFIX, "")
    if prefix:
        return f"{prefix.rstrip('/')}/{step}:{RELEASE}"
    if not digests.is_file():
        return f"headrace/{step}:{RELEASE}"
    recorded = json.loads(digests.read_text())
    if step not in recorded:
        raise ValueError(f"{digests} records no image of step {step!r}: choose one of {', '.join(sorted(recorded))}")
    return str(recorded[step])


def component(step: str) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator that makes a function the KFP component of a step.

    The function's source travels in the pipeline and calls the step's code, which is in the image; nothing is installed
    when it runs.
    """
    from kfp import dsl

    decorator: Callable[[Callable[..., Any]], Any] = dsl.component(
        base_image=image(step), packages_to_install=[], install_kfp_package=False
    )
    return decorator
