"""The verdict as Markdown: what KFP shows beside evaluate, and what a person reads first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.models import metrics
from components.models.card import number, slow_form, table, weaknesses, word
from components.models.judgement import Rival, signed

if TYPE_CHECKING:
    from components.dataset import Dataset
    from components.models.contest import Entry
    from components.models.judgement import Check, Result
    from components.use_cases import UseCase
    from serving.bundle import Bundle

RULE = "The simplest candidate that the best does not clearly beat on the validation rows wins."


@dataclass(frozen=True)
class Story:
    """Everything a report of an evaluation tells."""

    use_case: UseCase
    dataset: Dataset
    metric: str
    entries: Sequence[Entry]
    best: Entry
    result: Result
    rival: Rival | str | None
    checks: Sequence[Check]

    @property
    def accepted(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth knowing and no reason to refuse."""
        warning = slow_form(self.best.figures)
        return (f"`{self.best.name}` is {warning}",) if warning else ()


def write(story: Story, winner: Bundle) -> str:
    """Return the verdict on a winner."""
    headline = story.result.figures[story.metric]
    opening = (
        f"`{story.best.name}` reaches **{word(story.metric)} {number(headline.value)}** "
        f"({number(headline.low)} to {number(headline.high)}) on {story.result.rows:,} test rows that nothing was "
        f"fitted or chosen on."
    )
    parts = [
        f"# {story.use_case.title}: {'accepted ✅' if story.accepted else 'refused ❌'}",
        opening,
        "\n".join(
            [
                *(f"- {'✅' if check.passed else '❌'} {check.sentence}." for check in story.checks),
                *(f"- ⚠️ {warning}." for warning in story.warnings),
            ]
        ),
        "## On the test rows\n\n" + _figures(story),
        f"## The candidates\n\n{RULE}\n\n{candidates(story.entries, story.metric, story.best)}",
        "## Where it is weaker\n\n" + weaknesses(story.dataset.schema.target, story.metric, story.result.slices),
        f"Bundle `{winner.digest[:12]}`, data set `{story.dataset.version[:12]}`.",
    ]
    return "\n\n".join(parts) + "\n"


def nobody(use_case: UseCase, entries: Sequence[Entry]) -> str:
    """Return the verdict when no candidate is usable."""
    lines = [f"- ❌ `{entry.name}`: {entry.out}" for entry in entries] or ["- ❌ no candidate was trained"]
    return (
        f"# {use_case.title}: refused ❌\n\nNo candidate of this run can be used, so the champion goes on serving.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def candidates(entries: Sequence[Entry], metric: str, best: Entry) -> str:
    """Return the candidates, the best on validation first."""

    def rank(entry: Entry) -> float:
        value = entry.validation.get(metric)
        return float("inf") if value is None or value != value else -metrics.goodness(metric, value)

    rows = [candidate_row(entry, metric, best) for entry in sorted(entries, key=rank)]
    return table(("Candidate", f"{word(metric)}, validation", "Cross-validated", "Largest conversion error", ""), rows)


def candidate_row(entry: Entry, metric: str, best: Entry) -> tuple[str, ...]:
    """Return the cells of one candidate."""
    figures = entry.figures
    crossed: dict[str, Any] = figures.get("cross_validation", {"mean": {}, "deviation": {}})
    proof = figures.get("parity", {}).get("onnx", {})
    apart = proof.get("max_difference")
    return (
        entry.name,
        number(entry.validation.get(metric)),
        f"{number(crossed['mean'].get(metric))} ± {number(crossed['deviation'].get(metric))}",
        "–" if apart is None else f"{apart:.1e}",
        "winner" if entry is best else f"out: {entry.out}" if entry.out else "",
    )


def _figures(story: Story) -> str:
    rival = story.rival if isinstance(story.rival, Rival) else None
    headers = ["Figure", "Value", "95 % interval", "Required"]
    if rival is not None:
        headers.append(f"Champion (version {rival.version})")
    rows = []
    for name, interval in story.result.figures.items():
        row = [word(name), number(interval.value), f"{number(interval.low)} to {number(interval.high)}"]
        row.append(required(story, name))
        if rival is not None:
            row.append(number(rival.figures.get(name)))
        rows.append(row)
    return table(headers, rows) + _note(rival, story.metric)


def required(story: Story, name: str) -> str:
    """Return what the gate asks of a figure."""
    gate = story.use_case.gate
    asked = [f"≥ {number(gate.at_least[name])}"] if name in gate.at_least else []
    return ", ".join([*asked, *([f"≤ {number(gate.at_most[name])}"] if name in gate.at_most else [])]) or "–"


def _note(rival: Rival | None, metric: str) -> str:
    if rival is None:
        return ""
    gain = rival.gain
    told = (
        f"\n\nOn the same rows the winner is {signed(gain.value)} ({signed(gain.low)} to {signed(gain.high)}, paired "
        f"bootstrap) against the champion in {word(metric)}; positive is better."
    )
    if not rival.same_data:
        told += " The champion was trained on another version of the data and may have seen some of these rows."
    return told
