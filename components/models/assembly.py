"""From a fitted pipeline to a sealed bundle: converted, proved equal, with golden requests and a drift reference."""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.dataset import Dataset
from components.models import card, drift, goldens, graph, metrics, mlmodel, parity, score, table
from components.models.parity import Parity
from components.models.search import FIT_ROWS, Search, aligned
from components.use_cases import UseCase
from serving import bundle as bundles
from serving.bundle import Bundle

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

logger = logging.getLogger(__name__)

LIBRARIES = ("scikit-learn", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Fitted:
    """A candidate after training, before it is on disk.

    Attributes:
        rows: How many training rows it was fitted on.
    """

    use_case: UseCase
    candidate: str
    pipeline: Pipeline
    search: Search
    rows: int


def write(
    fitted: Fitted, dataset: Dataset, folder: Path, *, seed: int, provenance: Mapping[str, Any], parity_rows: int
) -> Bundle:
    """Write the bundle of a fitted candidate; the same candidate, data, code and seed give the same bundle.

    A conversion that differs from the pipeline is written and marked, so that evaluate can say why it may not win; a
    folded table that differs is left out.

    Args:
        folder: Made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    schema = dataset.schema
    X, _ = dataset.load("train")
    content = graph.convert(fitted.pipeline, len(schema.columns))
    (folder / bundles.MODEL).write_bytes(content)
    proofs, absent = _prove(fitted.pipeline, dataset, X, content, parity_rows, seed)
    if isinstance(absent, bytes):
        (folder / bundles.TABLE).write_bytes(absent)
    else:
        logger.warning("%s of %s was not compiled: %s", fitted.candidate, dataset.model, absent)
    scorer = score.fitted(fitted.pipeline)
    golden = goldens.write_requests(schema, scorer, X, example=fitted.use_case.example, seed=seed)
    figures = _figures(fitted, dataset, proofs, absent)
    metrics.write_json(folder / bundles.GOLDEN, golden)
    metrics.write_json(folder / bundles.REFERENCE, drift.reference(schema, X, fitted.search.best.scores))
    metrics.write_json(folder / bundles.METRICS, figures)
    (folder / mlmodel.FILE).write_text(mlmodel.write())
    bundle = Bundle(
        folder=folder,
        model=dataset.model,
        use_case=dataset.use_case,
        candidate=fitted.candidate,
        schema=schema,
        provenance={"dataset": dataset.version, "seed": seed, "libraries": versions(), **provenance},
    )
    (folder / bundles.CARD).write_text(card.write(bundle, fitted.use_case, dataset, figures, golden))
    return bundles.seal(bundle)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that made a model."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _prove(
    pipeline: Pipeline, dataset: Dataset, X: Any, content: bytes, rows: int, seed: int
) -> tuple[dict[str, Parity], bytes | str]:
    """Return the parity of the graph and of the table, and the proved table or why there is none."""
    scorers = {"onnx": score.onnx(content)}
    folded = _fold(pipeline, dataset)
    if isinstance(folded, bytes):
        try:
            scorers["table"] = score.table(folded)
        except ImportError:
            folded = "the C extension is not built here, so the table could not be proved"
    proofs = parity.prove(pipeline, dataset.schema, X[:FIT_ROWS], scorers, rows=rows, seed=seed)
    if "table" in proofs and not proofs["table"].proven:
        folded = "it did not answer what the pipeline answers"
    return proofs, folded


def _fold(pipeline: Pipeline, dataset: Dataset) -> bytes | str:
    try:
        return bytes(table.compile(pipeline, dataset.schema))
    except table.NotFoldable as error:
        return str(error)


def _figures(fitted: Fitted, dataset: Dataset, proofs: Mapping[str, Parity], table: bytes | str) -> dict[str, Any]:
    """Return the content of metrics.json before evaluation."""
    best = fitted.search.best
    target = dataset.schema.target
    X, y = dataset.load("validation")
    scores = aligned(dataset.schema, fitted.pipeline, score.fitted(fitted.pipeline)(X))
    figures: dict[str, Any] = {
        "fitted_rows": fitted.rows,
        "metric": fitted.search.metric,
        "parameters": dict(best.parameters),
        "cross_validation": {
            "mean": {name: best.mean(name) for name in metrics.names(target)},
            "deviation": {name: best.deviation(name) for name in metrics.names(target)},
            "folds": [dict(fold) for fold in best.folds],
            "rows": len(best.held_out),
        },
        "validation": metrics.compute(target, y, scores),
        "parity": {name: {**asdict(proof), "proven": proof.proven} for name, proof in proofs.items()},
    }
    if isinstance(table, str):
        figures["table_absent"] = table
    return figures
