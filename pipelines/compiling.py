"""From the training graph to the files a cluster takes: one per use case, the same bytes every time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from components import use_cases

FOLDER = Path(__file__).with_name("compiled")


def compile_all(output: Path = FOLDER, names: Iterable[str] | None = None) -> list[Path]:
    """Write the compiled pipeline of each use case and return the files."""
    return [compile_one(name, output) for name in (use_cases.names() if names is None else names)]


def compile_one(name: str, output: Path) -> Path:
    """Write the compiled pipeline of a use case and return its file, which appears only when it is whole."""
    from kfp import compiler

    from pipelines.training import build

    target = output / f"{name}.yaml"
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".compile-", dir=output) as folder:
        partial = Path(folder) / target.name
        compiler.Compiler().compile(build(use_cases.load(name)), str(partial))
        partial.replace(target)
    return target
