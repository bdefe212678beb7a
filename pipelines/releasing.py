"""The verbs about what is served: rollback, status, history, diff, trace; on this machine, or on a cluster.

`--environment` chooses: `laptop`, or the name of a rendered manifest, for the cluster of the kubeconfig's context with
MLflow and S3 as the environment variables name them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.settings import Settings

LAPTOP = "laptop"
FAILURE = 1
Verb = Callable[[argparse.Namespace, Path], int]
Verbs = argparse._SubParsersAction


def add_verbs(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """Add the verbs of this module, and those of trials, to the command line."""
    from pipelines import trying

    back = add_verb(verbs, "rollback", _rollback, "serve an earlier version again, verified as at its release")
    back.add_argument("--to", default="", metavar="VERSION", help="[the one released before]")
    add_verb(verbs, "status", _status, "show what serves, since when, and whether it is what should")
    add_verb(verbs, "history", _history, "show what became of the versions of a model")
    differs = add_verb(verbs, "diff", _diff, "show what a version would change")
    differs.add_argument("version", metavar="VERSION")
    differs.add_argument("--against", default="", metavar="VERSION", help="on this machine: [the champion]")
    traced = add_verb(verbs, "trace", _trace, "show where a version came from, back to its data", what="MODEL|URL")
    traced.add_argument("version", nargs="?", default="", metavar="VERSION", help="[the one that serves]")
    traced.add_argument(
        "--request",
        default="",
        metavar="ID",
        help="x-request-id of an answer, or trace id of its request, to trace instead",
    )
    traced.add_argument("--logs", default="", metavar="PLACE", help="where it was logged: folder, file or s3:// prefix")
    trying.add_verbs(verbs)


def add_verb(
    verbs: Verbs[argparse.ArgumentParser], name: str, verb: Verb, text: str, what: str = "MODEL"
) -> argparse.ArgumentParser:
    """Add a verb about a model in an environment."""
    parser = verbs.add_parser(name, help=text)
    parser.add_argument("model", metavar=what)
    parser.add_argument(
        "--environment",
        default=LAPTOP,
        metavar="NAME",
        help="[laptop]; on a cluster local, production, …",
    )
    parser.set_defaults(verb=verb)
    return parser


@contextlib.contextmanager
def reached(options: argparse.Namespace, home: Path, *, store: bool = True) -> Iterator[Settings]:
    """Yield where MLflow and S3 are: the laptop's own, kept up meanwhile, or those of the environment variables.

    Args:
        store: Whether the object store is needed; what only looks at the registry starts none.

    Raises:
        InputError: There is no such environment, or nothing was ever registered on this laptop.
    """
    from components import settings
    from components.errors import InputError
    from components.releases import plans

    if options.environment != LAPTOP:
        if options.environment not in plans.environments():
            choice = ", ".join((LAPTOP, *plans.environments()))
            raise InputError(f"unknown environment {options.environment!r}: choose one of {choice}")
        yield settings.read()
        return
    from pipelines.local import database, services

    path = database.file_of(settings.read().tracking_uri)
    if path is not None and not path.is_file():
        raise InputError(f"nothing was ever released from {home}: python -m pipelines run does that")
    if not store:
        yield settings.read({"HEADRACE_HOME": str(home), **os.environ})
        return
    with services.running(home) as found:
        yield settings.read({**os.environ, **found})


def _rollback(options: argparse.Namespace, home: Path) -> int:
    from components.releases import history
    from pipelines import releases

    with reached(options, home) as known:
        if options.environment == LAPTOP:
            released = releases.rollback(known, options.model, options.to)
        else:
            released = history.rollback(known, options.model, options.environment, options.to)
    if not released.verified:
        say(
            f"{released.model} {released.version} was not accepted, the champion serves on: {_joined(released.reasons)}"
        )
        return FAILURE
    say(f"{released.model} {released.version} serves at {released.url}: {_joined(released.reasons)}")
    say(released.curl)
    return 0


def _status(options: argparse.Namespace, home: Path) -> int:
    """Show what serves; 1 when that is nothing, or not the champion."""
    from components.releases import history
    from pipelines import releases

    with reached(options, home, store=False) as known:
        if options.environment == LAPTOP:
            found = releases.served(known, options.model)
            say(f"champion  {found.champion or 'none'}")
            since = f" since {found.since}" if found.since else ""
            say(f"serving   {f'{found.version} at {found.url}{since}' if found.version else 'no server runs'}")
            return 0 if found.version and found.version == found.champion else FAILURE
        state = history.status(options.model)
    say(f"champion  {state.champion or 'none'}")
    share = f"in a {state.trial}" if state.trial else f"with {state.percent} %"
    say(f"canary    {f'{state.canary} {share}' if state.canary else 'none'}")
    say(f"endpoint  {state.url or 'none'}, {'ready' if state.ready else 'not ready'}")
    if state.releasing:
        say(f"releasing {state.releasing}")
    if state.last:
        reason = f": {state.last.reason}" if state.last.reason else ""
        say(f"last      {state.last.version} {state.last.outcome} {state.last.time}{reason}")
    return 0 if state.champion and state.ready else FAILURE


def _history(options: argparse.Namespace, home: Path) -> int:
    from components.releases import history
    from pipelines import releases
    from pipelines.local.summary import table

    with reached(options, home, store=False) as known:
        if options.environment == LAPTOP:
            from components import tracking
            from pipelines.local import registered

            champion = registered.champion(known, options.model)
            rows = [
                (
                    str(item.number),
                    "champion" if str(item.number) == champion else outcome,
                    _moment(item.created_ms),
                    item.tags.get(tracking.CANDIDATE_TAG, ""),
                    item.run,
                    reason,
                )
                for item, outcome, reason in releases.outcomes(known, options.model)
            ]
            head = ("VERSION", "STATE", "REGISTERED", "CANDIDATE", "RUN", "WHY")
        else:
            rows = [
                (entry.version, entry.outcome, entry.time, entry.strategy, entry.run, entry.reason)
                for entry in history.history(options.model)
            ]
            head = ("VERSION", "OUTCOME", "TIME", "STRATEGY", "RUN", "WHY")
    for line in table(rows, head):
        say(line)
    return 0


def _diff(options: argparse.Namespace, home: Path) -> int:
    from components.releases import history
    from pipelines import releases

    with reached(options, home) as known:
        if options.environment == LAPTOP:
            text = releases.diff(known, options.model, options.version, options.against)
        else:
            text = history.diff(known, options.model, options.version, options.environment)
    say(text.rstrip("\n") if text else "no difference")
    return 0


def _trace(options: argparse.Namespace, home: Path) -> int:
    from components.errors import InputError
    from components.releases import history
    from pipelines import releases

    with reached(options, home) as known:
        model, version = options.model, options.version
        if options.request:
            version = _answered(options, known)
        elif "://" in model:
            model, version = releases.at(options.model)
        elif not version and options.environment == LAPTOP:
            found = releases.served(known, model)
            version = found.version or found.champion
            if not version:
                raise InputError(f"model {model!r} has no champion: name a version")
        origin = history.trace(known, model, version)
        data = releases.dataset(known, model, origin.dataset)
    source = data.get("source", {})
    say(f"version   {origin.model} {origin.version}{', the champion' if origin.champion else ''}")
    say(f"bundle    {origin.uri}, SHA-256 {origin.digest}")
    say(f"run       {origin.run or 'unknown'}")
    say(f"data      {origin.dataset or 'unknown'}{_counted(data.get('rows', {}))}")
    if source:
        say(f"source    {source.get('location', '')}, SHA-256 {source.get('sha256', '')}, {source.get('licence', '')}")
    return 0


def _answered(options: argparse.Namespace, known: Settings) -> str:
    """Return the version that answered a request, and say when; of several answers, the last."""
    from components.releases import answers
    from components.releases.kube import connect

    if options.logs or options.environment == LAPTOP:
        server = known.home / "served" / options.model / "server.log"
        lines = answers.stored(known, options.logs or str(server))
    else:
        lines = answers.pods(connect(), options.model)
    found = answers.find(lines, options.request)
    for answer in found:
        say(f"request   {answer.id} answered {answer.status} by version {answer.version} at {answer.time}")
    return found[-1].version


def _counted(rows: dict[str, int]) -> str:
    return "".join(f", {count} rows {split}" for split, count in rows.items())


def _joined(reasons: tuple[str, ...]) -> str:
    return "; ".join(reasons) or "no reason given"


def _moment(milliseconds: int) -> str:
    from pipelines.local.summary import moment

    return moment(datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat())


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
