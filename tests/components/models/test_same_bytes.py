"""The same data, code and seed make the same bundle, byte for byte, on a laptop and from what an image holds."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.dataset import Dataset
from serving import bundle as bundles

LONG = pytest.mark.long
ROOT = Path(__file__).resolve().parents[3]
STEPS = """
import os, sys
from pathlib import Path
if os.environ.get("ONE_CORE"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from components.evaluate.step import evaluate
from components.train.step import train

data, candidate, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
train(data, candidate, out / "bundle", out / "page.html", 7, parity_rows=1_000)
evaluate(data, [out / "bundle"], out / "winner", out / "report.md", sys.argv[4])
"""
LAPTOP = {"TZ": "UTC", "LANG": "C.UTF-8", "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
POD = {"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "2", "ONE_CORE": "yes",
       "HOSTNAME": "train-7f9c", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what components/Dockerfile copies, its extension compiled by the Dockerfile's own command."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, as the image's build stage does")
    folder = tmp_path_factory.mktemp("image")
    spared = shutil.ignore_patterns("*.so", "__pycache__", "Dockerfile")
    for name in ("components", "serving"):
        shutil.copytree(ROOT / name, folder / name, ignore=spared)
    dockerfile = (ROOT / "components/Dockerfile").read_text()
    assert "RUN serving/native/build.sh" in dockerfile
    subprocess.run([folder / "serving/native/build.sh"], check=True, env={**os.environ, "PATH": _with_headers()})
    return folder


def _with_headers() -> str:
    """Return a PATH whose python3-config is that of this Python: headers of another one do not fit."""
    base = Path(sys.base_prefix) / "bin"
    return f"{base}:{os.environ['PATH']}"


def made(data: Path, candidate: str, out: Path, empty: Path, given: Mapping[str, str], s3: Mapping[str, str]) -> Path:
    """Run train and evaluate in a process of their own and return where."""
    home = out / "home"
    home.mkdir(parents=True)
    shutil.copy(empty, home / "mlflow.db")
    tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}", "HEADRACE_HOME": str(home)}
    names = ("PATH", "HOME", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    variables = {**kept, **s3, **tracking, **given, "HEADRACE_CODE_VERSION": "abc", "MPLCONFIGDIR": str(out / "mpl")}
    command = [sys.executable, "-W", "ignore", "-c", STEPS, str(data), candidate, str(out), f"run-{out.name}"]
    ended = subprocess.run(command, env=variables, cwd=out, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return out


@pytest.mark.parametrize(
    "candidate", ["logistic", pytest.param("forest", marks=LONG), pytest.param("boosting", marks=LONG)]
)
def test_a_pod_makes_the_bytes_that_a_laptop_makes(
    candidate: str, image: Path, heart: Dataset, s3: Mapping[str, str], empty_tracking_store: Path, tmp_path: Path
) -> None:
    laptop = made(heart.folder, candidate, tmp_path / "laptop", empty_tracking_store, LAPTOP, s3)
    moved = shutil.copytree(heart.folder, tmp_path / "elsewhere" / "dataset")
    pod = made(moved, candidate, tmp_path / "pod", empty_tracking_store, {**POD, "PYTHONPATH": str(image)}, s3)

    for folder in ("bundle", "winner"):
        names = sorted(path.name for path in (laptop / folder).iterdir())
        assert names == sorted(path.name for path in (pod / folder).iterdir())
        assert bundles.TABLE in names
        compared = [name for name in names if name != bundles.ORIGIN]
        assert filecmp.cmpfiles(laptop / folder, pod / folder, compared, shallow=False)[1:] == ([], [])
        assert bundles.load(laptop / folder).digest == bundles.load(pod / folder).digest
    origins = [json.loads((where / "winner" / bundles.ORIGIN).read_bytes()) for where in (laptop, pod)]
    assert origins[0]["mlflow_run"] != origins[1]["mlflow_run"]
    assert set(origins[0]["latency_ms"]) == {"onnx", "table"}
