"""`python -m benchmarks.releases`: how often simulated canaries are misjudged, and what a release costs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.releases import overhead
from benchmarks.releases.simulation import simulate
from components.releases.sequential import MARGIN, SLOW_MARGIN

ROLLOUTS = 2000
CASES = {
    "as good: no errors": ((0.0, 0.0), (0.0, 0.0)),
    "as good: 0.2 % errors, 1 % slow": ((0.002, 0.01), (0.002, 0.01)),
    "as good: 1 % errors, 2 % slow": ((0.01, 0.02), (0.01, 0.02)),
    "as good: 5 % errors, 5 % slow": ((0.05, 0.05), (0.05, 0.05)),
    "1 point more errors (between good and bad)": ((0.002, 0.01), (0.012, 0.01)),
    "2 points more errors": ((0.002, 0.01), (0.002 + MARGIN, 0.01)),
    "2 points more errors than 1 %": ((0.01, 0.01), (0.01 + MARGIN, 0.01)),
    "5 points more slow requests": ((0.002, 0.01), (0.002, 0.01 + SLOW_MARGIN)),
    "every second request fails": ((0.001, 0.01), (0.5, 0.01)),
}
"""What the new version is like: (error rate, slow rate) of the champion and of the new version."""


def main() -> int:
    """Simulate every case, print the table of the README and write results.json beside this file."""
    results: dict[str, dict[str, object]] = {}
    print("| the new version | promoted | rolled back | undecided | requests it answered |\n|---|---:|---:|---:|---:|")
    for case, (champion, canary) in CASES.items():
        outcome = simulate(champion, canary, rollouts=ROLLOUTS)
        shares = (outcome.promoted, outcome.rolled_back, outcome.undecided)
        cells = " | ".join(f"{count / outcome.rollouts:.2%}" for count in shares)
        print(f"| {case} | {cells} | {outcome.canary_requests:,.0f} |", flush=True)
        results[case] = {"champion": champion, "canary": canary, **asdict(outcome)}
    seconds, calls = overhead.measure()
    print(f"\na release besides waiting for pods: {seconds:.1f} s, {calls:.0f} API calls")
    results["a release besides waiting for pods"] = {"seconds": round(seconds, 2), "calls": calls}
    Path(__file__).with_name("results.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
