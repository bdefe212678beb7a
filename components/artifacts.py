"""What a KFP page shows of a step's results: plain numbers and curves written to its metric artifacts.

A file of its own so that the glue stays free of logic. The metadata feeds the KFP UI; the same numbers go to a file at
the artifact's path, because an artifact without a file is not uploaded and never found in a cache.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Roc = tuple[Sequence[float], Sequence[float], Sequence[float]]
Confusion = tuple[Sequence[object], Sequence[Sequence[int]]]


def write_metrics(artifact: Any, numbers: Mapping[str, float]) -> None:
    """Fill a `Metrics` artifact; numbers that JSON cannot hold are left out."""
    for name, value in numbers.items():
        if math.isfinite(value):
            artifact.log_metric(name, float(value))
    _write(artifact)


def write_curves(artifact: Any, roc: Roc | None, confusion: Confusion | None) -> None:
    """Fill a `ClassificationMetrics` artifact; without curves (regression) it stays empty.

    Args:
        roc: False and true positive rates and thresholds; points with an infinite threshold are left out.
        confusion: Labels and the matrix [true, predicted].
    """
    if roc is not None:
        points = [point for point in zip(*roc, strict=True) if all(math.isfinite(value) for value in point)]
        if points:
            artifact.log_roc_curve(*([float(value) for value in column] for column in zip(*points, strict=True)))
    if confusion is not None:
        labels, matrix = confusion
        artifact.log_confusion_matrix([str(label) for label in labels], [[int(cell) for cell in row] for row in matrix])
    _write(artifact)


def _write(artifact: Any) -> None:
    path = Path(artifact.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(artifact.metadata), indent=1, sort_keys=True))
