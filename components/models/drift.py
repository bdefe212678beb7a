"""The reference that drift is measured against: histograms of the training rows and of held-out predictions.

Bins lie between the edges: a value belongs to bin number `count of edges <= value`, so the first and last bins are the
tails. Edges are deciles moved to the middle between two training values (all middles if there are few values), so no
training value lies on an edge and every reader of the file bins alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from components.models.metrics import positive_index
from serving.schema import UNSEEN, Column, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECILES = np.arange(1, 10) / 10.0
FEW = 12
"""Up to so many different values each gets a bin of its own."""


def reference(schema: Schema, matrix: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Return the content of reference.json.

    Args:
        matrix: The encoded training rows.
        scores: Answers to rows that the model which gave them had not seen: those of a model to its own training rows
            are surer than any it will give again, and would look like drift from the first day.
    """
    columns = {column.name: _column(column, matrix[:, position]) for position, column in enumerate(schema.columns)}
    return {"rows": len(matrix), "columns": columns, "predictions": _predictions(schema, scores)}


def _column(column: Column, values: NDArray[np.float64]) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    missing = int(len(values) - len(known))
    if column.kind == "category":
        codes = known[known != UNSEEN].astype(np.int64)
        return {
            "kind": "category",
            "categories": list(column.categories),
            "counts": np.bincount(codes, minlength=len(column.categories)).tolist(),
            "unseen": int((known == UNSEEN).sum()),
            "missing": missing,
        }
    edges = _edges(known)
    return {"kind": column.kind, "edges": edges.tolist(), "counts": _counts(known, edges), "missing": missing}


def _predictions(schema: Schema, scores: NDArray[np.float64]) -> dict[str, Any]:
    if not schema.target.classes:
        edges = _edges(scores[:, 0])
        return {"edges": edges.tolist(), "counts": _counts(scores[:, 0], edges)}
    binary = schema.target.task == "binary"
    watched = scores[:, positive_index(schema.target)] if binary else scores.max(axis=1)
    counts = np.bincount(scores.argmax(axis=1), minlength=len(schema.target.classes))
    return {
        "classes": list(schema.target.classes),
        "counts": counts.tolist(),
        "edges": DECILES.tolist(),
        "scores": _counts(watched, DECILES),
    }


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.unique(values)
    if len(known) < 2:
        return known + 0.5 if len(known) else np.zeros(1)
    middles = known[:-1] + (known[1:] - known[:-1]) / 2.0
    if len(known) <= FEW:
        return middles
    places = np.searchsorted(known, np.quantile(values, DECILES))
    return np.unique(middles[np.minimum(places, len(middles) - 1)])


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> list[int]:
    counts: list[int] = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist()
    return counts
