"""One run from start to end: checks, lock, services, tasks, record."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from components import settings
from components.errors import InputError, full_disk_told
from pipelines import ir, validation
from pipelines.local import database, graph, lock, record, seams, services
from pipelines.local.code import Code, Reader
from pipelines.local.engine import Engine, Stopped, TaskFailed
from pipelines.local.mirror import mirror
from pipelines.local.processes import ForkServer, Work
from pipelines.local.progress import Plain, Rich
from pipelines.local.record import Record, Run
from pipelines.local.signals import Interrupted, interruptible
from pipelines.local.slots import cores
from pipelines.local.tasks import Surroundings, TaskRunner

JOIN_SECONDS = 30.0
UNFIT = frozenset({"kfp", "kserve", "kubernetes", "grpc", "torch", "onnxruntime", "uvloop", "rich"})
"""Never loaded before a fork: they start threads, or only a cluster needs them."""
COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "mlflow": ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store", "boto3"),
    "matplotlib": ("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    "pandas": ("pyarrow.parquet",),
}
"""What a library loads only when it is used, and always is."""


@dataclass(frozen=True)
class Order:
    """What to run, and how.

    Attributes:
        resume: A run to go on with; its finished tasks are kept where nothing has changed.
        name: What the run is called, such as its use case; empty takes the pipeline's name.
    """

    compiled: ir.Compiled
    arguments: Mapping[str, Any]
    home: Path
    workers: int = field(default_factory=cores)
    resume: Run | None = None
    name: str = ""


def run(order: Order, show: Plain | Rich) -> Run:
    """Run a compiled pipeline and return its record; a failed task is in the record, not an exception.

    Raises:
        InputError: The pipeline, an argument or the environment cannot be used; or another run is under way.
        ServiceError: The object store does not start.
        Interrupted: A signal ended the run; everything it started is gone.
    """
    seams.check()
    compiled = order.compiled
    _check(order)
    identifier = order.resume.identifier if order.resume else _identifier(order.name or compiled.name)
    folder = order.home.absolute() / "runs" / identifier
    codes = _codes(compiled)
    with interruptible(), full_disk_told(order.home), lock.exclusive(order.home, identifier):
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "MPLBACKEND": "Agg", "MLFLOW_DISABLE_TELEMETRY": "true"}
        needs = {label: _preloaded(code) for label, code in codes.items()}
        preload = list(dict.fromkeys(module for label in _by_need(compiled) for module in needs[label]))
        log = folder / "logs" / "forkserver.log"
        with ForkServer(preload, environment, log) as server, services.running(order.home) as reached:
            version = _code_version(codes)
            known = {**environment, **reached, "HEADRACE_CODE_VERSION": version}
            kept = Record(_begin(order, compiled, identifier, folder, version), _secrets(compiled, known))
            around = Surroundings(
                compiled=compiled,
                folder=folder,
                server=server,
                environments=_environments(compiled, known),
                codes=codes,
                needs=needs,
                mirror=mirror(settings.read(known), identifier),
                earlier=dict(order.resume.tasks) if order.resume else {},
                trouble=partial(services.trouble, known),
            )
            return _walk(order, around, kept, show, known)


def _walk(order: Order, around: Surroundings, kept: Record, show: Plain | Rich, known: Mapping[str, str]) -> Run:
    """Run the graph in a thread of its own, so that signals reach this one."""
    runner = TaskRunner(around, kept, show)
    identifier = kept.run.identifier
    placeholders = {
        "{{$.pipeline_job_uuid}}": identifier,
        "{{$.pipeline_job_name}}": identifier,
    }
    engine = Engine(around.compiled, runner, placeholders, order.workers)
    outcome: list[str] = []
    finished = threading.Event()

    def work() -> None:
        try:
            _prepare_tracking(around, known)
            engine.run(order.arguments)
            outcome.append("")
        except Stopped:
            pass
        except Exception as error:
            outcome.append(kept.hide(str(error)))
        finally:
            finished.set()

    thread = threading.Thread(target=work, name="engine", daemon=True)
    try:
        with show.live():
            thread.start()
            finished.wait()
    except Interrupted:
        engine.stop()
        runner.stop()
        thread.join(JOIN_SECONDS)
        kept.end(record.STOPPED, "the run was stopped", runner.cpu_seconds)
        raise
    finally:
        shutil.rmtree(around.folder / "tmp", ignore_errors=True)
    error = outcome[0] if outcome else "the run ended without a result"
    return kept.end(record.FAILED if error else record.SUCCEEDED, error, runner.cpu_seconds)


def _check(order: Order) -> None:
    """Make sure that the pipeline can run here as it would in a cluster.

    Raises:
        InputError: It cannot, or an argument does not fit.
    """
    try:
        graph.defaults(order.compiled.spec.root, order.arguments)
    except ValueError as error:
        raise InputError(str(error)) from error
    reasons = [str(finding) for finding in validation.check(order.compiled) if finding.level != validation.ADVICE]
    if reasons:
        told = "\n  ".join(reasons)
        raise InputError(f"{order.compiled.name} cannot run here as it would in a cluster:\n  {told}")


def _begin(order: Order, compiled: ir.Compiled, identifier: str, folder: Path, version: str) -> Run:
    arguments = graph.defaults(compiled.spec.root, order.arguments)
    if order.resume is not None:
        return replace(order.resume, arguments=arguments, status=record.RUNNING, error="", code=version, folder=folder)
    return Run(
        identifier=identifier,
        pipeline=order.name or compiled.name,
        folder=folder,
        arguments=arguments,
        status=record.RUNNING,
        started=record.now(),
        code=version,
    )


def _identifier(name: str) -> str:
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _containers(compiled: ir.Compiled) -> dict[str, Any]:
    return {
        label: executor.container
        for label, executor in compiled.executors.items()
        if executor.WhichOneof("spec") == "container"
    }


def _codes(compiled: ir.Compiled) -> dict[str, Code]:
    reader = Reader()
    return {label: reader.read(container.command[-1]) for label, container in _containers(compiled).items()}


def _preloaded(code: Code) -> tuple[str, ...]:
    """Return what is loaded before a step is forked: the libraries it names, then our modules."""
    import sys

    found: dict[str, None] = {}
    for name in code.libraries:
        package = name.partition(".")[0]
        if package in sys.stdlib_module_names or package in UNFIT:
            continue
        found.setdefault(name)
        for companion in COMPANIONS.get(package, ()):
            found.setdefault(companion)
    return (*found, *code.modules)


def _by_need(compiled: ir.Compiled) -> list[str]:
    """Return the executors in an order in which their tasks may start."""
    order: list[str] = []

    def visit(component: Any) -> None:
        tasks, placed = dict(sorted(component.dag.tasks.items())), set[str]()
        while len(placed) < len(tasks):
            for name in [n for n in tasks if n not in placed and set(tasks[n].dependent_tasks) <= placed]:
                placed.add(name)
                inner = compiled.components[tasks[name].component_ref.name]
                if inner.WhichOneof("implementation") == "dag":
                    visit(inner)
                elif inner.executor_label not in order:
                    order.append(inner.executor_label)

    visit(compiled.spec.root)
    return [label for label in order if label in _containers(compiled)]


def _by_reference(compiled: ir.Compiled, label: str) -> Iterator[tuple[str, bool, bool]]:
    """Yield the variables an executor takes from a ConfigMap or a Secret: name, whether secret, whether optional."""
    if label in compiled.platform:
        config = compiled.platform[label]
        for is_secret, sources in ((False, config.config_map_as_env), (True, config.secret_as_env)):
            for source in sources:
                for pair in source.key_to_env:
                    yield pair.env_var, is_secret, source.optional


def _environments(compiled: ir.Compiled, known: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the environment of each executor: what it refers to, and nothing that only others refer to.

    Raises:
        InputError: A variable that is not optional has no value here.
    """
    labels = _containers(compiled)
    wanted = {label: list(_by_reference(compiled, label)) for label in labels}
    referred = {name for pairs in wanted.values() for name, _, _ in pairs}
    found = {}
    for label, container in labels.items():
        own = {name for name, _, _ in wanted[label]}
        for name, is_secret, optional in wanted[label]:
            if name not in known and not optional:
                kind = "Secret" if is_secret else "ConfigMap"
                raise InputError(f"{label}: {name} comes from a {kind} in the cluster and is not set here: export it")
        base = {name: value for name, value in known.items() if name not in referred - own}
        found[label] = {**base, **{item.name: item.value for item in container.env}}
    return found


def _secrets(compiled: ir.Compiled, known: Mapping[str, str]) -> list[str]:
    names = {name for label in _containers(compiled) for name, secret, _ in _by_reference(compiled, label) if secret}
    return [known[name] for name in sorted({*names, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}) if known.get(name)]


def _code_version(codes: Mapping[str, Code]) -> str:
    """Return the commit, or the release, with a hash of the code that really runs."""
    import hashlib

    given = os.environ.get("HEADRACE_CODE_VERSION")
    if given:
        return given
    digest = hashlib.sha256("".join(codes[label].digest for label in sorted(codes)).encode()).hexdigest()
    return f"{_commit() or 'unversioned'}-{digest[:12]}"


def _commit() -> str:
    """Return the commit of the project, empty where there is no git or no repository."""
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _prepare_tracking(around: Surroundings, known: Mapping[str, str]) -> None:
    """Make the tables of the local MLflow store before two steps try to."""
    path = database.file_of(known["MLFLOW_TRACKING_URI"])
    if path is None or path.exists() or not any("mlflow" in code.libraries for code in around.codes.values()):
        return
    document = {
        "inputs": {"parameterValues": {"path": str(path), "artifacts": f"s3://{known['HEADRACE_ARTIFACTS_BUCKET']}"}},
        "outputs": {"outputFile": str(around.folder / "tmp" / "database.json")},
    }
    log = around.folder / "logs" / "database.log"
    needs = ("mlflow", *COMPANIONS["mlflow"])
    around.server.start(
        Work("database", database.SOURCE, "create", document, dict(known), log, around.folder / "tmp" / "db", needs)
    )
    ended = around.server.wait("database")
    if ended is None or ended.code:
        reason = around.trouble() or (ended.error if ended else "") or "its process ended"
        raise TaskFailed(f"the MLflow store {path} could not be made: {reason} (see {log})")
