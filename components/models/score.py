"""Anything that answers rows, behind one signature: the fitted pipeline, an ONNX graph, a bundle, a compiled table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import bundle as bundles
from serving.bundle import Bundle, BundleError
from serving.schema import Label, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

Scorer = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
"""From encoded rows [rows, columns] to probabilities [rows, classes] or predictions [rows, 1]."""
CHUNK_ROWS = 2_000
"""Rows per call: bounds the intermediate tensors of kernels and large ensembles."""


def fitted(pipeline: Pipeline) -> Scorer:
    """Return the scorer of a fitted scikit-learn pipeline."""
    if hasattr(pipeline, "predict_proba"):
        return lambda matrix: np.asarray(pipeline.predict_proba(matrix), dtype=np.float64)
    return lambda matrix: np.asarray(pipeline.predict(matrix), dtype=np.float64).reshape(-1, 1)


def onnx(content: bytes) -> Scorer:
    """Return the scorer of a serialized ONNX model, on one thread so that sums have one order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(session.run(None, {name: matrix})[0])

    def scorer(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        if len(matrix) <= CHUNK_ROWS:
            return run(matrix)
        return np.concatenate([run(matrix[start : start + CHUNK_ROWS]) for start in range(0, len(matrix), CHUNK_ROWS)])

    return scorer


def table(content: bytes) -> Scorer:
    """Return the scorer of a folded table.

    Raises:
        ImportError: The C extension is not built here.
        ValueError: The bytes are not a table.
    """
    from serving import native

    folded = native.table(content)

    def scorer(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        answered = folded.score(np.ascontiguousarray(matrix).data, len(matrix))
        return np.frombuffer(answered, dtype=np.float64).reshape(len(matrix), -1)

    return scorer


def scorer(bundle: Bundle) -> Scorer:
    """Return the scorer of a bundle's ONNX model.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """
    content = (bundle.folder / bundles.MODEL).read_bytes()
    try:
        return onnx(content)
    except Exception as error:  # ONNX Runtime has one class per status and no common base but Exception
        raise BundleError(f"bundle {bundle.folder}: {bundles.MODEL} does not load ({error}): train it again") from error


def labels(schema: Schema, scores: NDArray[np.float64]) -> list[Label]:
    """Return what a client is told for scored rows: the most probable class (the first of equals), or the number."""
    if not schema.target.classes:
        return [float(value) for value in scores[:, 0]]
    return [schema.target.classes[position] for position in scores.argmax(axis=1)]


def latency_ms(scorer: Scorer, row: NDArray[np.float64], repeats: int = 200) -> float:
    """Return the median time of scoring one row, in milliseconds, after a warm-up."""
    row = np.ascontiguousarray(row.reshape(1, -1))
    times: list[float] = []
    for _ in range(repeats + 20):
        start = time.perf_counter()
        scorer(row)
        times.append(time.perf_counter() - start)
    return statistics.median(times[20:]) * 1e3


def as_json(scores: NDArray[np.float64]) -> list[Any]:
    """Return scored rows as nested lists of Python floats."""
    return [[float(value) for value in row] for row in scores]
