"""Fit one candidate: search its settings, refit the best, convert, prove, and write the bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import dataset as datasets
from components import settings, tracking, use_cases
from components.errors import InputError
from components.models import assembly, metrics, parity
from components.models.assembly import Fitted
from components.models.search import FIT_ROWS, Search, sample, search
from components.reports import train_page

if TYPE_CHECKING:
    from components.dataset import Dataset
    from serving.bundle import Bundle

logger = logging.getLogger(__name__)


def train(
    dataset: Path, candidate: str, bundle: Path, page: Path, seed: int = 42, parity_rows: int = parity.ROWS
) -> float:
    """Fit a candidate on the training split and write its bundle and its HTML page; everything is logged to MLflow.

    Returns:
        Its cross-validated score in the metric of the use case; more is better.

    Raises:
        InputError: A class has no training row.
    """
    current = settings.read()
    data = datasets.read(dataset)
    use_case = use_cases.load(data.use_case)
    proposed = use_case.candidate(candidate)
    metric = metrics.chosen(use_case.gate.metric, data.schema.target)
    X, y = data.load("train")
    _check_classes(data, y)
    with tracking.candidate_run(current, data.model, candidate, data.version) as run:
        found = search(proposed, data.schema, X, y, metric=metric, seed=seed)
        kept = sample(y, FIT_ROWS, data.schema.target, seed)
        pipeline = proposed.build(data.schema, seed).set_params(**found.best.parameters).fit(X[kept], y[kept])
        fitted = Fitted(use_case, candidate, pipeline, found, len(kept))
        provenance = {"mlflow_run": run, "code": current.code_version}
        written = assembly.write(fitted, data, bundle, seed=seed, provenance=provenance, parity_rows=parity_rows)
        plots = train_page.draw(fitted, data, seed)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(train_page.write(fitted, data, written, plots))
        _log(found, data, written, plots, page, seed)
    logger.info("%s of %s: cross-validated %s %.4f", candidate, data.model, metric, found.best.mean(metric))
    return found.score


def _check_classes(data: Dataset, y: Any) -> None:
    classes = data.schema.target.classes
    absent = [str(classes[position]) for position in range(len(classes)) if not np.any(y == position)]
    if absent:
        raise InputError(
            f"no training row has {data.schema.target.name} = {', '.join(absent)}: "
            "give more rows of it, or remove its rows from the data"
        )


def _log(found: Search, data: Dataset, bundle: Bundle, plots: dict[str, Any], page: Path, seed: int) -> None:
    """Write parameters, the figures of every fold of every setting, plots and the parity proof to the active run."""
    import mlflow

    figures = bundle.json("metrics.json")
    parameters = {name: str(value) for name, value in found.best.parameters.items()}
    mlflow.log_params({**parameters, "seed": seed, "dataset": data.version, "metric": found.metric})
    validation = {f"validation_{name}": value for name, value in figures["validation"].items() if value is not None}
    crossed = {f"cv_{name}": found.best.mean(name) for name in found.best.folds[0]}
    proofs = {
        f"parity_{name}_{key}": float(proof[key])
        for name, proof in figures["parity"].items()
        for key in ("flips", "max_difference")
        if proof[key] is not None
    }
    mlflow.log_metrics({**validation, **crossed, **proofs, "cv_score": found.score})
    for step, fold in enumerate(found.best.folds):
        mlflow.log_metrics({f"fold_{name}": value for name, value in fold.items()}, step=step)
    trials = [
        {
            "parameters": {k: str(v) for k, v in trial.parameters.items()},
            "rows": len(trial.held_out),
            "folds": trial.folds,
        }
        for trial in found.trials
    ]
    mlflow.log_dict({"metric": found.metric, "trials": trials}, "search.json")
    for name, figure in plots.items():
        mlflow.log_figure(figure, f"plots/{name}.png")
    mlflow.log_text(page.read_text(), "train.html")
    mlflow.log_artifact(str(bundle.folder / "card.md"))
