"""A way to run a tiny pipeline on the laptop runner."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.lean import stub_client

stub_client()

from pipelines import ir  # noqa: E402 - KFP is imported without its client
from pipelines.local.progress import Plain  # noqa: E402
from pipelines.local.record import Run  # noqa: E402
from pipelines.local.run import Order, run  # noqa: E402


@pytest.fixture
def store(s3: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The session's object store as the one the environment names, so that runs start none of their own."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HEADRACE_HOME", str(folder))
    return folder


class Laptop:
    """Compiles and runs tiny pipelines; keeps what was shown."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.shown = ""

    def compile(self, pipeline: Any) -> Path:
        from kfp import compiler

        path = self.folder / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path

    def __call__(self, pipeline: Any, resume: Run | None = None, workers: int = 2, **arguments: Any) -> Run:
        stream = io.StringIO()
        try:
            return run(Order(ir.load(self.compile(pipeline)), arguments, self.home, workers, resume), Plain(stream))
        finally:
            self.shown = stream.getvalue()


@pytest.fixture
def laptop(store: Mapping[str, str], home: Path, tmp_path: Path) -> Laptop:
    """Run a pipeline: `laptop(pipeline, argument=value)` returns the record of the run."""
    return Laptop(home, tmp_path)


def parameter(run: Run, task: str, name: str = "Output") -> Any:
    """Return an output parameter of a task, whatever graph it stands in."""
    found = run.task(task)
    assert found is not None, f"{task} did not run: {run.error}"
    return found.parameters[name]


@pytest.fixture
def output() -> Callable[..., Any]:
    return parameter
