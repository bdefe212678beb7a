"""What a person sees of a run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from pipelines.local import record

if TYPE_CHECKING:
    from pipelines.local.record import Task

MARKS = {
    record.RUNNING: "…",
    record.SUCCEEDED: "✔",
    record.FAILED: "✘",
    record.SKIPPED: "–",
    record.STOPPED: "■",
    "reused": "↺",
}
COLOURS = {
    record.RUNNING: "cyan",
    record.SUCCEEDED: "green",
    record.FAILED: "bold red",
    record.SKIPPED: "dim",
    record.STOPPED: "yellow",
    "reused": "blue",
}


class Plain:
    """One line per event, for logs and pipes."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        """Write to a stream, standard output by default."""
        self._is_output = stream is None
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Write a line."""
        with self._lock:
            try:
                self._stream.write(text + "\n")
                self._stream.flush()
            except BrokenPipeError:  # whoever read it, such as head, has seen enough; the run goes on
                self._stream = open(os.devnull, "w")  # noqa: PTH123, SIM115  it stands in for standard output
                if self._is_output:
                    os.dup2(self._stream.fileno(), sys.stdout.fileno())

    def started(self, task: Task) -> None:
        self.say(f"{MARKS[record.RUNNING]} {task.label}{f', attempt {task.attempts}' if task.attempts > 1 else ''}")

    def ended(self, task: Task, tail: str) -> None:
        if task.status == record.SKIPPED:
            return
        self.say(line(task))
        for text in (*told(task), *tail.splitlines()):
            self.say(f"    {text}")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show progress for as long as the run lasts."""
        yield


class Rich:
    """A table that follows the run, and what failed below it."""

    def __init__(self) -> None:
        """Draw on standard output."""
        from rich.console import Console

        self._console = Console(highlight=False)
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._begun: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Write a line above the table."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def started(self, task: Task) -> None:
        with self._lock:
            self._tasks[task.path] = task
            self._begun[task.path] = time.monotonic()

    def ended(self, task: Task, tail: str) -> None:
        if task.status == record.SKIPPED:
            return
        with self._lock:
            self._tasks[task.path] = task
        for text in (*told(task), *tail.splitlines()):
            self.say(f"    {text}")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show progress for as long as the run lasts."""
        from rich.live import Live

        with Live(get_renderable=self._table, console=self._console, refresh_per_second=4, transient=False):
            yield

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(self._tasks))
        table.add_column("")
        table.add_column("task", no_wrap=True)
        for name in ("time", "CPU", "memory"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", overflow="fold")
        with self._lock:
            tasks = [(task, self._begun.get(task.path, 0.0)) for task in self._tasks.values()]
        if not tasks:
            table.add_row(Text(MARKS[record.RUNNING], style="cyan"), Text("loading libraries", style="dim"))
        for task, begun in tasks:
            state = "reused" if task.reused else task.status
            seconds = time.monotonic() - begun if task.status == record.RUNNING else task.seconds
            table.add_row(
                Text(MARKS[state], style=COLOURS[state]),
                Text(task.label),
                f"{seconds:.1f} s" if seconds and not task.reused else "",
                f"{task.cpu_seconds:.1f} s" if task.cpu_seconds and not task.reused else "",
                f"{task.peak_bytes / 1e6:.0f} MB" if task.peak_bytes and not task.reused else "",
                Text(_note(task), style=COLOURS[state]),
            )
        return table


def best() -> Plain | Rich:
    """Return the display that suits standard output."""
    return Rich() if sys.stdout.isatty() else Plain()


def told(task: Task) -> list[str]:
    """Return what a person should read at once: how each column of the table was understood, why a candidate is out."""
    if task.status != record.SUCCEEDED or task.reused:
        return []
    notes = [str(one.metadata.get(key, "")) for one in task.artifacts.values() for key in ("understood", "out")]
    return [text for note in notes for text in note.splitlines()]


def line(task: Task) -> str:
    """Return one line about a task that has ended."""
    state = "reused" if task.reused else task.status
    numbers = ""
    if task.attempts and not task.reused:
        numbers = f"  {task.seconds:.1f} s, {task.cpu_seconds:.1f} s CPU, {task.peak_bytes / 1e6:.0f} MB"
    note = _note(task)
    return f"{MARKS[state]} {task.label}{numbers}{'  ' + note if note else ''}"


def _note(task: Task) -> str:
    if task.status == record.FAILED:
        return f"failed, see {task.log}"
    if task.reused:
        return f"unchanged; {task.unread} was not read again" if task.unread else "unchanged"
    if task.status == record.SKIPPED:
        return "skipped"
    if task.attempts > 1:
        return f"attempt {task.attempts}"
    return ""
