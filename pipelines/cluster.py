"""The verbs that talk to a KFP server: submit, schedule, runs, logs.

Exit codes are those of the other verbs: 0 succeeded, 1 failed, 2 wrong input, 3 finished but not accepted, 130 stopped
following with Ctrl-C (the run goes on).
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from components.errors import InputError
from components.releases import ReleaseError
from pipelines import compiling
from pipelines.kfpserver import logs, orders, runs, schedules, triggers, uploads
from pipelines.kfpserver.connection import Access, KfpError, Pace, Server, connect
from pipelines.kfpserver.runs import RunState

FAILURE, INTERRUPTED = 1, 130
DEFAULT_HOST = "http://localhost:8888"
Verb = Callable[[argparse.Namespace, Path], int]
Verbs = argparse._SubParsersAction


def add_verbs(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to the command line."""
    _add_submit(verbs)
    _add_schedule(verbs)
    listed = verbs.add_parser("runs", help="list the runs of a KFP server, or watch or end one of them")
    listed.add_argument("run", nargs="?", metavar="RUN", help="id of a run, its beginning, its name, or last")
    listed.add_argument("--follow", action="store_true", help="show what it does until it ends")
    listed.add_argument("--terminate", action="store_true", help="end it; with --follow, only on Ctrl-C")
    listed.add_argument("--experiment", default="", metavar="NAME", help="only the runs of this experiment")
    listed.add_argument("--limit", type=int, default=20, metavar="N", help="how many [20]")
    _add_server(listed, _runs)
    logged = verbs.add_parser("logs", help="show the tasks of a run on a KFP server, their errors and logs")
    logged.add_argument("run", metavar="RUN", help="id of a run, its beginning, its name, or last")
    logged.add_argument("task", nargs="?", metavar="TASK", help="only this task, with its log")
    _add_server(logged, _logs)


def access(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Access:
    """Return where the server is and who we are; the variables are those that the KFP SDK knows, and one for a token.

    A token is never an option: command lines are visible to everybody on a machine.
    """
    if not options.poll > 0:
        raise InputError(f"--poll {options.poll}: expected a number of seconds above 0")
    token_file = options.token_file or environment.get("KF_PIPELINES_SA_TOKEN_PATH")
    return Access(
        host=options.host or environment.get("KF_PIPELINES_ENDPOINT") or DEFAULT_HOST,
        namespace=options.namespace,
        token=environment.get("HEADRACE_KFP_TOKEN", ""),
        token_file=Path(token_file) if token_file else None,
        ca=options.ca,
        ui=environment.get("KF_PIPELINES_UI_ENDPOINT", ""),
        pace=Pace(poll=options.poll),
    )


def _add_server(parser: argparse.ArgumentParser, verb: Verb) -> None:
    server = parser.add_argument_group("server")
    server.add_argument("--host", metavar="URL", help=f"of the KFP API [$KF_PIPELINES_ENDPOINT, {DEFAULT_HOST}]")
    server.add_argument("--namespace", default="", metavar="NAME", help="yours, where KFP serves several")
    server.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token; without it, $HEADRACE_KFP_TOKEN")
    server.add_argument("--ca", type=Path, metavar="FILE", help="certificate authorities of the server, PEM")
    server.add_argument("--poll", type=float, default=5.0, metavar="SECONDS", help="between two looks at a run [5]")
    parser.set_defaults(verb=lambda options, home: _told(verb, options, home))


def _told(verb: Verb, options: argparse.Namespace, home: Path) -> int:
    """Run a verb; what the server did not do ends it with its message."""
    try:
        return verb(options, home)
    except KfpError as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILURE


def _add_submit(verbs: Verbs[argparse.ArgumentParser]) -> None:
    submit = verbs.add_parser(
        "submit",
        help="run the training pipeline for a use case on a KFP server",
        description="Upload the pipeline if its content is new there, start a run, and follow it to its end.",
        epilog="examples: submit heart --host http://localhost:8888 · submit csv --source s3://data/churn.csv "
        "--target left --model churn --no-follow",
    )
    submit.add_argument("use_case", metavar="USE_CASE")
    orders.add_options(submit)
    _add_target(submit)
    submit.add_argument("--name", default="", metavar="NAME", help="of the run [the use case and the time]")
    submit.add_argument("--follow", action=argparse.BooleanOptionalAction, default=True, help="wait for the end [yes]")
    submit.add_argument("--timeout", type=float, metavar="MINUTES", help="follow no longer than this")
    submit.add_argument("--terminate", action="store_true", help="on Ctrl-C, end the run too")
    _add_server(submit, _submit)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", default="", metavar="NAME", help="[the use case]")
    parser.add_argument("--service-account", default="", metavar="NAME", help="of the run's pods [the server's]")
    parser.add_argument(
        "--pipeline-root",
        default=compiling.pipeline_root(),
        metavar="URI",
        help=f"where artifacts go [HEADRACE_PIPELINE_ROOT, or {compiling.ROOT}]",
    )


def _add_schedule(verbs: Verbs[argparse.ArgumentParser]) -> None:
    schedule = verbs.add_parser(
        "schedule",
        help="run the pipeline of a use case on a KFP server again and again",
        description="Create or change a schedule (one run at a time, missed times are not made up for), or handle it. "
        "Cron times are in the server's time zone, UTC unless its administrator changed it.",
        epilog="examples: schedule heart --cron '0 3 * * 1' · schedule heart --every 6h · schedule heart --pause",
    )
    schedule.add_argument("use_case", nargs="?", metavar="USE_CASE", help="every one, for --list")
    what = schedule.add_mutually_exclusive_group(required=True)
    what.add_argument("--cron", metavar="EXPRESSION", help="minute, hour, day of month, month, day of week; or @daily")
    what.add_argument("--every", metavar="INTERVAL", help="30m, 6h, 1d")
    what.add_argument("--list", action="store_true", help="show what is scheduled")
    what.add_argument("--remove", action="store_true", help="delete it; its runs stay")
    what.add_argument("--pause", action="store_true", help="start no more runs")
    what.add_argument("--resume", action="store_true", help="start runs again")
    schedule.add_argument("--name", default="", metavar="NAME", help="where a use case has several [the use case]")
    schedule.add_argument("--catch-up", action="store_true", help="make up for missed times, one by one")
    orders.add_options(schedule)
    _add_target(schedule)
    _add_server(schedule, _schedule)


def _submit(options: argparse.Namespace, home: Path) -> int:
    path = orders.pipeline(options, home)
    wanted = _wanted(options, path)
    _tell_canary(str(wanted.parameters.get("environment", "production")), _strategy(wanted))
    server = _server(options)
    uploaded = _upload(server, path)
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    identifier = runs.start(server, uploaded, options.name or f"{options.use_case}-{stamp}", wanted)
    _say(f"run {identifier} started: {server.page(f'runs/details/{identifier}')}")
    if not options.follow:
        return 0
    return _follow(server, identifier, options.terminate, options.timeout)


def _strategy(wanted: runs.Wanted) -> str:
    given = str(wanted.parameters.get("strategy", ""))
    return "" if given == "default" else given


def _tell_canary(environment: str, strategy: str) -> None:
    """Say, before anything runs, what a release to an environment asks of the cluster."""
    from components.releases import plans

    if (strategy or plans.strategy_of(environment)) == "canary":
        _say(
            f"environment {environment}: a version that replaces another goes out as a canary, which takes the Gateway "
            "API, Prometheus and requests to judge it by; --environment local replaces it at once"
        )


def _follow(server: Server, identifier: str, terminate: bool, minutes: float | None = None) -> int:
    """Show what a run does until it ends and return its exit code; Ctrl-C ends the showing."""
    try:
        run = runs.follow(server, identifier, _say, minutes * 60 if minutes else None)
    except KeyboardInterrupt:
        if terminate:
            runs.terminate(server, identifier)
            _say(f"run {identifier} is being ended")
        else:
            _say(f"stopped following; run {identifier} goes on: {server.page(f'runs/details/{identifier}')}")
            _say(f"python -m pipelines runs {identifier} --follow follows it again, --terminate ends it")
        return INTERRUPTED
    _say(_closing(run))
    return run.exit_code


def _closing(run: RunState) -> str:
    if run.exit_code == runs.NOT_ACCEPTED:
        return (
            "the winner was not accepted and the champion, if there is one, goes on serving: the verdict stands in "
            "the report of the task evaluate"
        )
    failed = [f"{task.name}: {task.error}" if task.error else task.name for task in run.tasks if task.state == "FAILED"]
    reason = "; ".join([*failed, *([run.error] if run.error else [])])
    return f"run {run.identifier} {run.state.lower()}{f' ({reason})' if reason else ''}"


def _schedule(options: argparse.Namespace, home: Path) -> int:
    if options.list:
        return _list_schedules(options)
    if options.use_case is None:
        raise InputError("name the use case whose schedule is meant; --list shows them")
    name = options.name or options.use_case
    if options.cron is None and options.every is None:
        return _handle(options, name)
    trigger = triggers.cron(options.cron) if options.cron is not None else triggers.every(options.every)
    path = orders.pipeline(options, home)
    wanted = _wanted(options, path)
    server = _server(options)
    change = schedules.put(server, name, _upload(server, path), trigger, wanted, catch_up=options.catch_up)
    state = "" if change.schedule.enabled else ", paused"
    _say(
        f"schedule {name}: {trigger}{state} ({change.schedule.identifier})"
        if change.fresh
        else f"schedule {name}: unchanged, {trigger}{state}"
    )
    for identifier in change.replaced:
        _say(f"removed {identifier}, which it replaces; its runs stay")
    return 0


def _handle(options: argparse.Namespace, name: str) -> int:
    """Pause, resume or remove a schedule."""
    server = _server(options)
    found = schedules.of_name(server, name)
    if not found:
        raise KfpError(f"nothing is scheduled as {name!r} at {server.access.host}: see schedule --list")
    act, done = next(
        (act, done)
        for chosen, act, done in (
            (options.pause, schedules.pause, "paused"),
            (options.resume, schedules.resume, "resumed"),
            (options.remove, schedules.remove, "removed; a run under way goes on and its runs stay"),
        )
        if chosen
    )
    act(server, found)
    _say(f"schedule {name}: {done}")
    return 0


def _list_schedules(options: argparse.Namespace) -> int:
    from pipelines.local.summary import table

    server = _server(options)
    name = options.name or options.use_case
    found = schedules.of_name(server, name) if name else schedules.everything(server)
    rows = [
        (item.name, str(item.trigger), "on" if item.enabled else "paused", item.identifier, item.error)
        for item in found
    ]
    for line in table(rows, ("SCHEDULE", "WHEN", "STATE", "ID", "")):
        _say(line)
    return 0


def _runs(options: argparse.Namespace, home: Path) -> int:
    server = _server(options)
    if options.run is None:
        return _list_runs(server, options)
    run = runs.find(server, options.run)
    if options.follow:
        return _follow(server, run.identifier, options.terminate)
    if options.terminate:
        runs.terminate(server, run.identifier)
        _say(f"run {run.identifier} is being ended")
        return 0
    for line in _tasks(run):
        _say(line)
    return run.exit_code if run.ended else 0


def _list_runs(server: Server, options: argparse.Namespace) -> int:
    from pipelines.local.summary import table

    if options.limit < 1:
        raise InputError(f"--limit {options.limit}: expected 1 or more")
    rows = [
        (
            run.identifier,
            run.name,
            run.state.lower(),
            _moment(run.created),
            _moment(run.finished),
            "schedule" if run.schedule else "",
            run.error,
        )
        for run in runs.newest(server, options.limit, options.experiment)
    ]
    for line in table(rows, ("RUN", "NAME", "STATE", "STARTED", "ENDED", "BY", "")):
        _say(line)
    return 0


def _logs(options: argparse.Namespace, home: Path) -> int:
    server = _server(options)
    run = runs.find(server, options.run)
    if options.task is None:
        for line in _tasks(run):
            _say(line)
        _say(f"logs of its pods, while they exist: {logs.command(server, run)}")
        return 0
    found = logs.pick(run, options.task)
    if not found:
        known = ", ".join(dict.fromkeys(task.name for task in run.tasks)) or "none has started"
        raise InputError(f"run {run.identifier} has no task {options.task!r}: choose one of {known}")
    texts = [logs.of_task(server, run, task) for task in found]
    why = ""
    if all(text is None for text in texts):
        try:
            texts = [logs.from_cluster(server, run, task) for task in found]
        except ReleaseError as error:
            why = f" ({error})"
    for task, text in zip(found, texts, strict=True):
        _say(f"{task.name} {task.state.lower()}{f': {task.error}' if task.error else ''}")
        if text is not None:
            _say(text.rstrip("\n"))
    if all(text is None for text in texts):
        _say(
            f"neither the KFP server nor the cluster of the kubeconfig has a log of it{why}; while its pods exist: "
            f"{logs.command(server, run)}"
        )
        return FAILURE
    return 0


def _tasks(run: RunState) -> list[str]:
    from pipelines.local.summary import table

    rows = [(task.name, task.state.lower(), task.error) for task in run.tasks]
    head = f"run {run.identifier} ({run.name}): {run.state.lower()}{f', {run.error}' if run.error else ''}"
    return [head, *table(rows, ("TASK", "STATE", ""))]


def _server(options: argparse.Namespace) -> Server:
    server = connect(access(options))
    if options.namespace and not server.multi_user:
        sys.stderr.write(f"note: {server.access.host} serves one namespace; --namespace is for kubectl lines only\n")
    return server


def _wanted(options: argparse.Namespace, path: Path) -> runs.Wanted:
    return runs.Wanted(
        experiment=options.experiment or options.use_case,
        parameters=orders.parameters(options, path),
        service_account=options.service_account,
        pipeline_root=options.pipeline_root,
    )


def _upload(server: Server, path: Path) -> uploads.Uploaded:
    uploaded = uploads.ensure(server, path)
    _say(f"pipeline version {uploaded.name} {'uploaded' if uploaded.fresh else 'is there already'}")
    return uploaded


def _moment(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
