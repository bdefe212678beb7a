"""Peak memory of every step: `python -m benchmarks.pipelines.memory [USE_CASE ...] [--rows 100000]`.

Runs the laptop's pipeline on the use cases, and on a table of its own with that many rows and 20 columns (15 numbers, 5
categories of 12 levels), and prints what the largest task of each step took, as the runner measured it. What
pipelines/training.py asks of a cluster stands beside these figures. Housing needs its file (HEADRACE_MIRROR).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.local import record

PROJECT = Path(__file__).parents[2]
COLUMNS, LEVELS, CATEGORIES = 20, 12, 5


def table(path: Path, rows: int) -> None:
    """Write a table whose target follows from three of its columns."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame({f"n{number}": random.normal(size=rows).round(4) for number in range(COLUMNS - CATEGORIES)})
    for number in range(CATEGORIES):
        frame[f"c{number}"] = random.choice([f"k{level}" for level in range(LEVELS)], size=rows)
    score = frame.n0 + 0.5 * frame.n1 * frame.n2 + 1.5 * (frame.c0 == "k3") + random.normal(size=rows)
    frame["y"] = np.where(score > 0.5, "yes", "no")
    frame.to_csv(path, index=False)


def peaks(home: Path, *arguments: str) -> dict[str, int]:
    """Run the pipeline and return step -> peak memory in bytes, the largest of its tasks."""
    variables = {**os.environ, "HEADRACE_HOME": str(home)}
    command = [sys.executable, "-m", "pipelines"]
    subprocess.run([*command, "run", *arguments], cwd=PROJECT, check=True, env=variables)
    subprocess.run([*command, "stop"], cwd=PROJECT, check=True, env=variables)
    found: dict[str, int] = {}
    for task in record.runs(home)[0].tasks.values():
        step = task.path.rsplit("/", 1)[-1]
        found[step] = max(found.get(step, 0), task.peak_bytes)
    return {step: peak for step, peak in found.items() if peak}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("use_case", nargs="*", default=["heart", "iris"])
    parser.add_argument(
        "--rows", type=int, default=100_000, metavar="N", help="of the table of its own; 0 leaves it out"
    )
    options = parser.parse_args()
    measured: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="headrace-memory-") as folder:
        for name in options.use_case:
            measured[name] = peaks(Path(folder, name), name)
        if options.rows:
            own = Path(folder, "own.csv")
            table(own, options.rows)
            title = f"{options.rows:,} x {COLUMNS}"
            measured[title] = peaks(Path(folder, "own"), "--csv", str(own), "--target", "y", "--model", "own")
    steps = list(dict.fromkeys(step for found in measured.values() for step in found))
    print("\n" + "MB".ljust(12) + "".join(f"{name:>16}" for name in measured))
    for step in steps:
        print(step.ljust(12) + "".join(f"{found.get(step, 0) / 1e6:16,.0f}" for found in measured.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
