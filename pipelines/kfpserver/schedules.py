"""Schedules on a KFP server (its recurring runs). KFP cannot change one, so a change makes a new one and then removes
the old one, whose runs stay and whose running run goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.kfpserver.connection import Server, absent, create_once, items, named
from pipelines.kfpserver.runs import Wanted, configuration, experiment, reference
from pipelines.kfpserver.triggers import Trigger
from pipelines.kfpserver.uploads import Uploaded

ORPHAN = "ORPHAN"
"""Deletes a schedule without the workflows it started; the server's default would end a run that is under way."""
MAX_CONCURRENCY = 1


@dataclass(frozen=True)
class Schedule:
    """A schedule as the server has it.

    Attributes:
        version: Id of the pipeline's version that it runs.
    """

    identifier: str
    name: str
    trigger: Trigger
    enabled: bool
    version: str
    service_account: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pipeline_root: str = ""
    experiment: str = ""
    max_concurrency: int = MAX_CONCURRENCY
    no_catchup: bool = True
    error: str = ""

    def does(self, other: Schedule) -> bool:
        """Return whether another one does the same, paused or not."""
        return self._content() == other._content()

    def _content(self) -> tuple[Any, ...]:
        settings = (self.service_account, self.pipeline_root, self.max_concurrency, self.no_catchup)
        return (self.trigger, self.version, dict(self.parameters), self.experiment, *settings)


@dataclass(frozen=True)
class Change:
    """What setting a schedule did.

    Attributes:
        replaced: Ids of those that are gone.
    """

    schedule: Schedule
    fresh: bool
    replaced: tuple[str, ...]


def put(
    server: Server, name: str, uploaded: Uploaded, trigger: Trigger, wanted: Wanted, *, catch_up: bool = False
) -> Change:
    """Make a schedule be as wanted, and the only one of its name.

    The new one exists before an old one goes, so that dying in between leaves one too many rather than none; the next
    call removes it. A paused schedule stays paused.
    """
    old = of_name(server, name)
    goal = Schedule(
        identifier="",
        name=name,
        trigger=trigger,
        enabled=all(schedule.enabled for schedule in old[:1]),
        version=uploaded.version,
        service_account=wanted.service_account,
        parameters=wanted.parameters,
        pipeline_root=wanted.pipeline_root,
        experiment=experiment(server, wanted.experiment),
        no_catchup=not catch_up,
    )
    kept = next((schedule for schedule in old if schedule.does(_as_run_by(goal, schedule))), None)
    current = kept or _create(server, goal, uploaded, wanted)
    gone = tuple(schedule.identifier for schedule in old if schedule.identifier != current.identifier)
    for identifier in gone:
        _delete(server, identifier)
    return Change(current, kept is None, gone)


def of_name(server: Server, name: str) -> list[Schedule]:
    """Return the schedules of a name, newest first: one, or more after a change that died half way."""
    return [schedule for schedule in _list(server, filter=named(name)) if schedule.name == name]


def everything(server: Server) -> list[Schedule]:
    """Return all schedules, newest first."""
    return _list(server)


def remove(server: Server, found: Iterable[Schedule]) -> None:
    """Delete schedules; runs that they started go on and stay in the history."""
    for schedule in found:
        _delete(server, schedule.identifier)


def pause(server: Server, found: Iterable[Schedule]) -> None:
    """Start no more runs until `resume`."""
    for schedule in found:
        server.service("RecurringRun").recurring_run_service_disable_recurring_run(schedule.identifier)


def resume(server: Server, found: Iterable[Schedule]) -> None:
    """Start runs again, from the next time on."""
    for schedule in found:
        server.service("RecurringRun").recurring_run_service_enable_recurring_run(schedule.identifier)


def _as_run_by(goal: Schedule, found: Schedule) -> Schedule:
    """Return the goal with what the server fills in by itself where nothing was asked for."""
    from dataclasses import replace

    return goal if goal.service_account else replace(goal, service_account=found.service_account)


def _create(server: Server, goal: Schedule, uploaded: Uploaded, wanted: Wanted) -> Schedule:
    import kfp_server_api  # type: ignore[import-untyped]

    order = secrets.token_hex(6)  # tells this request's schedule from others of the same name
    body = kfp_server_api.V2beta1RecurringRun(
        display_name=goal.name,
        description=f"{uploaded.name}, {goal.trigger} (order {order})",
        experiment_id=goal.experiment,
        pipeline_version_reference=reference(uploaded),
        runtime_config=configuration(wanted),
        service_account=goal.service_account or None,
        trigger=goal.trigger.message(),
        mode="ENABLE" if goal.enabled else "DISABLE",
        max_concurrency=str(goal.max_concurrency),
        no_catchup=goal.no_catchup,
    )
    service = server.service("RecurringRun")

    def find() -> Any:
        found = _fetch(server, filter=named(goal.name))
        return next((item for item in found if item.description == body.description), None)

    return _schedule(create_once(lambda: service.recurring_run_service_create_recurring_run(body), find))


def _delete(server: Server, identifier: str) -> None:
    service = server.service("RecurringRun")
    absent(lambda: service.recurring_run_service_delete_recurring_run(identifier, propagation_policy=ORPHAN))


def _list(server: Server, **query: Any) -> list[Schedule]:
    return [_schedule(item) for item in _fetch(server, **query)]


def _fetch(server: Server, **query: Any) -> list[Any]:
    extra: dict[str, Any] = {"namespace": server.namespace} if server.namespace else {}
    fetch = server.service("RecurringRun").recurring_run_service_list_recurring_runs
    return items(fetch, "recurring_runs", sort_by="created_at desc", **extra, **query)


def _schedule(item: Any) -> Schedule:
    version = item.pipeline_version_reference
    runtime = item.runtime_config
    return Schedule(
        identifier=item.recurring_run_id,
        name=item.display_name or "",
        trigger=Trigger.of(item.trigger),
        enabled=item.status == "ENABLED",
        version=(version.pipeline_version_id if version else "") or "",
        service_account=item.service_account or "",
        parameters=dict(runtime.parameters or {}) if runtime else {},
        pipeline_root=(runtime.pipeline_root if runtime else "") or "",
        experiment=item.experiment_id or "",
        max_concurrency=int(item.max_concurrency or MAX_CONCURRENCY),
        no_catchup=bool(item.no_catchup),
        error=str(item.error.message) if item.error and item.error.message else "",
    )
