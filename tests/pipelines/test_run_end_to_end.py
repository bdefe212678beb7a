"""From a person's table to a served model and back, with the commands a person types and nothing replaced."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
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

    page = Path(re.findall(r"file://(\S+index\.html)", done.stdout)[0])
    links = re.findall(r'href="([^"#]+)"', page.read_text())
    assert {"reports/evaluate-report.html", "reports/train-linear.html", "reports/profile.html"} <= set(links)
    for link in links:
        assert (page.parent / link).exists(), link
        if link.endswith(".html"):
            assert 'href="../index.html"' in (page.parent / link).read_text(), "each page leads back"
    assert "ROC AUC on the test rows is" in page.read_text()

    (line,) = re.findall(r"curl -s .*", done.stdout)
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    assert json.loads(answer)["predictions"][0] in ("yes", "no")

    assert "churn  1        champion  linear" in shell("list", "versions").stdout
    versions = re.findall(r"churn  ([0-9a-f]{64})  validated", shell("list", "datasets").stdout)
    fetched = shell("fetch", "churn", versions[0][:12], "--output", str(shell.home / "fetched"))
    assert fetched.returncode == 0, fetched.stderr
    assert (shell.home / "fetched" / "train.parquet").is_file()

    assert shell("stop").stdout == "stopped the server of churn\n"
    shown = shell("show").stdout
    assert "nothing any more: its server was stopped" in shown
    assert "curl" not in shown

    again = shell("run", "--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("unchanged") == 5, "what has an effect outside is done again: here, the server"
    (line,) = re.findall(r"curl -s .*", again.stdout)
    subprocess.run(["bash", "-c", f"{line} --fail"], capture_output=True, check=True)

    same = shell("run", "--csv", str(table), "--target", "left", "--candidate", "linear")
    assert "is churn version 1 as before (the same model of the same data)" in same.stdout

    table.write_text(table.read_text().replace("yes", "NO").replace("no", "yes").replace("NO", "no"))
    changed = shell("run", "--resume")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert "unchanged" not in changed.stdout, "the file is another one by now"
    assert "is churn version 2" in changed.stdout

    wrong = shell("run", "--csv", str(table), "--target", "lfet", "--model", "churn")
    assert wrong.returncode == 2
    assert "churn.csv has no column 'lfet' (did you mean 'left'?)" in wrong.stderr
    assert "Traceback" not in wrong.stdout + wrong.stderr

    broken = subprocess.run(
        f"{shlex.quote(sys.executable)} -m pipelines run --csv {table} --target left --candidate linear | head -1",
        shell=True, cwd=PROJECT, env=shell.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert broken.stdout.count("\n") == 1
    assert "OUTCOME" in shell("list").stdout
    assert shell("list").stdout.count("succeeded") == 3, "whoever read the output left, and the run went on"
    assert shell("stop").stdout == "stopped the server of churn\n"
