"""The verdict as a page with plots, for MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.models.card import number, word
from components.models.judgement import Rival
from components.models.slices import FEWEST_ROWS, error_name
from components.reports import model_plots
from components.reports.pages import Card, Tone, bullets, cards, figure, grid, page, table
from components.reports.train_page import CAPTIONS, cell
from components.reports.verdict_text import candidate_row, required

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.models.contest import Entry
    from components.reports.verdict_text import Story
    from components.use_cases import UseCase


def write(story: Story) -> str:
    """Return the page as HTML."""
    plots = model_plots.answers(story.dataset.schema, story.result.truth, story.result.scores)
    sections = [
        ("", cards(_cards(story))),
        ("Why", bullets([*_conditions(story), *(f"Warning: {warning}." for warning in story.warnings)])),
        ("On the test rows", _figures(story)),
        ("Plots", grid(figure(plot, CAPTIONS[name]) for name, plot in plots.items())),
        ("The candidates", _candidates(story)),
        ("Slices", _slices(story)),
    ]
    subtitle = f"{story.use_case.description} Data set {story.dataset.version[:12]}."
    return page(f"{story.use_case.title}: {'accepted' if story.accepted else 'refused'}", subtitle, sections)


def nobody(use_case: UseCase, entries: Sequence[Entry]) -> str:
    """Return the page when no candidate is usable."""
    why = [f"{entry.name}: {entry.out}" for entry in entries] or ["no candidate was trained"]
    told = "No candidate of this run can be used, so the champion goes on serving."
    return page(f"{use_case.title}: refused", told, [("Why", bullets(why))])


def _conditions(story: Story) -> list[str]:
    return [f"{'✓' if check.passed else '✗'} {check.sentence}." for check in story.checks]


def _cards(story: Story) -> list[Card]:
    headline = story.result.figures[story.metric]
    form = "table" if "table" in story.result.latency_ms else "onnx"
    told = [
        Card(
            "Verdict", "accepted" if story.accepted else "refused", story.best.name, "good" if story.accepted else "bad"
        ),
        Card(
            f"{word(story.metric)}, test",
            number(headline.value),
            f"{number(headline.low)} to {number(headline.high)}, {story.result.rows:,} rows",
        ),
        Card("One row", f"{story.result.latency_ms[form] * 1e3:,.1f} µs", form),
    ]
    if isinstance(story.rival, Rival):
        gain = story.rival.gain
        tone: Tone = "good" if gain.low > 0 else "bad" if gain.high < 0 else ""
        told.append(Card("Against the champion", f"{gain.value:+.3g}", f"{gain.low:+.3g} to {gain.high:+.3g}", tone))
    return told


def _figures(story: Story) -> str:
    rival = story.rival if isinstance(story.rival, Rival) else None
    headers = ["Figure", "Value", "Low", "High", "Required", *([f"Champion {rival.version}"] if rival else [])]
    rows = (
        (
            word(name),
            *(cell(value) for value in (interval.value, interval.low, interval.high)),
            required(story, name),
            *([cell(rival.figures.get(name))] if rival else []),
        )
        for name, interval in story.result.figures.items()
    )
    return table(headers, rows, "Intervals are 95 % bootstrap percentiles of the test rows.")


def _candidates(story: Story) -> str:
    rows = [candidate_row(entry, story.metric, story.best) for entry in story.entries]
    return table(
        ("Candidate", "Validation", "Cross-validated", "Largest conversion error", ""), rows, word(story.metric)
    )


def _slices(story: Story) -> str:
    error = word(error_name(story.dataset.schema.target))
    rows = (
        (
            part.column,
            part.name,
            part.rows,
            cell(part.error),
            f"{cell(part.excess)} ({cell(part.low)} to {cell(part.high)})",
            cell(part.value),
        )
        for part in story.result.slices
    )
    told = (
        f"The most certain weakness first; slices of {FEWEST_ROWS} rows or more. A slice is weaker where the whole "
        "interval is above 0; about one slice in forty is by chance."
    )
    return table(("Column", "Slice", "Rows", error, "Above the other rows by (95 %)", word(story.metric)), rows, told)
