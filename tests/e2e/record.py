"""What a run of the suite did: its steps with seconds and requests, and the versions of everything it ran on."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path

HEAD = ("step", "outcome", "seconds", "sent", "lost")


@dataclass
class Step:
    """One test of the story.

    Attributes:
        outcome: passed, failed or skipped.
        sent: Requests of its load.
        lost: Of these, how many got no right answer.
        remark: Why it was skipped, and what it has to say.
    """

    name: str
    chapter: str = ""
    outcome: str = ""
    seconds: float = 0.0
    sent: int = 0
    lost: int = 0
    remark: str = ""


@dataclass
class Record:
    """The steps so far; the last one is under way."""

    steps: list[Step] = field(default_factory=list)

    def begin(self, name: str, chapter: str) -> None:
        """Begin a step."""
        self.steps.append(Step(_words(name), chapter))

    def end(self, outcome: str, seconds: float, remark: str = "") -> Step:
        """End the step under way and return it."""
        step = self.steps[-1]
        step.outcome, step.seconds = outcome, seconds
        step.remark = "; ".join(filter(None, (step.remark, remark)))
        return step

    def count(self, sent: int, lost: int) -> None:
        """Add the requests of a load to the step under way."""
        if self.steps:
            self.steps[-1].sent += sent
            self.steps[-1].lost += lost

    def remark(self, text: str) -> None:
        """Add a remark to the step under way."""
        if self.steps:
            self.steps[-1].remark = "; ".join(filter(None, (self.steps[-1].remark, text)))


def table(steps: list[Step]) -> list[str]:
    """Return the steps as lines of a terminal, with their sum."""
    width = max((len(step.name) for step in steps), default=4)
    lines = [f"{HEAD[0]:{width}}  {HEAD[1]:8}{HEAD[2]:>8}{HEAD[3]:>9}{HEAD[4]:>6}"]
    for step in steps:
        sent, lost = (str(step.sent), str(step.lost)) if step.sent else ("", "")
        lines.append(
            f"{step.name:{width}}  {step.outcome:8}{step.seconds:8.1f}{sent:>9}{lost:>6}  {step.remark}".rstrip()
        )
    return [*lines, _sum(steps)]


def page(steps: list[Step], versions: dict[str, str], cluster: str) -> str:
    """Return the record as Markdown."""
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    lines = [f"# The suite {cluster}, {now}", "", _sum(steps), "", "| part | version |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in versions.items()]
    for chapter in dict.fromkeys(step.chapter for step in steps):
        lines += ["", f"## {chapter}", "", f"| {' | '.join(HEAD)} | |", "|---|---|---:|---:|---:|---|"]
        for step in (step for step in steps if step.chapter == chapter):
            requests = f"{step.sent} | {step.lost}" if step.sent else " | "
            remark = step.remark.replace("|", "\\|")
            lines.append(f"| {step.name} | {step.outcome} | {step.seconds:.1f} | {requests} | {remark} |")
    return "\n".join(lines) + "\n"


def write(folder: Path, text: str) -> Path:
    """Write a record under today's date and return its file; a later one of the day gets a number."""
    folder.mkdir(parents=True, exist_ok=True)
    day = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    number = 1
    while (path := folder / (f"{day}.md" if number == 1 else f"{day}-{number}.md")).exists():
        number += 1
    path.write_text(text)
    return path


def _sum(steps: list[Step]) -> str:
    counts = ", ".join(
        f"{number} {outcome}"
        for outcome in ("passed", "failed", "skipped")
        if (number := sum(step.outcome == outcome for step in steps))
    )
    sent, lost = sum(step.sent for step in steps), sum(step.lost for step in steps)
    return f"{counts or 'no steps'} in {sum(step.seconds for step in steps):.0f} s; {sent} requests sent, {lost} lost"


def _words(name: str) -> str:
    return re.sub(r"^test_", "", name).replace("_", " ")
