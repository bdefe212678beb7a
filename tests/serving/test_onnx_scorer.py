"""ONNX Runtime answers one row as it answers many, from however many threads."""

from __future__ import annotations

from array import array
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.bundle import MODEL, Bundle
from serving.scorer import OnnxScorer


@pytest.mark.parametrize("kind", ["mixed", "flowers", "prices"])
def test_one_row_at_a_time_from_many_threads_is_what_the_batch_says(kind: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    columns, width = len(bundle.schema.columns), bundle.schema.width
    output = "probabilities" if bundle.schema.target.classes else "prediction"
    scorer = OnnxScorer(bundle.folder / MODEL, columns, width, output)
    most = [column.maximum or len(column.categories) - 1 for column in bundle.schema.columns]
    rows = np.random.default_rng(5).uniform(0, 1, (400, columns)) * most
    wanted = np.asarray(scorer.score(rows, len(rows))).reshape(len(rows), width)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda row: scorer.score(array("d", row), 1).tolist(), rows))

    assert scorer._one.ready.acquire(blocking=False), "the short way was not taken, or was not given back"
    assert len(np.unique(wanted, axis=0)) > 5
    assert np.array(found) == pytest.approx(wanted, rel=1e-12)
