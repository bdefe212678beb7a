"""The tree is as the design draws it: a step is a folder of three files, a use case is a file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = {
    ".ci",
    ".dockerignore",
    ".github",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "components",
    "docs",
    "helm",
    "locks",
    "manifests",
    "pipelines",
    "pyproject.toml",
    "serving",
    "setup.py",
    "tests",
}
STEP_FILES = {"__init__.py", "component.py", "step.py"}
LIBRARIES = {"models", "releases", "reports", "tables", "use_cases"}
LONGEST = 400


def tracked(pattern: str = "") -> list[Path]:
    """The files git knows or would add, below the project's root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern or "."],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def steps() -> list[Path]:
    return sorted(
        {path.parent for path in tracked("components/*/*.py")} - {ROOT / "components" / name for name in LIBRARIES}
    )


def test_the_top_level_holds_what_the_design_names() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}

    assert found <= TOP


@pytest.mark.parametrize("step", steps(), ids=lambda path: path.name)
def test_a_step_is_a_folder_of_exactly_three_files(step: Path) -> None:
    found = {path.name for path in tracked() if path.parent == step}

    assert found == STEP_FILES
    assert len((step / "component.py").read_text().splitlines()) <= 60
    assert re.fullmatch("[a-z][a-z0-9]*", step.name)


@pytest.mark.parametrize("step", steps(), ids=lambda path: path.name)
def test_a_step_knows_no_kfp(step: Path) -> None:
    assert not re.search(r"^\s*(from|import) kfp", (step / "step.py").read_text(), re.MULTILINE)


def test_tests_have_no_init_files() -> None:
    assert [path for path in tracked("tests") if path.name == "__init__.py"] == []


def test_no_file_is_longer_than_three_screens_without_a_reason_on_its_first_line() -> None:
    code = [path for path in tracked() if path.suffix in {".py", ".c", ".h"} and "oip" not in path.parts]
    long = {}
    for path in code:
        lines = path.read_text().splitlines()
        if len(lines) > LONGEST and "long because" not in lines[0].lower():
            long[str(path.relative_to(ROOT))] = len(lines)

    assert long == {}


def test_no_module_is_named_after_nothing() -> None:
    empty = {"utils.py", "helpers.py", "common.py", "misc.py"}

    assert [path for path in tracked() if path.name in empty] == []


def test_no_file_names_a_registry_host_or_an_absolute_path_of_a_machine() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "download.pytorch" + ".org")
    places = ("/" + "root/", "/" + "work/main", "/" + "work/shared")
    found = []
    for path in tracked():
        if path.suffix in {".png", ".parquet", ".gz", ".onnx", ".ico"}:
            continue
        text = path.read_text(errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in (*hosts, *places) if word in text]

    assert found == []
