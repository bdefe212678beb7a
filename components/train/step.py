"""Fit one candidate: search its settings, refit the best, convert, prove, and write the bundle."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import dataset as datasets
from components import settings, tracking, use_cases
from components.errors import InputError
from components.models import assembly, contest, graph, metrics, parity
from components.models.assembly import Fitted
from components.models.search import FIT_ROWS, Search, sample, search
from components.reports import train_page

if TYPE_CHECKING:
    from components.dataset import Dataset
    from components.use_cases import UseCase
    from serving.bundle import Bundle

logger = logging.getLogger(__name__)

UNUSABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, ArithmeticError, np.linalg.LinAlgError)
"""What a candidate's own code raises whenever it is tried; what may pass (memory, the network) is tried again."""


def train(
    dataset: Path, candidate: str, bundle: Path, page: Path, seed: int = 42, parity_rows: int = parity.ROWS
) -> float:
    """Fit a candidate on the training split and write its bundle and its HTML page; everything is logged to MLflow.

    A candidate that cannot be fitted or converted is out: the folder of its bundle then says why, and so does its page.

    Returns:
        Its cross-validated score in the metric of the use case; more is better, and the least float where it is out.

    Raises:
        InputError: A class has no training row.
    """
    current = settings.read()
    data = datasets.read(dataset)
    use_case = use_cases.load(data.use_case)
    metric = metrics.chosen(use_case.gate.metric, data.schema.target)
    X, y = data.load("train")
    _check_classes(data, y)
    with tracking.candidate_run(current, data.model, candidate, data.version) as run:
        tracking.log_dataset(current, run, data, "train", "validation")
        try:
            found, fitted = _fit(use_case, candidate, data, X, y, metric, seed)
            provenance = {"mlflow_run": run, "code": current.code_version}
            written = assembly.write(fitted, data, bundle, seed=seed, provenance=provenance, parity_rows=parity_rows)
        except InputError:
            raise
        except UNUSABLE as error:
            logger.warning("%s of %s is out: %s", candidate, data.model, error, exc_info=True)
            return _out(candidate, f"{type(error).__name__}: {error}", bundle, page)
        plots = train_page.draw(fitted, data, written, seed)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(train_page.write(fitted, data, written, plots))
        _log(found, data, written, plots, page, seed)
    logger.info("%s of %s: cross-validated %s %.4f", candidate, data.model, metric, found.best.mean(metric))
    return found.score


def why_out(bundle: Path) -> str:
    """Return why there is no bundle in the folder of a candidate, empty when there is one."""
    absent = contest.absent(bundle)
    return absent.out if absent else ""


def _fit(
    use_case: UseCase, candidate: str, data: Dataset, X: Any, y: Any, metric: str, seed: int
) -> tuple[Search, Fitted]:
    """Return the search of a candidate and its pipeline, fitted with the setting that was chosen."""
    proposed = use_case.candidate(candidate)
    graph.check(proposed.build(data.schema, seed))
    found = search(proposed, data.schema, X, y, metric=metric, seed=seed)
    kept = sample(y, FIT_ROWS, data.schema.target, seed)
    pipeline = proposed.build(data.schema, seed).set_params(**found.best.parameters).fit(X[kept], y[kept])
    return found, Fitted(use_case, candidate, pipeline, found, len(kept))


def _out(candidate: str, reason: str, bundle: Path, page: Path) -> float:
    """Leave, in place of a bundle, why there is none: the other candidates of the run go on without this one."""
    import mlflow

    mlflow.set_tag(tracking.OUT_TAG, reason[:5_000])
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    (bundle / contest.OUT).write_text(json.dumps({"candidate": candidate, "out": reason}))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(train_page.out(candidate, reason))
    return -sys.float_info.max


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
