"""How numbers of a table are written for people: as many digits as mean something, and years without separators."""

from __future__ import annotations

from serving.schema import Column

YEARS = (1500.0, 2200.0)
"""Between these, whole numbers of a column are taken for years."""


def share(part: float) -> str:
    """Return a share as a person reads it."""
    if part in (0.0, 1.0):
        return f"{part:.0%}"
    if part < 0.0001:
        return "< 0.01%"
    return f"{part:.1%}" if part >= 0.001 else f"{part:.2%}"


def is_year(column: Column) -> bool:
    """Return whether the numbers of a column look like years."""
    if column.kind != "integer" or column.minimum is None or column.maximum is None:
        return False
    return YEARS[0] <= column.minimum and column.maximum <= YEARS[1]


def number(value: float, *, year: bool = False) -> str:
    """Return a number with four significant digits, whole from 1,000 on, never with an exponent."""
    if year:
        return f"{value:.0f}"
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    text = f"{value + 0.0:.4g}"
    return f"{value:.8f}".rstrip("0").rstrip(".") or "0" if "e" in text else text
