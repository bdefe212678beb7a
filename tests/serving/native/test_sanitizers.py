"""The extension, built with AddressSanitizer and UndefinedBehaviorSanitizer, survives the fuzzer without a report."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from serving import native
from serving.schema import schema_to_json

ROOT = Path(__file__).parents[3]
FUZZERS = [Path(__file__).with_name(name) for name in ("fuzz.py", "fuzz_rpc.py")]


@pytest.fixture(scope="session")
def corpus(folded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name, model in folded.items():
        (folder / f"{name}.table").write_bytes(model.data)
        (folder / f"{name}.json").write_text(json.dumps(schema_to_json(model.schema)))
    return folder


def _libasan(compiler: str) -> str:
    """Return the sanitizer's shared library, empty where the compiler comes without."""
    names = {"gcc": "libasan.so", "clang": f"libclang_rt.asan-{platform.machine()}.so"}
    found = subprocess.run(
        [compiler, f"-print-file-name={names[compiler]}"], capture_output=True, text=True, check=True
    )
    path = Path(found.stdout.strip())
    return str(path.resolve()) if path.is_absolute() else ""


@functools.cache
def _build(compiler: str, folder: Path) -> Path:
    extension = folder / f"{compiler}_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = sorted(str(path) for path in Path(native.__file__).parent.glob("*.c"))
    flags = ["-O1", "-g", "-std=c11", "-fPIC", "-shared", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    shared = ["-shared-libasan"] if compiler == "clang" else []
    include = f"-I{sysconfig.get_path('include')}"
    command = [compiler, *flags, *sanitize, *shared, include, *sources, "-o", str(extension), "-lm"]
    subprocess.run(command, check=True, timeout=200)
    return extension


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("rounds", [2_500, pytest.param(200_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda path: path.stem)
def test_no_sanitizer_reports(fuzzer: Path, rounds: int, compiler: str, corpus: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    libasan = _libasan(compiler)
    if not libasan:
        pytest.skip(f"this {compiler} comes without libasan")
    extension = _build(compiler, corpus)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": libasan,
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    }

    command = [sys.executable, str(fuzzer), str(corpus), "--extension", str(extension), "--rounds", str(rounds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3_000)

    assert done.returncode == 0, done.stderr[-4_000:]
    assert json.loads(done.stdout)["requests"] > rounds // 100


@pytest.mark.parametrize(("fuzzer", "least"), [(FUZZERS[0], {"tables": 100}), (FUZZERS[1], {"ordinary": 200})])
def test_the_fuzzers_reach_what_they_fuzz(fuzzer: Path, least: dict[str, int], corpus: Path) -> None:
    spec = importlib.util.spec_from_file_location("native_fuzzer", fuzzer)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    counts = module.run(corpus, rounds=3_000, seed=11)

    assert counts["requests"] > 50
    assert all(counts[name] > count for name, count in least.items())
