"""The extension is optional: without a compiler the build succeeds, and the server runs on ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_the_build_succeeds_without_a_compiler(tmp_path: Path) -> None:
    folders = ["--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")]
    environment = {**os.environ, "CC": "false"}
    command = [sys.executable, "setup.py", "build_ext", *folders]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-2_000:]
    assert not list(tmp_path.rglob("_native*.so"))


def test_an_absent_extension_is_told_and_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    from serving import native

    monkeypatch.setitem(sys.modules, "serving.native._native", None)

    assert not native.available()
    with pytest.raises(ImportError):
        native.table(b"")
