"""The commands of the README's section "On a cluster", with what they are said to answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).parents[2] / "README.md"


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        text: As typed, continued lines joined by the shell.
        answer: Lines that it prints, among others.
    """

    text: str
    answer: tuple[str, ...]

    def is_answered_by(self, said: str) -> bool:
        """Return whether all lines of the answer are there, whatever host and, but in a model's answer, numbers are."""
        lines = [_masked(line) for line in said.splitlines()]
        return all(_masked(line) in lines for line in self.answer)


def commands() -> list[Command]:
    """Return the commands of the section in their order.

    A command begins with `$ ` and goes on in lines that are indented; what is not indented is its answer.
    """
    section = PATH.read_text().partition("\n## On a cluster\n")[2].partition("\n## ")[0]
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```$", section, re.M | re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            lines = part.splitlines()
            size = next((at for at, line in enumerate(lines) if at and not line.startswith("    ")), len(lines))
            found.append(Command("\n".join(lines[:size]), tuple(lines[size:])))
    return found


def _masked(line: str) -> str:
    if line.startswith("{"):
        return line  # an answer of the model
    line = line.strip().removesuffix(" (no change)")  # what kubectl adds when it was said before
    return re.sub(r"\d+", "0", re.sub(r"http://heart[\w.-]+", "http://heart", line))
