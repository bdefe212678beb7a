"""How a text file is cut into rows and columns: its delimiter, what stands before the header, whether there is one."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from components.tables.calendars import PATTERNS
from components.tables.numerals import PLAIN

DELIMITERS = (",", ";", "\t", "|", "~", "^", "\x01")
SPACES = " "
"""Runs of blanks between the columns; such a file is written again with commas."""
MOST_BEFORE = 50
"""Lines before the header."""
SAMPLE_ROWS = 300
_DATA = re.compile("|".join([PLAIN, PATTERNS["iso"]]))


@dataclass(frozen=True)
class Dialect:
    """Of one file.

    Attributes:
        skip: Lines before the header.
        names: The first row of the table.
        headless: Whether that row looks like data and not like names.
        notes: What was skipped.
    """

    delimiter: str
    skip: int
    names: tuple[str, ...]
    headless: bool
    notes: tuple[str, ...] = ()


def find(text: str, whole: bool) -> Dialect:
    """Return the dialect of a file from its beginning.

    Args:
        whole: Whether the text is all of the file; else its last line may be cut.
    """
    said = re.match(r"\s*sep=(.)\s*\n", text)
    marks = (said[1],) if said else (*DELIMITERS, SPACES)
    found = [cut for mark in marks if (cut := _cut(text, mark, whole)) is not None]
    # Decimal commas give the lines of a `;` table as many commas; only its header tells, and it comes earliest.
    best = min(found, key=lambda cut: (cut.start, -cut.share, -len(cut.rows[cut.start])), default=None)
    if best is None:
        best = _Cut(",", _rows(text, ",", whole), 0, 1.0)
    rows = best.rows
    lines = _lines_before(text, best.start) if best.start else []
    notes = (f"{len(lines)} lines before the header were skipped, such as {lines[0][:60]!r}",) if lines else ()
    names = tuple(name.strip() for name in rows[best.start]) if len(rows) > best.start else ()
    headless = _is_data(names, rows[best.start + 1 :])
    return Dialect(best.mark, len(lines), names, headless, notes)


@dataclass(frozen=True)
class _Cut:
    """The rows that a delimiter gives, the first one of the table, and the share of rows as wide as it."""

    mark: str
    rows: list[list[str]]
    start: int
    share: float


def _cut(text: str, mark: str, whole: bool) -> _Cut | None:
    """Return the cut of a delimiter; None when it does not cut most rows into equally many fields, two or more."""
    rows = _rows(text, mark, whole)
    widths = [len(row) for row in rows]
    width, number = Counter(widths).most_common(1)[0] if widths else (0, 0)
    if width < 2:
        return None
    start = widths.index(width)
    share = number / len(widths[start:])
    if start > MOST_BEFORE or share < (0.99 if mark == SPACES else 0.7) or (mark == SPACES and start):
        return None
    return _Cut(mark, rows, start, share)


def _rows(text: str, mark: str, whole: bool) -> list[list[str]]:
    lines = text.splitlines(keepends=True)
    if not whole and len(lines) > 1:
        lines.pop()
    if mark == SPACES:
        return [line.split() for line in lines[:SAMPLE_ROWS] if line.strip()]
    found: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=mark):
            if any(field.strip() for field in row) or len(row) > 1:
                found.append(row)
            if len(found) >= SAMPLE_ROWS:
                break
    except csv.Error:
        pass  # the reader says where; what was cut so far decides
    return found


def _lines_before(text: str, rows: int) -> list[str]:
    """Return the lines of a file before its row number `rows`, blank ones included."""
    found: list[str] = []
    for line in text.splitlines():
        if rows == 0 and line.strip():
            break
        found.append(line)
        rows -= bool(line.strip())
    return found


def _is_data(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row looks like data.

    It does where a column of numbers or dates has one in the first row, too, and none has a name there. A header may
    hold years, so a row that is a plain sequence is one.
    """
    votes = 0
    for place, name in enumerate(names):
        below = [row[place].strip() for row in rows if len(row) > place and row[place].strip()]
        if below and sum(map(_looks_like_data, below)) >= 0.9 * len(below):
            if not _looks_like_data(name):
                return False
            votes += 1
    numbers = [int(name) for name in names if name.isdecimal()]
    counts_up = len(numbers) > 2 and all(after - before == 1 for before, after in pairwise(numbers))
    return votes > 0 and not (counts_up and len(numbers) >= len(names) - 5)


def _looks_like_data(text: str) -> bool:
    return _DATA.search(text) is not None
