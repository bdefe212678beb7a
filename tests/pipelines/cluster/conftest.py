"""An emulated KFP server, and the command line with output and exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from argo import look
from kfpapi import PACE, Kfp, serve

from pipelines.__main__ import main
from pipelines.kfpserver.connection import Access, Server, connect

ACCEPTED = [
    look("RUNNING", ingest="RUNNING"),
    look("RUNNING", ingest="SUCCEEDED", train="RUNNING"),
    look("SUCCEEDED", ingest="SUCCEEDED", train="SUCCEEDED", evaluate="SUCCEEDED", deploy="SUCCEEDED"),
]


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kfp]:
    """A single-user server whose runs are accepted; the process knows no other and has no credentials."""
    for name in (
        "KF_PIPELINES_ENDPOINT",
        "KF_PIPELINES_UI_ENDPOINT",
        "KF_PIPELINES_SA_TOKEN_PATH",
        "HEADRACE_KFP_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("pipelines.cluster.Pace", lambda poll: PACE)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield from serve(Kfp(steps=ACCEPTED))


@pytest.fixture
def server(kfp: Kfp) -> Server:
    """A connection to it."""
    return connect(Access(kfp.url, pace=PACE))


@pytest.fixture
def cli(kfp: Kfp, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a verb against the server and return exit code, output and errors."""

    def run(verb: str, *arguments: str) -> tuple[int, str, str]:
        code = main([verb, *arguments, "--host", kfp.url])
        return code, *capsys.readouterr()

    return run
