"""What is written down about a run: `run.json`, whole at every moment, enough to resume from and to look back on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.local import lock

FILE = "run.json"
HIDDEN = "***"

RUNNING, SUCCEEDED, FAILED, SKIPPED, STOPPED = "running", "succeeded", "failed", "skipped", "stopped"
KILLED = "killed"
"""Status of a run whose process is gone without having written an end."""


@dataclass(frozen=True)
class Artifact:
    """An output of a task.

    Attributes:
        kind: KFP's schema title, such as `system.Model`.
        path: Where it is on this machine.
        uri: Its copy in the artifacts bucket; empty without one.
        sha256: Over its content, or over names and contents of a folder; empty when the step wrote nothing.
    """

    name: str
    kind: str
    path: str
    uri: str = ""
    sha256: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What became of one task.

    Attributes:
        path: Where it stands in the graph: names and loop positions, joined by `/`.
        label: For people: its name, with the loop item.
        key: Over everything that decides its outputs: code, command and inputs.
        reused: Taken from an earlier attempt of this run.
        unread: Where its source is, when that was not looked at again before it was reused.
    """

    path: str
    label: str
    status: str
    key: str = ""
    code: str = ""
    attempts: int = 0
    reused: bool = False
    unread: str = ""
    started: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    log: str = ""
    error: str = ""
    exit_code: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run and its tasks, by path.

    Attributes:
        pipeline: Its use case, or the name of another pipeline.
    """

    identifier: str
    pipeline: str
    folder: Path
    arguments: Mapping[str, Any]
    status: str
    started: str
    code: str = ""
    ended: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""
    tasks: Mapping[str, Task] = field(default_factory=dict)

    def task(self, name: str) -> Task | None:
        """Return the task of a name outside loops, wherever in the graph it stands; None when it did not run."""
        for path, task in self.tasks.items():
            if path.rsplit("/", 1)[-1] == name and task.status == SUCCEEDED:
                return task
        return None


class Record:
    """The record of a run while it is written; safe to use from several threads."""

    def __init__(self, run: Run, secrets: Sequence[str] = ()) -> None:
        """Take over a run, new or resumed.

        Args:
            secrets: Texts that are never written.
        """
        self._run = run
        self._secrets = tuple(text for text in secrets if len(text) >= 8)
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._touched: set[str] = set()

    @property
    def run(self) -> Run:
        return self._run

    def put(self, task: Task) -> None:
        """Add or replace a task."""
        with self._lock:
            self._touched.add(task.path)
            self._run = replace(self._run, tasks={**self._run.tasks, task.path: task})
            self._write()

    def end(self, status: str, error: str = "", cpu_seconds: float = 0.0) -> Run:
        """Close the record and return the run.

        Tasks of an earlier attempt that this one did not come to are kept for the next, unless this one is whole.
        """
        with self._lock:
            tasks = self._run.tasks
            if status == SUCCEEDED:
                tasks = {path: task for path, task in tasks.items() if path in self._touched}
            self._run = replace(
                self._run,
                tasks=tasks,
                status=status,
                error=error,
                ended=now(),
                seconds=round(self._run.seconds + time.monotonic() - self._begun, 3),
                cpu_seconds=round(self._run.cpu_seconds + cpu_seconds, 3),
            )
            self._write()
            return self._run

    def hide(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def _write(self) -> None:
        tasks = [asdict(task) for task in self._run.tasks.values()]
        document = {**asdict(self._run), "folder": str(self._run.folder), "tasks": tasks}
        partial = self._run.folder / f"{FILE}.partial"
        partial.write_text(self.hide(json.dumps(document, indent=1, ensure_ascii=False)))
        partial.replace(self._run.folder / FILE)


def now() -> str:
    """Return the time as the record writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(folder: Path) -> Run:
    """Return the run of a folder.

    Raises:
        ValueError: There is no readable record in it.
    """
    try:
        document = json.loads((folder / FILE).read_bytes())
        tasks = {
            task["path"]: Task(
                **{**task, "artifacts": {name: Artifact(**item) for name, item in task["artifacts"].items()}}
            )
            for task in document.pop("tasks")
        }
        return Run(**{**document, "folder": folder, "tasks": tasks})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds no readable run: {error}") from error


def runs(home: Path) -> list[Run]:
    """Return the runs of a home folder, oldest first; folders without a readable record are left out."""
    found = []
    alive = lock.holder(home)
    for folder in sorted((home / "runs").glob("*/")):
        try:
            run = read(folder)
        except ValueError:
            continue
        killed = run.status == RUNNING and run.identifier != alive
        found.append(replace(run, status=KILLED, error="its process was killed") if killed else run)
    return sorted(found, key=lambda run: (run.started, run.identifier))
