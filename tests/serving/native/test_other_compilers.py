"""The same bits from other compilers, optimisation levels and processors: a model moves between node pools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving import native

NATIVE = Path(native.__file__).parent
EVALUATOR = [str(NATIVE / name) for name in ("table.c", "load.c", "grow.c", "trees.c")]
HARNESS = str(Path(__file__).with_name("score.c"))
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
EXACT = ("forest", "regression")
"""Models whose answers take nothing from libm; the others call exp, whose last bit is the C library's."""
BUILDS = {
    "gcc without optimisation": (["gcc", "-O0", "-ffp-contract=off"], []),
    "clang": (["clang", "-O3", "-ffp-contract=off"], []),
    "clang with sanitizers": (["clang", "-O1", "-ffp-contract=off", "-fsanitize=address,undefined"], []),
    "aarch64": (["aarch64-linux-gnu-gcc", "-O3", "-ffp-contract=off", "-static"], ["qemu-aarch64-static"]),
}


def _rows(columns: int) -> NDArray[np.float64]:
    """Return rows with fractions that do not end in binary, gaps, unseen categories and extremes."""
    generator = np.random.default_rng(3)
    rows = np.round(generator.normal(60.0, 60.0, (4_000, columns)), 1)
    rows[:, 2:4] = generator.integers(-1, 3, (4_000, 2))
    special = generator.choice([np.nan, 0.0, 1e30, -1e30, 1e-300, 130.05], rows.shape)
    return np.where(generator.random(rows.shape) < 0.08, special, rows)


def _expected(data: bytes, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    table = native.table(data)
    return np.frombuffer(table.score(np.ascontiguousarray(rows), len(rows)), "<f8").reshape(len(rows), table.width)


@pytest.mark.parametrize("build", BUILDS)
def test_every_build_answers_the_same_bits(build: str, folded: dict[str, Any], tmp_path: Path) -> None:
    compile_, run = BUILDS[build]
    for tool in (compile_[0], *run):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    program = tmp_path / "score"
    command = [*compile_, *STRICT, f"-I{NATIVE}", *EVALUATOR, HARNESS, "-o", str(program), "-lm"]
    subprocess.run(command, check=True, timeout=200)
    for name, model in folded.items():
        rows = _rows(len(model.schema.columns))
        (tmp_path / "table").write_bytes(model.data)
        (tmp_path / "rows").write_bytes(rows.astype("<f8").tobytes())

        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1"}
        asked = [*run, str(program), str(tmp_path / "table"), str(tmp_path / "rows")]
        done = subprocess.run(asked, capture_output=True, env=environment, timeout=300)

        assert done.returncode == 0, done.stderr[-2_000:]
        expected = _expected(model.data, rows)
        found = np.frombuffer(done.stdout, "<f8").reshape(expected.shape)
        if name in EXACT:
            assert found.tobytes() == expected.tobytes(), name
        else:
            np.testing.assert_allclose(found, expected, rtol=2e-14, atol=1e-15, err_msg=name)


def test_clang_builds_the_extension_without_a_warning(tmp_path: Path) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed")
    flags = ["-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fvisibility=hidden", *STRICT]
    sources = sorted(str(path) for path in NATIVE.glob("*.c"))
    include = f"-I{sysconfig.get_path('include')}"

    done = subprocess.run(
        [clang, *flags, include, *sources, "-o", str(tmp_path / "native.so"), "-lm"], capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
