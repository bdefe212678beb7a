"""From a person's table to a served model and back, with the commands a person types and nothing replaced."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.local import services

PROJECT = Path(__file__).parents[2]


class Shell:
    """Types commands in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_TRACKING"))}
        self.environment = {
            **own,
            "HEADRACE_HOME": str(self.home),
            "HEADRACE_HTTP_PORT": "0",
            "HEADRACE_GRPC_PORT": "0",
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    typed = Shell(tmp_path)
    yield typed
    typed("stop")
    assert services.find(typed.home) is None


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "churn.csv"
    draw = random.Random(7)
    rows = ["age,plan,left"]
    for _ in range(240):
        age, plan = draw.randint(18, 80), draw.choice(["free", "pro", "team"])
        leaves = age + 20 * (plan == "free") + draw.gauss(0, 8) > 60
        rows.append(f"{age},{plan},{'yes' if leaves else 'no'}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_table_becomes_a_served_model(shell: Shell, table: Path) -> None:
    done = shell("run", "--csv", str(table), "--target", "left", "--candidate", "linear")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "ACCEPTED  csv: linear is churn version 1, released and verified" in done.stdout
    for report in re.findall(r"\S+reports/\S+", done.stdout):
        assert (PROJECT / report).is_file()

    (line,) = re.findall(r"curl -s .*", done.stdout)
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    assert json.loads(answer)["predictions"][0] in ("yes", "no")

    assert "churn  1        champion  linear" in shell("list", "versions").stdout
    versions = re.findall(r"churn  ([0-9a-f]{64})  validated", shell("list", "datasets").stdout)
    fetched = shell("fetch", "churn", versions[0][:12], "--output", str(shell.home / "fetched"))
    assert fetched.returncode == 0, fetched.stderr
    assert (shell.home / "fetched" / "train.parquet").is_file()

    again = shell("run", "--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("unchanged") == 7

    wrong = shell("run", "--csv", str(table), "--target", "gone", "--model", "churn")
    assert wrong.returncode == 2
    assert "churn.csv has no column 'gone'" in wrong.stdout
    assert "Traceback" not in wrong.stdout
    assert shell("stop").stdout == "stopped the server of churn\n"
