"""Overhead of the laptop run: `python -m benchmarks.pipelines [--rounds N] [--full]`.

Each measurement is a process of its own, imports included, and what counts is the CPU time of the process and all its
children, because it does not depend on what else the machine does. Rounds are interleaved; medians are shown.

    calls    the same step functions called one after another in one process
    stock    kfp.local's SubprocessRunner(use_venv=False) on the same compiled file
    laptop   our runner on the same compiled file, with its records, mirror and fork server
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
RUNNERS = ("calls", "stock", "laptop")


@dataclass(frozen=True)
class Cost:
    """What one process and its children took, in seconds."""

    cpu: float
    wall: float


def measure(what: str, environment: dict[str, str], *arguments: str) -> Cost:
    """Return the cost of one measurement of measured.py."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        own = {**environment, "HEADRACE_HOME": str(Path(folder, "home"))}
        begun = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.pipelines.measured", what, folder, *arguments],
            cwd=PROJECT,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        text = (child.stdout.read() if child.stdout else b"").decode(errors="replace")
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{what} {' '.join(arguments)} failed:\n{text[-4000:]}")
        subprocess.run([sys.executable, "-m", "pipelines", "stop"], cwd=PROJECT, env=own, stdout=subprocess.DEVNULL)
        return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - begun)


def compare(title: str, environment: dict[str, str], rounds: int, *arguments: str) -> None:
    """Measure the three ways in turn and print a table."""
    costs: dict[str, list[Cost]] = {runner: [] for runner in RUNNERS}
    for _ in range(rounds):
        for runner in RUNNERS:
            costs[runner].append(measure(runner, environment, *arguments))
    base = statistics.median(cost.cpu for cost in costs["calls"])
    print(f"\n| {title} | CPU s | range | x calls | wall s |\n|---|---|---|---|---|")
    for runner, found in costs.items():
        cpu = statistics.median(cost.cpu for cost in found)
        low, high = min(cost.cpu for cost in found), max(cost.cpu for cost in found)
        wall = statistics.median(cost.wall for cost in found)
        print(f"| {runner} | {cpu:.2f} | {low:.2f} to {high:.2f} | {cpu / base:.2f} | {wall:.1f} |", flush=True)


def compiling(rounds: int) -> None:
    """Print what compiling costs."""
    found = []
    for _ in range(rounds):
        folder = tempfile.mkdtemp(prefix="headrace-bench-")
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "pipelines", "compile", "--quiet", "--output", folder], cwd=PROJECT, check=True
        )
        after = os.times()
        found.append(after.children_user + after.children_system - before.children_user - before.children_system)
        shutil.rmtree(folder)
    print(f"\ncompile: {statistics.median(found):.2f} s CPU ({min(found):.2f} to {max(found):.2f})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipelines", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each [5]")
    parser.add_argument("--full", action="store_true", help="heart with all its candidates too: minutes per round")
    options = parser.parse_args()
    from pipelines.local import services

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, services.running(Path(folder), {}) as reached:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = {**kept, **reached, "HEADRACE_HTTP_PORT": "0", "HEADRACE_GRPC_PORT": "0", "OMP_NUM_THREADS": "1"}
        environment.pop("MLFLOW_TRACKING_URI")
        compiling(options.rounds)
        compare("chain of 8 steps x + 1", environment, options.rounds, "chain")
        compare("heart, one candidate", environment, options.rounds, "heart", "logistic")
        if options.full:
            compare("heart, all candidates", environment, options.rounds, "heart")


if __name__ == "__main__":
    main()
