"""Bundles of a small model, fitted in a moment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from components.models import drift, goldens, graph, recipes, score, table
from serving import bundle as bundles
from serving.bundle import Bundle
from serving.schema import Column, Schema, Target

MODEL = "flowers"


def build(parent: Path, version: str, seed: int, edges: tuple[float, float] = (3, 5)) -> Path:
    """Return the folder of a new bundle that tells three kinds of flower apart by their first length."""
    columns = tuple(Column(f"length{i}", "number", minimum=0.0, maximum=8.0) for i in range(4))
    schema = Schema(columns, Target("kind", "multiclass", (0, 1, 2)))
    matrix = np.random.default_rng(seed).uniform(0, 8, (120, 4))
    pipeline = recipes.logistic(schema, seed).fit(matrix, np.digitize(matrix[:, 0], edges))
    folder = parent / version
    folder.mkdir()
    scorer = score.fitted(pipeline)
    (folder / bundles.MODEL).write_bytes(graph.convert(pipeline, 4))
    (folder / bundles.TABLE).write_bytes(table.compile(pipeline, schema))
    golden = goldens.write_requests(schema, scorer, matrix, example={}, seed=seed)
    (folder / bundles.GOLDEN).write_text(json.dumps(golden))
    (folder / bundles.REFERENCE).write_text(json.dumps(drift.reference(schema, matrix, scorer(matrix))))
    (folder / bundles.METRICS).write_text("{}")
    bundles.seal(Bundle(folder, MODEL, MODEL, "logistic", schema, version, {"dataset": "d" * 64}))
    return folder
