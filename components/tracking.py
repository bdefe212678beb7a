"""What we know about MLflow: runs of a pipeline and of its candidates, registered versions, and the champion.

The registered model of a use case has its name; the alias `champion` names the version that serves and moves only when
a release has been verified.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from components.dataset import Dataset, Split
    from components.settings import Settings

logger = logging.getLogger(__name__)

CHAMPION = "champion"
RUN_TAG = "headrace.run"
DATASET_TAG = "headrace.dataset"
CANDIDATE_TAG = "headrace.candidate"
OUT_TAG = "headrace.out"
DIGEST_TAG = "headrace.digest"
URI_TAG = "headrace.uri"
MODEL_TAG = "headrace.model"
TEST_TAG = "headrace.test."
"""Followed by the name of a figure of the test rows."""
RELEASE_TAG = "headrace.release."
"""Followed by an environment."""
RELEASED = "released"
PARENT_TAG = "mlflow.parentRunId"
KINDS = {"category": "string", "boolean": "boolean", "date": "string"}
"""MLflow's types of columns; all others are numbers."""
PARAM_CHARACTERS = 500
DIGEST_CHARACTERS = 36
"""As long as MLflow lets the digest of a data set be."""
SHOWN_COLUMNS = 500
"""Of wider tables MLflow is told no schema: it keeps 64 kB of it."""


@dataclass(frozen=True)
class Registered:
    """A version of a model in the registry.

    Attributes:
        number: As MLflow counts it, from 1.
        uri: Where its bundle is published.
        digest: SHA-256 of its bundle.json.
    """

    model: str
    number: int
    uri: str
    digest: str
    run: str
    created_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """The version of the data it was trained on."""
        return self.tags.get(DATASET_TAG, "")

    @property
    def figures(self) -> dict[str, float]:
        """What it reached on its test rows."""
        return {
            name.removeprefix(TEST_TAG): float(value) for name, value in self.tags.items() if name.startswith(TEST_TAG)
        }

    @property
    def released(self) -> bool:
        """Whether it has been released and verified in any environment, and taken back in none."""
        said = [value for name, value in self.tags.items() if name.startswith(RELEASE_TAG) and name.count(".") == 2]
        return bool(said) and set(said) == {RELEASED}


def client(settings: Settings) -> MlflowClient:
    """Return a client of the tracking server or local store, which also becomes MLflow's default."""
    import mlflow

    if mlflow.get_tracking_uri() != settings.tracking_uri:
        mlflow.set_tracking_uri(settings.tracking_uri)
    return mlflow.MlflowClient(tracking_uri=settings.tracking_uri)


def experiment(settings: Settings, model: str) -> str:
    """Return the id of the experiment of a model, created on first use.

    On the local store its artifacts go to S3 like everything else; a tracking server decides for itself.
    """
    from mlflow.exceptions import MlflowException

    store = client(settings)
    found = store.get_experiment_by_name(model)
    if found is None:
        local = settings.tracking_uri.startswith("sqlite:")
        location = f"s3://{settings.artifacts_bucket}/mlflow/{model}" if local and settings.s3_endpoint else None
        try:
            return str(store.create_experiment(model, artifact_location=location))
        except MlflowException:
            found = store.get_experiment_by_name(model)  # another step was first
            if found is None:
                raise
    return str(found.experiment_id)


@contextlib.contextmanager
def candidate_run(settings: Settings, model: str, candidate: str, dataset_version: str) -> Iterator[str]:
    """Open the MLflow run of one candidate's training, KFP's own or a new one; inside, `mlflow.log_*` writes to it.

    Yields:
        The run id.
    """
    import mlflow

    tags = {CANDIDATE_TAG: candidate, DATASET_TAG: dataset_version, **_origin(settings, "train")}
    identifier, given = experiment(settings, model), _injected(settings)
    with mlflow.start_run(run_id=given, experiment_id=identifier, run_name=candidate, tags=tags) as active:
        yield str(active.info.run_id)


@contextlib.contextmanager
def parent_run(settings: Settings, model: str, run: str, children: Iterable[str] = ()) -> Iterator[str]:
    """Open the MLflow run of a whole pipeline run: the one KFP's plugin made, one found by tag, or a new one.

    Args:
        run: The pipeline's run id; the same id always leads to the same MLflow run.
        children: Runs of its candidates: a new run has lasted since the first of them began.
    """
    import mlflow

    identifier, given = experiment(settings, model), _injected(settings)
    found = _top(settings, given) if given else _find(client(settings), identifier, run)
    if found:
        with mlflow.start_run(run_id=found) as active:
            mlflow.set_tag(RUN_TAG, run)
            yield str(active.info.run_id)
        return
    tags = {RUN_TAG: run, **_origin(settings, "evaluate")}
    made = client(settings).create_run(identifier, _begun(settings, children), tags, run)
    with mlflow.start_run(run_id=made.info.run_id) as active:
        yield str(active.info.run_id)


def _origin(settings: Settings, step: str) -> dict[str, str]:
    """Return what MLflow shows as the source of a run: the step's code and its version, not the process it ran in."""
    return {
        "mlflow.source.name": f"components/{step}/step.py",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": settings.code_version,
        "headrace.code": settings.code_version,
    }


def _begun(settings: Settings, runs: Iterable[str]) -> int | None:
    """Return when the first of some runs began, in milliseconds since the epoch; None without any that is known."""
    from mlflow.exceptions import MlflowException

    found = []
    for run in runs:
        with contextlib.suppress(MlflowException):
            found.append(int(client(settings).get_run(run).info.start_time))
    return min(found, default=None)


def log_dataset(settings: Settings, run: str, dataset: Dataset, *splits: Split) -> None:
    """Show in a run which data set it read, and which parts of it."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    schema = [{"name": column.name, "type": KINDS.get(column.kind, "double")} for column in dataset.schema.columns]
    entity = Entity(
        name=dataset.model,
        digest=dataset.version[:DIGEST_CHARACTERS],
        source_type="local" if "://" not in dataset.source["location"] else "s3",
        source=json.dumps({"uri": dataset.source["location"], "sha256": dataset.source["sha256"]}),
        schema=json.dumps({"mlflow_colspec": schema}) if len(schema) <= SHOWN_COLUMNS else None,
        profile=json.dumps({"num_rows": sum(dataset.rows[split] for split in splits), **dataset.rows}),
    )
    tags = [InputTag("mlflow.data.context", ", ".join(splits))]
    client(settings).log_inputs(run, [DatasetInput(entity, tags)])


def log_params(settings: Settings, run: str, values: Mapping[str, object]) -> None:
    """Write parameters of a run; those of an earlier attempt stay, since MLflow changes none."""
    store = client(settings)
    known = store.get_run(run).data.params
    for name, value in values.items():
        text = str(value)[:PARAM_CHARACTERS]
        if known.get(name, text) != text:
            logger.warning("parameter %s of the MLflow run %s stays %r; now it is %r", name, run, known[name], text)
        elif name not in known:
            store.log_param(run, name, text)


def _injected(settings: Settings) -> str | None:
    """Return the run that KFP's plugin made for this step; None without one, or when another MLflow has it."""
    import os

    from mlflow.exceptions import MlflowException

    given = os.environ.pop("MLFLOW_RUN_ID", None)  # mlflow would take it up by itself, wherever it is
    if not given:
        return None
    try:
        client(settings).get_run(given)
    except MlflowException as error:
        logger.warning("KFP's MLflow run %s is not used: %s has no such run (%s)", given, settings.tracking_uri, error)
        return None
    return given


def _top(settings: Settings, run: str) -> str:
    """Return the run that a run stands below, whatever is between: KFP's plugin makes one for each step."""
    store = client(settings)
    while above := store.get_run(run).data.tags.get(PARENT_TAG):
        run = above
    return run


def adopt(settings: Settings, parent: str, children: Iterable[str]) -> None:
    """Show runs of candidates below the run of their pipeline; one that has a parent keeps it."""
    store = client(settings)
    for child in children:
        if PARENT_TAG not in store.get_run(child).data.tags:
            store.set_tag(child, PARENT_TAG, parent)


def versions(settings: Settings, model: str) -> list[Registered]:
    """Return the registered versions of a model, oldest first; empty when there is no such model."""
    found = client(settings).search_model_versions(f"name='{model}'", max_results=10_000)
    return sorted((_registered(version) for version in found), key=lambda version: version.number)


def champion(settings: Settings, model: str) -> str | None:
    """Return the version number that serves, None before the first release."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client(settings).get_model_version_by_alias(model, CHAMPION).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def set_champion(settings: Settings, model: str, version: str) -> None:
    """Move the alias `champion`; call it only after a verified release."""
    client(settings).set_registered_model_alias(model, CHAMPION, version)


def create_version(
    settings: Settings, model: str, *, source: str, run: str | None, tags: Mapping[str, str], description: str
) -> int:
    """Register a version and return the number MLflow gave it."""
    from mlflow.exceptions import MlflowException

    store = client(settings)
    with contextlib.suppress(MlflowException):
        store.create_registered_model(model, tags={"headrace": "true"})
    created = store.create_model_version(model, source, run_id=run, tags=dict(tags), description=description)
    return int(created.version)


def delete_version(settings: Settings, model: str, number: int) -> None:
    """Remove a version again; MLflow never reuses its number."""
    client(settings).delete_model_version(model, str(number))


def tag_version(settings: Settings, model: str, version: str, tags: Mapping[str, str]) -> None:
    """Add tags to a version."""
    store = client(settings)
    for key, value in tags.items():
        store.set_model_version_tag(model, version, key, value)


def describe_version(settings: Settings, model: str, version: str, description: str) -> None:
    """Set the text a person reads beside a version; MLflow keeps up to 100,000 characters."""
    client(settings).update_model_version(model, version, description[:100_000])


def _find(store: MlflowClient, experiment_id: str, run: str) -> str | None:
    found = store.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _registered(version: Any) -> Registered:
    tags = dict(version.tags)
    return Registered(
        model=version.name,
        number=int(version.version),
        uri=tags.get(URI_TAG, str(version.source)),
        digest=tags.get(DIGEST_TAG, ""),
        run=tags.get(RUN_TAG, ""),
        created_ms=int(version.creation_timestamp),
        tags=tags,
    )
