"""What a person is told about a run: at its end, and by `list` and `show`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.releases import LAPTOP, laptop
from pipelines.local import record
from pipelines.local.progress import line
from pipelines.local.tasks import pages_of

if TYPE_CHECKING:
    from pipelines.local.record import Run

SERVED, FAILED, BAD_INPUT, REFUSED = 0, 1, 2, 3


def exit_code(run: Run) -> int:
    """Return 0 when the winner serves, 3 when it was not accepted, 2 when a person's input was wrong, else 1."""
    if run.status != record.SUCCEEDED:
        wrong = any(task.exit_code == BAD_INPUT for task in run.tasks.values() if task.status == record.FAILED)
        return BAD_INPUT if wrong else FAILED
    judged = run.task("evaluate")
    return REFUSED if judged is not None and judged.parameters.get("Output") is False else SERVED


def closing(run: Run) -> list[str]:
    """Return the lines that end a run: the verdict and its reasons, the reports, the endpoint."""
    lines = [""]
    if run.status != record.SUCCEEDED:
        lines += [f"FAILED  {run.error}", "", f"  logs    {run.folder / 'logs'}"]
        if exit_code(run) == BAD_INPUT:
            return [*lines, "  again   correct the input, and start the run again"]
        return [*lines, f"  again   {again(run)}"]
    lines += _verdict(run)
    lines += ["", f"  report    {(run.folder / 'index.html').as_uri()}", *_reports(run)]
    lines += _endpoint(run)
    lines += [f"  run       {run.identifier}  ({run.seconds:.0f} s, {run.cpu_seconds:.0f} s CPU in steps)"]
    return lines


def again(run: Run, environment: Mapping[str, str] = os.environ) -> str:
    """Return the command to paste that goes on with a run, re-running only what failed or changed."""
    if environment.get("MAKELEVEL"):
        return f'make run ARGS="--resume {run.identifier}"'
    return f"{shlex.quote(str(near(Path(sys.executable))))} -m pipelines run --resume {run.identifier}"


def _verdict(run: Run) -> list[str]:
    judged = run.task("evaluate")
    if judged is None:
        return [f"DONE  {run.pipeline}"]
    accepted = judged.parameters.get("Output") is True
    released, registered = run.task("deploy"), run.task("register")
    winner = judged.artifacts["winner"].metadata.get("candidate", "")
    head = f"{'ACCEPTED' if accepted else 'NOT ACCEPTED'}  {run.pipeline}: {winner or 'no candidate'}"
    if registered is not None:
        head += f" is {registered.parameters['model']} version {registered.parameters['version']}"
        head += "" if registered.parameters.get("new", True) else " as before (the same model of the same data)"
    if released is not None:
        head += ", released and verified"
    if not accepted:
        kept = run.task("refuse")
        version = kept.parameters.get("Output") if kept else ""
        head += f"; version {version} goes on serving" if version else "; nothing is served"
    told = judged.artifacts["report"].metadata
    reasons, warnings = (str(told.get(name, "")).splitlines() for name in ("reasons", "warnings"))
    headline = str(told.get("headline", ""))
    first = [f"  · {headline}"] if headline and headline not in reasons else []
    return [
        head,
        *first,
        *(f"  {'✔' if accepted else '✘'} {one}" for one in reasons),
        *(f"  ! {one}" for one in warnings),
    ]


def _reports(run: Run) -> Iterator[str]:
    titles = {"profile": "data", "validate": "checks", "evaluate": "verdict"}
    for task in run.tasks.values():
        name = task.path.rsplit("/", 1)[-1]
        for file in pages_of(task):
            title = titles.get(name) or task.label.partition(" ")[2] or name
            yield f"  {title:<9} {near(run.folder / 'reports' / file)}"


def near(path: Path) -> Path:
    """Return a path as short as the person's folder allows."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _endpoint(run: Run) -> list[str]:
    released = run.task("deploy")
    lines = []
    if released is not None:
        lines += served(run)
    if run.task("evaluate") is not None:
        lines += ["  MLflow    make ui   (or: python -m pipelines ui)"]
    return lines


def served(run: Run) -> list[str]:
    """Return where a released version is served, or how to serve it where no server runs any more."""
    released = run.task("deploy")
    if released is None:
        return []
    model, version = (str(released.parameters.get(name, "")) for name in ("model", "version"))
    registered = run.task("register")
    if registered is not None:
        model, version = str(registered.parameters["model"]), str(registered.parameters["version"])
    url = str(released.parameters["url"])
    if run.arguments.get("environment") != LAPTOP:
        return [f"  serves    {url}", "", f"  {released.parameters['curl']}", ""]
    folder = run.folder.parent.parent / "served" / model
    server = laptop.running(folder, model)
    if server is None:
        return ["  serves    nothing any more: its server was stopped", f"  serve it  make serve MODEL={model}", ""]
    current = (folder / "current").readlink().name if (folder / "current").is_symlink() else ""
    other = f"  (version {current} by now)" if current not in ("", version) else ""
    curl = str(released.parameters["curl"]).replace(url, server.url)
    return [f"  serves    {server.url}{other}", "", f"  {curl}", ""]


def shown(run: Run) -> list[str]:
    """Return everything about a run."""
    lines = [f"{run.identifier}  {run.status}", f"  started   {moment(run.started)}", f"  code      {run.code}"]
    lines += [f"  {key:<9} {value}" for key, value in run.arguments.items() if value not in ("", [], "{}")]
    lines += ["", *(f"  {line(task)}" for task in run.tasks.values())]
    return [*lines, *closing(run), f"  record    {run.folder / record.FILE}"]


def moment(text: str) -> str:
    """Return a time of ISO 8601 as every command shows it: in UTC, to the minute."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if text else ""


def table(rows: Iterable[Iterable[Any]], head: Iterable[str]) -> list[str]:
    """Return rows as aligned columns below their heads."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def listed_runs(runs: Iterable[Run]) -> list[str]:
    """Return one line per run."""
    rows = [(run.identifier, run.status, _outcome(run), f"{run.seconds:.0f} s", moment(run.started)) for run in runs]
    return table(rows, ("RUN", "STATUS", "OUTCOME", "TIME", "STARTED")) if rows else ["no runs yet: make run"]


def _outcome(run: Run) -> str:
    registered = run.task("register")
    if registered is not None:
        return f"{registered.parameters['model']} version {registered.parameters['version']}"
    judged = run.task("evaluate")
    return "not accepted" if judged is not None and judged.parameters.get("Output") is False else ""
