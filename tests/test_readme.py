"""The README keeps its word: CI runs its commands, and what it points to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def first_commands() -> list[str]:
    """The make commands of the indented blocks, without their comments."""
    return [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    make ")]


@pytest.mark.parametrize("command", first_commands())
def test_ci_runs_the_command(command: str) -> None:
    run_by_ci = (ROOT / ".ci" / "run").read_text().replace("CSV=.headrace/", "CSV=").splitlines()

    assert command in run_by_ci


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z][a-z0-9-]*)", README))

    assert named <= targets


def test_every_file_it_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_verb_it_names_exists() -> None:
    verbs = set(re.findall(r"(?:python -m pipelines|…) ([a-z]+)", README))
    told = subprocess.run([sys.executable, "-m", "pipelines", "--help"], cwd=ROOT, capture_output=True, text=True)

    assert verbs
    assert [verb for verb in verbs if not re.search(rf"^    {verb}\b", told.stdout, re.MULTILINE)] == []
