"""From the training graph to the file a cluster takes: one for every use case, the same bytes every time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

FOLDER = Path(__file__).with_name("compiled")
TRAINING = FOLDER / "training.yaml"
"""The committed one."""
ROOT = "s3://artifacts/kfp"
"""Where a run's artifacts go: our own store, with its backups and access rules, and not KFP's; HEADRACE_PIPELINE_ROOT,
`--pipeline-root` or the KFP UI names another place. How KFP reaches the store stands in its ConfigMap kfp-launcher."""


def pipeline_root() -> str:
    """Return where artifacts of runs go, unless a run names another place."""
    return os.environ.get("HEADRACE_PIPELINE_ROOT") or ROOT


def write(output: Path = FOLDER) -> Path:
    """Write the compiled pipeline into a folder and return its file, which appears only when it is whole."""
    from kfp import compiler

    from pipelines.training import build

    target = output / TRAINING.name
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".compile-", dir=output) as folder:
        partial = Path(folder) / target.name
        compiler.Compiler().compile(build(), str(partial))
        partial.replace(target)
    return target


def of(use_case: str, home: Path) -> Path:
    """Return the compiled pipeline for a use case: the committed one, or one made now when that does not list it yet.

    Raises:
        InputError: There is no such use case, or the committed file is not usable.
    """
    from components import use_cases
    from components.errors import InputError
    from pipelines import ir

    if use_case not in use_cases.names():
        raise InputError(f"unknown use case {use_case!r}: choose one of {', '.join(use_cases.names())}")
    try:
        known = ir.load(TRAINING).choices("use_case") if TRAINING.is_file() else ()
    except ir.Unreadable as error:
        raise InputError(str(error)) from error
    return TRAINING if use_case in known else write(home.absolute() / "compiled")
