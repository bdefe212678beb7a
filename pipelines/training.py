"""THE training graph, for every use case: from a table to a released version.

ingest > validate, profile > train x candidates > evaluate > register > deploy, or refuse.
"""

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from components import settings, use_cases
from components.deploy.component import deploy
from components.deploy.step import DEFAULT
from components.evaluate.component import evaluate
from components.ingest.component import ingest
from components.profile.component import profile
from components.refuse.component import refuse
from components.register.component import register
from components.releases import LAPTOP
from components.releases.plans import environments
from components.train.component import train
from components.validate.component import validate
from pipelines.compiling import pipeline_root

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
SOURCES = "headrace-sources"
"""A Secret that need not exist: keys of a store of one's own that `s3://` addresses of data name."""
SEED = 42
NAME = "headrace-training"
DESCRIPTION = "From a table to a released model: ingest, validate, profile, train, evaluate, register, deploy."
CHOICES = {
    "use_case": use_cases.names(),
    "environment": (*environments(), LAPTOP),
    "strategy": (DEFAULT, "canary", "rolling"),
}
"""Parameter -> the only values it takes: a list to choose from in the KFP UI, which cannot show an empty one."""


@dataclass(frozen=True)
class Needs:
    """What a step asks of its pod.

    Attributes:
        cpu: Cores requested: little, so that a node of two cores has room for the pipeline beside everything else.
        cpu_limit: Cores it may use where they are free; a search counts no more than these.
        retries: Attempts after the first, against faults that pass.
        cached: Whether the same inputs may take the outputs of an earlier run; never where the outside world is read
            or changed.
    """

    cpu: str
    cpu_limit: str
    memory: str
    memory_limit: str
    minutes: int
    retries: int = 1
    cached: bool = True


# Peak memory of a step in MB, by `python -m benchmarks.pipelines.memory`; about 270 of it are the libraries:
#
#             heart   iris  housing  100,000 rows x 20 columns
#   ingest      275    299      320      457
#   validate    298    296      334      374
#   profile     296    294      329      390
#   train       381    381      494    1,108   (the largest candidate)
#   evaluate    362    361      462    1,171
#   register    283    283      283      293
#   deploy      265    265      266      268
#
# Asked for is what the use cases take, and a limit leaves several times what the largest table took.
NEEDS = {
    "ingest": Needs("250m", "1", "384Mi", "4Gi", minutes=30, retries=2, cached=False),
    "validate": Needs("100m", "1", "384Mi", "2Gi", minutes=15, cached=False),
    "profile": Needs("100m", "1", "384Mi", "2Gi", minutes=15),
    "train": Needs("250m", "2", "640Mi", "4Gi", minutes=120),
    "evaluate": Needs("250m", "1", "640Mi", "4Gi", minutes=60, cached=False),
    "register": Needs("100m", "500m", "320Mi", "1Gi", minutes=15, retries=3, cached=False),
    # Longer than the patience of every step of a canary together (manifests/base/plan.yaml).
    "deploy": Needs("100m", "500m", "320Mi", "1Gi", minutes=240, retries=2, cached=False),
    "refuse": Needs("100m", "500m", "320Mi", "1Gi", minutes=10, retries=2, cached=False),
}


def build() -> Any:
    """Return the training pipeline; the values that CHOICES lists are the only ones it takes."""
    made = dsl.pipeline(name=NAME, description=DESCRIPTION, pipeline_root=pipeline_root())(training)
    for name, choices in CHOICES.items():
        # KFP 2.17 has such lists in its format, its server and its UI, and only its SDK lacks a way to write one.
        literals = made.pipeline_spec.root.input_definitions.parameters[name].literals
        for choice in choices:
            literals.add(string_value=choice)
    _gate(made.pipeline_spec.root.dag.tasks)
    return made


def _gate(tasks: Any) -> None:
    """Let the verdict decide which of the two branches runs.

    The condition stands at the step itself. KFP's SDK can only write `dsl.If`, a graph within the graph, and every
    such level costs one more driver pod and its turn in the workflow controller's queue; format, driver and compiler
    of KFP take a condition at any task (argocompiler/dag.go, driver/container.go at 2.17). What is skipped takes what
    depends on it along: without a version there is nothing to deploy.
    """
    for name, verdict in (("register", "true"), ("refuse", "false")):
        tasks[name].trigger_policy.condition = f"inputs.parameter_values['accepted'] == {verdict}"


def training(
    use_case: str = "heart",
    source: str = "",
    target: str = "",
    overrides: str = "{}",
    model: str = "",
    candidates: list[str] = [],  # noqa: B006 - KFP reads it, nobody writes to it
    environment: str = "production",
    strategy: str = DEFAULT,
    bar: str = "",
    seed: int = SEED,
) -> None:
    """Train, judge and release.

    Args:
        use_case: What is predicted from which data; csv is a table of your own, which needs a source and a target.
        source: Where the data is, a URL or an s3:// address; empty takes the use case's own.
        target: Column to predict; empty takes the use case's own.
        overrides: JSON object that replaces inferred properties of columns (csv only).
        model: Name under which the winner is registered and served; empty takes the use case's, or the file's.
        candidates: Which of the use case's models to fit, a list of names; empty fits all.
        environment: Where an accepted winner is released; laptop is for runs without a cluster.
        strategy: How traffic moves - default takes what the environment says.
        bar: Figures a winner must reach beside what the use case asks for, such as roc_auc>=0.8, ece<=0.1.
        seed: Seed of the split, the search and the models.
    """
    run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    ingested = ingest(
        use_case=use_case,
        source=source,
        target=target,
        overrides=overrides,
        model=model,
        candidates=candidates,
        bar=bar,
        seed=seed,
    )
    data = ingested.outputs["data"]
    validated = validate(data=data)
    profiled = profile(data=data)
    with dsl.ParallelFor(items=ingested.outputs["Output"], name="candidates") as one:  # all at once
        trained = train(data=data, candidate=one, seed=seed)
    bundles = dsl.Collected(trained.outputs["bundle"])
    judged = evaluate(data=data, bundles=bundles, run=run, bar=bar).after(
        validated
    )  # a failed validation ends the run there
    registered = register(winner=judged.outputs["winner"], run=run, accepted=judged.outputs["Output"])
    released = deploy(
        model=registered.outputs["model"],
        version=registered.outputs["version"],
        environment=environment,
        strategy=strategy,
    )
    refused = refuse(data=data, run=run, accepted=judged.outputs["Output"])
    for task in (ingested, validated, profiled, trained, judged, registered, released, refused):
        _provide(task)
    kubernetes.use_secret_as_env(ingested, SOURCES, {name: name for name in settings.SOURCE_NAMES}, optional=True)


def _provide(task: Any) -> None:
    """Give a task what it needs: resources, time, retries, configuration and credentials by reference."""
    needs = NEEDS[task.name]
    task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu_limit)
    task.set_memory_request(needs.memory).set_memory_limit(needs.memory_limit)
    task.set_retry(needs.retries, backoff_duration="10s", backoff_factor=2, backoff_max_duration="120s")
    task.set_caching_options(needs.cached)
    task.set_env_variable("OMP_NUM_THREADS", "1")
    kubernetes.set_timeout(task, needs.minutes * 60)
    kubernetes.set_security_context(task, run_as_non_root=True)
    kubernetes.use_config_map_as_env(task, CONFIG, {name: name for name in CONFIG_KEYS}, optional=True)
    kubernetes.use_secret_as_env(task, SECRET, {name: name for name in SECRET_KEYS})
