"""Draws a data set on one self-contained page."""

from __future__ import annotations

import logging
from pathlib import Path

from components import use_cases
from components.dataset import read
from components.reports.profile_page import document
from components.tables.checks import facts_of

log = logging.getLogger(__name__)


def profile(dataset: Path, page: Path) -> None:
    """Write the HTML page of a data set; large data is drawn from a sample of its training rows."""
    data = read(dataset)
    written = document(data, facts_of(data), use_cases.load(data.use_case))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(written, encoding="utf-8")
    log.info("profile of %d columns: %s", len(data.schema.columns), page)
