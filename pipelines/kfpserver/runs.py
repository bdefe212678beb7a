"""Runs on a KFP server: start one, read its tasks, follow it to its end, tell what came of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from components.errors import InputError
from pipelines.kfpserver.connection import KfpError, Server, absent, create_once, items, named
from pipelines.kfpserver.uploads import Uploaded

ENDED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED", "ERROR"})
"""`kfp.Client.wait_for_run_completion` waits for ever on CANCELED."""
ACCEPTED, REFUSED = "deploy", "refuse"
"""The tasks that tell which branch ran."""
INNER = ("executor", "root")
"""Nodes of the workflow below a task, or above all of them."""
SEARCHED = 100
"""Runs looked through for the beginning of an id."""
SUCCESS, FAILURE, NOT_ACCEPTED = 0, 1, 3


@dataclass(frozen=True)
class TaskState:
    """A task of a run as the server reports it.

    Attributes:
        name: Of the task in the graph; several rounds of a loop are numbered from 0.
        nodes: Ids of the workflow's nodes right below it: of its attempts, or of what leads to them.
    """

    name: str
    state: str
    error: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunState:
    """A run as the server reports it.

    Attributes:
        schedule: Id of the recurring run that started it; empty when a person did.
    """

    identifier: str
    name: str
    state: str
    error: str = ""
    schedule: str = ""
    created: datetime | None = None
    finished: datetime | None = None
    tasks: tuple[TaskState, ...] = field(default_factory=tuple)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED

    @property
    def exit_code(self) -> int:
        """0 succeeded, 1 did not, 3 finished with a winner that was not accepted."""
        if self.state != "SUCCEEDED":
            return FAILURE
        done = {task.name for task in self.tasks if task.state == "SUCCEEDED"}
        return NOT_ACCEPTED if REFUSED in done and ACCEPTED not in done else SUCCESS


@dataclass(frozen=True)
class Wanted:
    """What to run.

    Attributes:
        parameters: As the pipeline declares them; what is missing takes its default.
        pipeline_root: Where artifacts go; empty takes the server's.
    """

    experiment: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    service_account: str = ""
    pipeline_root: str = ""


def experiment(server: Server, name: str) -> str:
    """Return the id of an experiment, created on first use."""
    found = find_experiment(server, name)
    if found is None:
        import kfp_server_api  # type: ignore[import-untyped]

        body = kfp_server_api.V2beta1Experiment(display_name=name, namespace=server.namespace)
        create = server.service("Experiment").experiment_service_create_experiment
        found = create_once(lambda: create(body), lambda: find_experiment(server, name))
    return str(found.experiment_id)


def find_experiment(server: Server, name: str) -> Any:
    """Return the experiment of a name, None when there is none."""
    fetch = server.service("Experiment").experiment_service_list_experiments
    extra: dict[str, Any] = {"namespace": server.namespace} if server.namespace else {}
    found = items(fetch, "experiments", filter=named(name), **extra)
    return next((item for item in found if item.display_name == name), None)


def start(server: Server, uploaded: Uploaded, name: str, wanted: Wanted) -> str:
    """Start a run and return its id; a lost answer does not start a second one, because its name is its own."""
    import kfp_server_api

    service = server.service("Run")
    where = experiment(server, wanted.experiment)
    body = kfp_server_api.V2beta1Run(
        experiment_id=where,
        display_name=name,
        pipeline_version_reference=reference(uploaded),
        runtime_config=configuration(wanted),
        service_account=wanted.service_account or None,
    )

    def find() -> Any:
        found = items(service.run_service_list_runs, "runs", experiment_id=where, filter=named(name))
        return next((run for run in found if run.display_name == name), None)

    return str(create_once(lambda: service.run_service_create_run(body), find).run_id)


def reference(uploaded: Uploaded) -> Any:
    """Return the API's name of a version."""
    import kfp_server_api

    return kfp_server_api.V2beta1PipelineVersionReference(
        pipeline_id=uploaded.pipeline, pipeline_version_id=uploaded.version
    )


def configuration(wanted: Wanted) -> Any:
    """Return the API's form of parameters and root."""
    import kfp_server_api

    return kfp_server_api.V2beta1RuntimeConfig(
        parameters=dict(wanted.parameters), pipeline_root=wanted.pipeline_root or None
    )


def read(server: Server, identifier: str, names: Collection[str] = ()) -> RunState:
    """Return what a run is doing.

    Args:
        names: Of its tasks, where they are known; else its pipeline is asked for.
    """
    run = server.service("Run").run_service_get_run(identifier)
    return state_of(run, names or task_names(_specification(server, run)))


def newest(server: Server, limit: int, experiment_name: str = "") -> list[RunState]:
    """Return the latest runs, newest first, without their tasks."""
    query: dict[str, Any] = {"sort_by": "created_at desc"}
    if experiment_name:
        found = find_experiment(server, experiment_name)
        if found is None:
            return []
        query["experiment_id"] = found.experiment_id
    elif server.namespace:
        query["namespace"] = server.namespace
    listed = items(server.service("Run").run_service_list_runs, "runs", limit, **query)
    return [state_of(run, frozenset()) for run in listed]


def find(server: Server, text: str) -> RunState:
    """Return the run of an id, of the only beginning of one that fits, or the newest one for `last`.

    Raises:
        InputError: There is none, or several.
    """
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        run = absent(lambda: read(server, text))
        if run is None:
            raise InputError(f"{server.access.host} has no run {text}: see python -m pipelines runs")
        return cast("RunState", run)
    known = newest(server, 1 if text == "last" else SEARCHED)
    fitting = known if text == "last" else [run for run in known if text == run.name or run.identifier.startswith(text)]
    if len(fitting) != 1:
        raise InputError(
            f"{len(fitting)} of the newest {SEARCHED} runs at {server.access.host} fit {text!r}: see python -m "
            "pipelines runs"
        )
    return read(server, fitting[0].identifier)


def terminate(server: Server, identifier: str) -> None:
    """Ask the server to end a run; the pods are gone some seconds later."""
    server.service("Run").run_service_terminate_run(identifier)


def follow(server: Server, identifier: str, tell: Callable[[str], None], seconds: float | None = None) -> RunState:
    """Return a run at its end, and tell each change on the way.

    A server that is gone for a while (restart, upgrade, network) does not end it: `Pace.outage` bounds how long.

    Raises:
        KfpError: The server is gone for too long, or the run takes longer than it may. The run goes on.
    """
    pace = server.access.pace
    began = heard = time.monotonic()
    told: dict[str, str] = {}
    names: Collection[str] = ()
    while True:
        try:
            run = read(server, identifier, names)
            heard = time.monotonic()
        except KfpError as error:
            if error.status in (400, 401, 403, 404) or time.monotonic() - heard > pace.outage:
                raise KfpError(f"lost sight of run {identifier}, which goes on: {error}", error.status) from error
            tell(f"the server does not answer, trying on: {error}")
        else:
            _tell_changes(run, told, tell)
            if run.ended:
                return run
        if seconds is not None and time.monotonic() - began > seconds:
            raise KfpError(f"run {identifier} has not ended after {seconds:.0f} s; it goes on")
        time.sleep(pace.poll)


def _tell_changes(run: RunState, told: dict[str, str], tell: Callable[[str], None]) -> None:
    for task in run.tasks:
        if told.get(task.name) != task.state:
            told[task.name] = task.state
            tell(f"{task.name:<12} {task.state.lower()}{': ' + task.error if task.error else ''}")
    if run.state in ("PAUSED", "CANCELING") and told.get("") != run.state:
        tell(f"the run is {run.state.lower()}")
    told[""] = run.state


def task_names(specification: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of a pipeline's tasks that run as pods, in all its graphs."""
    specification = specification.get("pipeline_spec", specification)
    components = specification.get("components", {})
    graphs = [specification.get("root", {}), *components.values()]
    return frozenset(
        name
        for graph in graphs
        for name, task in graph.get("dag", {}).get("tasks", {}).items()
        if "executorLabel" in components.get(task.get("componentRef", {}).get("name", ""), {})
    )


def state_of(run: Any, names: Collection[str]) -> RunState:
    """Return the API's run as ours.

    Args:
        names: Of its tasks; without them, every node of the workflow counts that does not look like its machinery.
    """
    details = (run.run_details.task_details if run.run_details else None) or []
    return RunState(
        identifier=run.run_id,
        name=run.display_name or run.run_id,
        state=run.state or "PENDING",
        error=_error(run),
        schedule=run.recurring_run_id or "",
        created=run.created_at,
        finished=run.finished_at if run.finished_at and run.finished_at.year > 1970 else None,
        tasks=_tasks(details, names, "SKIPPED" if run.state in ENDED else "PENDING"),
    )


def _tasks(details: list[Any], names: Collection[str], stateless: str) -> tuple[TaskState, ...]:
    """Return the tasks among the nodes of a workflow, in the order in which they began.

    Args:
        stateless: State of those that have none: not yet, or left out because something before them failed.
    """
    wanted = [detail for detail in details if _is_task(detail.display_name or "", names)]
    wanted.sort(key=lambda detail: (_begun(detail), detail.display_name))
    counts: dict[str, int] = {}
    for detail in wanted:
        counts[detail.display_name] = counts.get(detail.display_name, 0) + 1
    seen: dict[str, int] = {}
    found = []
    for detail in wanted:
        name = detail.display_name
        number = seen[name] = seen.get(name, -1) + 1
        below = [child.pod_name for child in detail.child_tasks or [] if child.pod_name]  # node ids, whatever the name
        found.append(
            TaskState(
                f"{name}[{number}]" if counts[name] > 1 else name,
                detail.state if detail.state not in (None, "", "RUNTIME_STATE_UNSPECIFIED") else stateless,
                _error(detail),
                tuple(dict.fromkeys(below)),
            )
        )
    return tuple(found)


def _begun(detail: Any) -> datetime:
    """Return when a task began; KFP gives all of a run the run's own time of creation."""
    found = detail.start_time or detail.create_time
    return found if found is not None and found.year > 1970 else datetime.max.replace(tzinfo=UTC)


def _is_task(name: str, names: Collection[str]) -> bool:
    if names:
        return name in names
    return bool(name) and not name.endswith((")", "-driver")) and not name.startswith(INNER)


def _error(item: Any) -> str:
    """Return the reason in a run or a task, from its error or the last one of its history."""
    errors = [item.error, *(status.error for status in reversed(item.state_history or []))]
    return next((str(error.message).strip() for error in errors if error and error.message), "")


def _specification(server: Server, run: Any) -> Mapping[str, Any]:
    """Return the pipeline of a run: its own copy, or its version's; empty when that is gone."""
    if run.pipeline_spec:
        return dict(run.pipeline_spec)
    where = run.pipeline_version_reference
    if where is None or not where.pipeline_version_id:
        return {}
    try:
        version = server.service("Pipeline").pipeline_service_get_pipeline_version(
            where.pipeline_id, where.pipeline_version_id
        )
    except KfpError as error:
        if error.status is None or error.status >= 500:
            raise
        return {}
    return dict(version.pipeline_spec or {})
