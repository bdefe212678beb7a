"""The other branch of the gate: nothing is published, and the run says so."""

from __future__ import annotations

import logging
from pathlib import Path

from components import dataset as datasets
from components import settings, tracking

logger = logging.getLogger(__name__)


def refuse(dataset: Path, run: str) -> str:
    """Mark the run's MLflow entry as refused and return the version that goes on serving.

    The reasons are in the verdict that evaluate wrote.

    Args:
        dataset: The data set folder of the run; it names the model.
        run: The pipeline's run id.

    Returns:
        The champion's version number, or an empty string when there is none yet.
    """
    import mlflow

    current = settings.read()
    model = datasets.read(dataset).model
    with tracking.parent_run(current, model, run):
        mlflow.set_tag("headrace.verdict", "refused")
    serving = tracking.champion(current, model) or ""
    logger.info("run %s of %s refused; version %s goes on serving", run, model, serving or "none")
    return serving
