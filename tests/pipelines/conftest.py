"""A real object store for the session, and a way to run a tiny pipeline on the laptop runner."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.lean import stub_client

stub_client()

from pipelines import ir  # noqa: E402
from pipelines.local import services  # noqa: E402 - KFP is imported without its client
from pipelines.local.progress import Plain  # noqa: E402
from pipelines.local.record import Run  # noqa: E402
from pipelines.local.run import Order, run  # noqa: E402


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running SeaweedFS: the environment variables that reach it."""
    with services.running(tmp_path_factory.mktemp("store"), {}) as variables:
        yield {name: value for name, value in variables.items() if name.startswith("AWS_")}


@pytest.fixture
def store(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
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
def laptop(store: dict[str, str], home: Path, tmp_path: Path) -> Laptop:
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
