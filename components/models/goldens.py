"""Golden requests: what a client could send, with the answers of the fitted pipeline, for whoever serves the bundle.

They go through JSON and back before they are answered, so a golden that fails means that the server is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from components.dataset import rows_to_json
from components.models.score import Scorer, as_json, labels
from serving.schema import UNSEEN, Schema, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-6
REAL_ROWS = 8
MISSING_ROWS = 4
BATCH_ROWS = 5


def write_requests(
    schema: Schema, scorer: Scorer, matrix: NDArray[np.float64], *, example: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return the content of golden.json: the example, real rows, missing values, unseen categories and a batch.

    Args:
        example: One row by column name that comes first; empty takes a real row.
        matrix: Encoded rows to draw from.
    """
    generator = np.random.default_rng(seed)
    rows = _real(matrix, generator)
    singles = [*rows, *_missing(rows, generator), *_unseen(schema, rows)]
    requests = [[instance] for instance in rows_to_json(schema, np.array(singles))]
    if example:
        requests.insert(0, [{name: example.get(name) for name in schema.names}])
    requests.append(rows_to_json(schema, matrix[generator.integers(0, len(matrix), BATCH_ROWS)]))
    return {"requests": [_answered(schema, scorer, instances) for instances in requests], "tolerance": TOLERANCE}


def encode_instances(schema: Schema, instances: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Return the encoded rows of JSON instances, through the module that the server uses."""
    return np.array([[encode(column, row[column.name], column.name) for column in schema.columns] for row in instances])


def _answered(schema: Schema, scorer: Scorer, instances: list[dict[str, Any]]) -> dict[str, Any]:
    scores = scorer(encode_instances(schema, instances))
    answered: dict[str, Any] = {"instances": instances, "predictions": labels(schema, scores)}
    if schema.target.classes:
        answered["probabilities"] = as_json(scores)
    return answered


def _real(matrix: NDArray[np.float64], generator: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return different rows, up to two of them with a missing value where there are any."""
    shuffled = matrix[generator.permutation(len(matrix))]
    gaps = np.isnan(shuffled).any(axis=1)
    complete = shuffled[~gaps][: REAL_ROWS - min(2, int(gaps.sum()))]
    return [*complete, *shuffled[gaps][: max(2, REAL_ROWS - len(complete))]]


def _missing(rows: list[NDArray[np.float64]], generator: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return rows without one value each, and one row of nothing."""
    columns = generator.permutation(len(rows[0]))[:MISSING_ROWS]
    emptied = []
    for number, column in enumerate(columns):
        row = rows[number % len(rows)].copy()
        row[column] = math.nan
        emptied.append(row)
    return [*emptied, np.full_like(rows[0], math.nan)]


def _unseen(schema: Schema, rows: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return one row whose first category is unseen, and one where all are; none without categories."""
    categories = [position for position, column in enumerate(schema.columns) if column.kind == "category"]
    if not categories:
        return []
    first, all_of_them = rows[0].copy(), rows[-1].copy()
    first[categories[0]] = UNSEEN
    all_of_them[categories] = UNSEEN
    return [first, all_of_them]
