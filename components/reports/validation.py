"""The Markdown report of `validate`: the verdict first, what failed next, then everything that was looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from components.dataset import Dataset
from components.tables.checks import Check, Facts, listing, shown
from components.tables.statistics import Numbers, Values
from components.tables.wording import is_year, number, share
from serving.schema import Column


def markdown(dataset: Dataset, facts: Facts, checks: Sequence[Check], basis: str) -> str:
    """Return the report of a data set as a Markdown document."""
    failed = [check for check in checks if not check.passed]
    verdict = f"**{len(failed)} of {len(checks)} checks failed**" if failed else f"**All {len(checks)} checks passed**"
    parts = [
        f"# Data of {dataset.model}: {'not accepted' if failed else 'accepted'}",
        f"{verdict} on {facts.rows:,} rows and {len(facts.columns)} columns, held against {basis}.",
    ]
    if failed:
        parts += ["## What failed", _failures(failed)]
    parts += ["## Columns", _columns(dataset, facts)]
    parts += [f"## Target `{dataset.schema.target.name}`", _target(dataset, facts.target)]
    if dataset.decisions:
        parts += ["## How each column was understood", _decisions(dataset)]
    if dataset.notes:
        parts += ["## What cleaning did", "\n".join(f"- {note}" for note in dataset.notes)]
    parts += ["## Checks", _checks(checks), "## Where the data is from", _source(dataset)]
    return "\n\n".join(parts) + "\n"


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], numbers: frozenset[int] = frozenset()) -> str:
    """Return a Markdown table; columns at the places in `numbers` are right-aligned."""
    lines = [f"| {' | '.join(headers)} |"]
    lines.append(f"|{'|'.join('---:' if place in numbers else '---' for place in range(len(headers)))}|")
    lines += [f"| {' | '.join(_safe(str(value)) for value in row)} |" for row in rows]
    return "\n".join(lines)


def _failures(failed: Sequence[Check]) -> str:
    rows = [(f"**{check.subject}**", check.rule, check.found, check.accepted, check.remedy) for check in failed]
    return table(("column", "check", "found", "accepted", "what to do"), rows)


def _columns(dataset: Dataset, facts: Facts) -> str:
    rows = [
        (one.name, one.kind, one.unit or "", share(facts.columns[one.name].missing_share), *_spread(one, facts))
        for one in dataset.schema.columns
    ]
    return table(("column", "kind", "unit", "missing", "values", "mean or most frequent"), rows, frozenset({3}))


def _spread(column: Column, facts: Facts) -> tuple[str, str]:
    found = facts.columns[column.name]
    if isinstance(found, Values):
        top = next(iter(found.counts), None)
        often = share(found.counts[top] / max(1, found.rows - found.missing)) if top is not None else ""
        return f"{found.distinct:,}: {listing(list(found.counts), 6)}", f"{shown(top)} ({often})" if often else ""
    low, high = found.quantiles[0], found.quantiles[-1]
    if column.kind == "date":
        return f"{_day(low)} to {_day(high)}", _day(found.mean)
    year = is_year(column)
    ends = f"{number(low, year=year)} to {number(high, year=year)}"
    return ends, f"{number(found.mean, year=year)} ± {number(found.deviation)}"


def _day(days: float) -> str:
    from datetime import UTC, datetime, timedelta

    return str((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)).date()) if days == days else ""


def _target(dataset: Dataset, found: Numbers | Values) -> str:
    if isinstance(found, Numbers):
        low, quarter, half, three, high = map(number, found.quantiles)
        return (
            f"Values from {low} to {high} {dataset.schema.target.unit}, half of them between {quarter} and {three}; "
            f"median {half}, mean {number(found.mean)}."
        )
    rows = [
        (label, f"{count:,}", share(count / found.rows), "█" * max(1, round(30 * count / found.rows)))
        for label, count in found.counts.items()
    ]
    return table(("class", "rows", "share", ""), rows, frozenset({1, 2}))


def _decisions(dataset: Dataset) -> str:
    return table(("column", "used as", "how"), [(one.column, one.kind, one.told) for one in dataset.decisions])


def _checks(checks: Sequence[Check]) -> str:
    rows = [
        ("ok" if check.passed else "**failed**", check.subject, check.rule, check.found, check.accepted)
        for check in checks
    ]
    return table(("", "column", "check", "found", "accepted"), rows)


def _source(dataset: Dataset) -> str:
    source = dataset.source
    lines = [
        f"- {source['location']} ({source['bytes']:,} bytes, sha256 `{source['sha256']}`)",
        *(f"- {word.capitalize()}: {source[word]}" for word in ("licence", "credit") if source.get(word)),
        f"- Data set version `{dataset.version}`",
        "- Rows: " + ", ".join(f"{rows:,} {split}" for split, rows in dataset.rows.items()) + f"; seed {dataset.seed}",
    ]
    return "\n".join(lines)


def _safe(text: str) -> str:
    """Return text that cannot end a cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
