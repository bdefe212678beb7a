"""Model pods as they are hardened: the server needs no folder that it could write to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import flowers
import hardened
from parts import free_port, is_up

from serving import bundle as bundles


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    if not hardened.is_possible():
        pytest.skip("needs mount namespaces (unshare --mount) on this machine")
    return flowers.build(tmp_path, "1", 1)


def started(bundle: Path | str, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    http = free_port()
    words = [sys.executable, "-m", "serving", "--model_name", flowers.MODEL, "--model_dir", str(bundle)]
    words += ["--host", "127.0.0.1", "--http_port", str(http), "--grpc_port", str(free_port())]
    with log.open("wb") as stream:
        server = subprocess.Popen(
            hardened.command(words), stdout=stream, stderr=stream, cwd="/", env=hardened.environment()
        )
    return server, http


def test_it_serves_without_a_folder_to_write_to(bundle, tmp_path):
    server, http = started(bundle, tmp_path / "log")
    try:
        deadline = time.monotonic() + 60
        while not is_up(f"http://127.0.0.1:{http}/v2/models/{flowers.MODEL}/ready"):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        server.terminate()

    assert server.wait(30) == 0


def spoil_goldens(bundle: Path) -> None:
    golden: dict[str, Any] = json.loads((bundle / bundles.GOLDEN).read_bytes())
    for request in golden["requests"]:
        request["predictions"] = [2 - value for value in request["predictions"]]
    loaded = bundles.load(bundle)
    (bundle / bundles.GOLDEN).write_text(json.dumps(golden))
    bundles.seal(loaded)


def cut_model(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "said"), [(spoil_goldens, "golden"), (cut_model, "model.onnx")], ids=["golden requests", "a cut file"]
)
def test_it_says_why_it_refuses_to_start(bundle, tmp_path, spoil, said):
    spoil(bundle)

    server, _ = started(bundle, tmp_path / "log")

    assert server.wait(60) != 0
    words = (tmp_path / "log").read_text()
    assert "refused to start" in words
    assert said in words
    assert "temporary" not in words


def test_an_address_of_its_own_to_fetch_from_names_what_is_missing(bundle, tmp_path):
    server, _ = started("s3://models/flowers/1", tmp_path / "log")

    assert server.wait(60) != 0
    words = (tmp_path / "log").read_text()
    assert "needs a folder that can be written to" in words
    assert "emptyDir" in words
