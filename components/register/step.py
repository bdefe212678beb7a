"""Turns an accepted winner into a registered version."""

from __future__ import annotations

import logging
from pathlib import Path

from components import registry, settings, tracking
from components.models import mlmodel
from components.registry import Version
from serving import bundle as bundles

logger = logging.getLogger(__name__)


def register(winner: Path, run: str) -> Version:
    """Publish a bundle to S3, register it in MLflow and return the version; what is registered already stays as it is.

    Args:
        run: The pipeline's run id.

    Raises:
        BundleError: The winner is not a whole bundle.
    """
    current = settings.read()
    bundle = bundles.load(winner)
    version = registry.publish(current, bundle, run)
    if not version.new:
        _point(current, bundle, version, run)
        logger.info("%s is version %s already: the same model of the same data", version.model, version.number)
        return version
    _describe(current, bundle, version, run)
    logger.info("registered %s version %s at %s", version.model, version.number, version.uri)
    return version


def _point(current: settings.Settings, bundle: bundles.Bundle, version: Version, run: str) -> None:
    """Say in the MLflow run which version its model is."""
    import mlflow

    with tracking.parent_run(current, bundle.model, run):
        mlflow.set_tags({"headrace.version": version.number, "headrace.verdict": "accepted, as registered before"})


def _describe(current: settings.Settings, bundle: bundles.Bundle, version: Version, run: str) -> None:
    """Put what a person looks for in the MLflow UI beside the version: signature, example, card."""
    import mlflow

    golden = bundle.json(bundles.GOLDEN)["requests"][0]
    card = bundle.path(bundles.CARD)
    with tracking.parent_run(current, bundle.model, run) as parent:
        mlflow.log_dict(mlmodel.signature(bundle.schema), f"version-{version.number}/signature.json")
        mlflow.log_dict({"instances": golden["instances"]}, f"version-{version.number}/input_example.json")
        if card is not None:
            mlflow.log_artifact(str(card), f"version-{version.number}")
        mlflow.set_tags({"headrace.version": version.number, "headrace.verdict": "accepted"})
        children = [str(bundle.provenance["mlflow_run"])] if "mlflow_run" in bundle.provenance else []
        tracking.adopt(current, parent, children)
    tracking.describe_version(current, version.model, version.number, card.read_text() if card else "")
