"""The page that everything of a run hangs on: the verdict, the candidates side by side, links to all the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.reports import pages
from components.reports.pages import Card
from pipelines.local import record, summary
from pipelines.local.tasks import pages_of

if TYPE_CHECKING:
    from pipelines.local.record import Run, Task

FILE = "index.html"
KINDS = {"ingest": "data", "profile": "data", "validate": "data", "train": "candidate", "evaluate": "verdict"}


def write(run: Run) -> Path:
    """Write the page of a run, whatever became of it, and return its path."""
    path = run.folder / FILE
    sections = [
        ("", pages.cards(_cards(run))),
        ("Why", pages.bullets(_reasons(run))),
        ("The candidates", _candidates(run)),
        ("How each column was understood", _columns(run)),
        ("Pages", pages.links(_pages(run))),
        ("Serving", _serving(run)),
        ("Steps", _steps(run)),
    ]
    title = f"{run.pipeline}: {_outcome(run)}"
    path.write_text(
        pages.page(title, f"Run {run.identifier}, {summary.moment(run.started)}.", [one for one in sections if one[1]])
    )
    return path


def _outcome(run: Run) -> str:
    if run.status != record.SUCCEEDED:
        return run.status
    judged = run.task("evaluate")
    return "done" if judged is None else "accepted" if judged.parameters.get("Output") is True else "not accepted"


def _cards(run: Run) -> list[Card]:
    judged, registered = run.task("evaluate"), run.task("register")
    outcome = _outcome(run)
    tone: pages.Tone = "good" if outcome == "accepted" else "warn" if outcome in ("done", "stopped") else "bad"
    told = [Card("Verdict", outcome, _winner(judged), tone)]
    if registered is not None:
        new = "" if registered.parameters.get("new", True) else "as before: the same model of the same data"
        told.append(Card("Model", f"{registered.parameters['model']} {registered.parameters['version']}", new))
    told.append(Card("Time", f"{run.seconds:.0f} s", f"{run.cpu_seconds:.0f} s of CPU in steps"))
    return told


def _winner(judged: Task | None) -> str:
    return str(judged.artifacts["winner"].metadata.get("candidate", "")) if judged else ""


def _reasons(run: Run) -> list[str]:
    judged = run.task("evaluate")
    if run.error:
        return run.error.splitlines()
    if judged is None:
        return []
    told = judged.artifacts["report"].metadata
    lines = [line for name in ("headline", "reasons", "warnings") for line in str(told.get(name, "")).splitlines()]
    return list(dict.fromkeys(lines))


def _candidates(run: Run) -> str:
    winner = _winner(run.task("evaluate"))
    trained = [
        task for task in run.tasks.values() if task.label.startswith("train ") and task.status == record.SUCCEEDED
    ]
    rows = [
        (name, task.parameters.get("Output"), round(task.cpu_seconds, 1), "winner" if name == winner else "")
        for task in sorted(trained, key=lambda one: -float(one.parameters.get("Output") or 0.0))
        if (name := task.label.partition(" ")[2])
    ]
    return pages.table(("Candidate", "Cross-validated score (more is better)", "CPU seconds", ""), rows) if rows else ""


def _columns(run: Run) -> str:
    ingested = run.task("ingest")
    told = str(ingested.artifacts["data"].metadata.get("understood", "")) if ingested else ""
    return pages.preformatted(told) if told else ""


def _pages(run: Run) -> list[tuple[str, str, str]]:
    """Return (address, text, note), the verdict first, then data, then candidates."""
    order = ("verdict", "data", "candidate")
    found = [
        (order.index(KINDS.get(task.path.rsplit("/", 1)[-1], "candidate")), f"reports/{file}", task.label, "")
        for task in run.tasks.values()
        for file in pages_of(task)
        if (run.folder / "reports" / file).is_file()
    ]
    found.sort(key=lambda one: one[0])
    logs = [("logs/", "logs", "what each step wrote")] if (run.folder / "logs").is_dir() else []
    return [*((href, text, note) for _, href, text, note in found), *logs]


def _serving(run: Run) -> str:
    lines = [line.strip() for line in summary.served(run)]
    return pages.preformatted("\n".join(line for line in lines if line)) if any(lines) else ""


def _steps(run: Run) -> str:
    rows = [
        (
            task.label,
            "unchanged" if task.reused else task.status,
            round(task.seconds, 1),
            round(task.cpu_seconds, 1),
            round(task.peak_bytes / 1e6),
        )
        for task in run.tasks.values()
    ]
    return pages.table(("Step", "", "Seconds", "CPU seconds", "Memory, MB"), rows)
