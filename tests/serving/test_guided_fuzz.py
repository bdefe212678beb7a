"""The parsers survive inputs that a fuzzer chose for the branches they reach."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.bundle import Bundle

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("runs", [3_000, pytest.param(100_000, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_guided_fuzzing_finds_no_server_error(mixed: Bundle, tmp_path: Path, runs: int) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install atheris (Linux, CPython)")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    script = str(Path(__file__).with_name("guided_fuzz.py"))
    command = [sys.executable, script, str(mixed.folder), f"-runs={runs}", "-max_len=4096", "-timeout=20", str(corpus)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-4_000:]
    assert f"Done {runs} runs" in done.stderr
    assert len(list(corpus.iterdir())) > 20
