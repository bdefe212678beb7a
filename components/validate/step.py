"""Checks a data set against its use case, or the version before it, and stops the run at what cannot be right."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components import datasets, settings, use_cases
from components.dataset import Dataset, read
from components.errors import InputError
from components.reports.validation import markdown
from components.tables.checks import Check, Facts, compared, expected, facts_of, general
from components.tables.leakage import leaks

if TYPE_CHECKING:
    from components.settings import Settings

log = logging.getLogger(__name__)


class ExpectationFailed(InputError):
    """The data is not what was expected; the message lists every failed expectation."""


@dataclass(frozen=True)
class Summary:
    """What validation looked at, in numbers."""

    rows: int
    columns: int
    checks: int
    missing_share: float
    duplicate_share: float

    @property
    def numbers(self) -> dict[str, float]:
        """Return the same as name -> number."""
        return {name: float(value) for name, value in vars(self).items()}


def validate(dataset: Path, report: Path) -> Summary:
    """Write the Markdown report of all checks, and return the numbers; an accepted version is marked as such in S3.

    Raises:
        ExpectationFailed: Some checks failed. The report is written first.
    """
    data = read(dataset)
    facts = facts_of(data)
    where = settings.read()
    published = datasets.is_kept(where)
    checks, basis = _checks(data, facts, where if published else None)
    summary = _summary(facts, checks)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(markdown(data, facts, checks, basis), encoding="utf-8")
    failed = [check for check in checks if not check.passed]
    if failed:
        raise ExpectationFailed(_message(data, failed))
    if published:
        datasets.mark_validated(where, data)
    log.info("%d checks passed on %d rows of %s", len(checks), facts.rows, data.model)
    return summary


def _checks(data: Dataset, facts: Facts, where: Settings | None) -> tuple[list[Check], str]:
    """Return all checks and a sentence on what the data was held against."""
    case = use_cases.load(data.use_case)
    checks = [*general(data, facts, declared=bool(case.columns)), *leaks(data)]
    if case.columns:
        return [*expected(data, facts, case), *checks], f"the expectations of the use case {case.name}"
    if where is None:
        return checks, "general expectations only: data sets are not kept, so there is no previous version"
    if data.source.get("overrides", {}).get("accept_changes"):
        return checks, "general expectations only: the overrides accept changes against the previous version"
    earlier = [one for one in datasets.versions(where, data.model) if one.validated and one.version != data.version]
    if not earlier:
        return checks, "general expectations only: this is the first version"
    with tempfile.TemporaryDirectory(prefix="previous-") as scratch:
        previous = datasets.fetch(where, data.model, earlier[-1].version, Path(scratch) / "dataset")
        checks = [*compared(data, facts, previous), *checks]
    return checks, f"the previous version {earlier[-1].version[:12]}, published {earlier[-1].published[:16]} UTC"


def _summary(facts: Facts, checks: Sequence[Check]) -> Summary:
    cells = facts.rows * max(1, len(facts.columns))
    return Summary(
        rows=facts.rows,
        columns=len(facts.columns),
        checks=len(checks),
        missing_share=sum(one.missing for one in facts.columns.values()) / max(1, cells),
        duplicate_share=facts.duplicates / max(1, facts.rows),
    )


def _message(data: Dataset, failed: Sequence[Check]) -> str:
    lines = [
        f"  {check.subject}: {check.rule}: found {check.found}; accepted: {check.accepted}; {check.remedy}"
        for check in failed
    ]
    number = "1 expectation" if len(failed) == 1 else f"{len(failed)} expectations"
    return f"{number} on the data of {data.model} failed:\n" + "\n".join(lines)
