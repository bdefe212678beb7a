"""THE training graph, for every use case: from a table to a released version.

ingest > validate, profile > train x candidates > evaluate > register > deploy, or refuse.
"""

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from components.deploy.component import deploy
from components.evaluate.component import evaluate
from components.ingest.component import ingest
from components.profile.component import profile
from components.refuse.component import refuse
from components.register.component import register
from components.train.component import train
from components.use_cases import UseCase
from components.validate.component import validate

CONFIG = "headrace"
"""The ConfigMap with the endpoints and buckets; its keys are the environment variables of components.settings."""
SECRET = "headrace-s3"  # noqa: S105 - the name of a Secret, not its content
CONFIG_KEYS = (
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_TRACKING_URI",
    "HEADRACE_MODELS_BUCKET",
    "HEADRACE_DATASETS_BUCKET",
    "HEADRACE_ARTIFACTS_BUCKET",
    "HEADRACE_CODE_VERSION",
)
SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PARALLEL_CANDIDATES = 2


@dataclass(frozen=True)
class Needs:
    """What a step asks of its pod.

    Attributes:
        cpu: Cores requested; the limit is the same, so that a search does not count cores it cannot use.
        retries: Attempts after the first, against faults that pass.
        cached: Whether the same inputs may take the outputs of an earlier run; never where the outside world is read
            or changed.
        store: Whether it talks to S3 or MLflow itself.
    """

    cpu: str
    memory: str
    memory_limit: str
    minutes: int
    retries: int = 1
    cached: bool = True
    store: bool = True


NEEDS = {
    "ingest": Needs("1", "1Gi", "4Gi", minutes=30, retries=2, cached=False),
    "validate": Needs("500m", "512Mi", "2Gi", minutes=15, cached=False),
    "profile": Needs("500m", "512Mi", "2Gi", minutes=15, store=False),
    "train": Needs("2", "2Gi", "4Gi", minutes=120),
    "evaluate": Needs("1", "1Gi", "4Gi", minutes=60, cached=False),
    "register": Needs("250m", "512Mi", "1Gi", minutes=15, retries=3, cached=False),
    "deploy": Needs("250m", "512Mi", "1Gi", minutes=45, retries=2, cached=False),
    "refuse": Needs("250m", "256Mi", "512Mi", minutes=10, retries=2, cached=False),
}


def build(use_case: UseCase) -> Any:
    """Return the training pipeline with the defaults of a use case."""

    def training(
        source: str = "",
        target: str = "",
        use_case: str = use_case.name,
        overrides: str = "{}",
        model: str = "",
        candidates: list = [candidate.name for candidate in use_case.candidates],  # type: ignore[type-arg]  # noqa: B006
        environment: str = "production",
        strategy: str = "",
        seed: int = use_case.seed,
    ) -> None:
        """Train, judge and release.

        Args:
            source: Where the data is (URL, s3:// address or path); empty takes the use case's own.
            target: Column to predict; empty takes the use case's own.
            use_case: Name of the use case - a file of components/use_cases.
            overrides: JSON object that replaces inferred properties of columns.
            model: Name under which the winner is registered and served; empty takes the use case's, or the file's.
            candidates: Which of the use case's models to fit.
            environment: Where an accepted winner is released - production, local, or laptop.
            strategy: How traffic moves - canary or rolling; empty takes what the environment says.
            seed: Seed of the split, the search and the models.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        ingested = ingest(use_case=use_case, source=source, target=target, overrides=overrides, model=model, seed=seed)
        data = ingested.outputs["data"]
        validated = validate(data=data)
        profiled = profile(data=data)
        with dsl.ParallelFor(items=candidates, parallelism=PARALLEL_CANDIDATES, name="candidates") as candidate:
            trained = train(data=data, candidate=candidate, seed=seed).after(validated)
        judged = evaluate(data=data, bundles=dsl.Collected(trained.outputs["bundle"]), run=run)
        with dsl.If(judged.outputs["Output"] == True, name="accepted"):  # noqa: E712 - it builds a condition
            registered = register(winner=judged.outputs["winner"], run=run)
            released = deploy(
                model=registered.outputs["model"],
                version=registered.outputs["version"],
                environment=environment,
                strategy=strategy,
            )
        with dsl.Else(name="refused"):
            refused = refuse(data=data, run=run)
        for task in (ingested, validated, profiled, trained, judged, registered, released, refused):
            _provide(task)

    if not use_case.columns and training.__defaults__:
        training.__defaults__ = training.__defaults__[2:]  # the person has to say which file and which column
    return dsl.pipeline(name=use_case.name, description=f"{use_case.title}. {use_case.description}")(training)


def _provide(task: Any) -> None:
    """Give a task what it needs: resources, time, retries, configuration and credentials by reference."""
    needs = NEEDS[task.name]
    task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu)
    task.set_memory_request(needs.memory).set_memory_limit(needs.memory_limit)
    task.set_retry(needs.retries, backoff_duration="10s", backoff_factor=2, backoff_max_duration="120s")
    task.set_caching_options(needs.cached)
    task.set_env_variable("OMP_NUM_THREADS", "1")
    kubernetes.set_timeout(task, needs.minutes * 60)
    kubernetes.set_security_context(task, run_as_non_root=True)
    kubernetes.use_config_map_as_env(task, CONFIG, {name: name for name in CONFIG_KEYS}, optional=True)
    if needs.store:
        kubernetes.use_secret_as_env(task, SECRET, {name: name for name in SECRET_KEYS})
