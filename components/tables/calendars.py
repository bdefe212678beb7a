"""Dates and times of day as people and programs write them, turned into ISO 8601 text that is read in one way.

Whether the day or the month comes first is decided by the values that contradict one of the two: `13/02/2020` has no
thirteenth month. Where nothing contradicts, other columns decide, else custom, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

_TIME = (
    r"(?:[T ,]+\d{1,2}:[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?(?: ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?)?"
)
_DAY = r"(0?[1-9]|[12]\d|3[01])"
_MONTH = r"(0?[1-9]|1[0-2])"
_YEAR = r"(\d{4}|\d{2})"
_FULL_YEAR = r"((?:1[5-9]|2[01])\d\d)"
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = rf"({'|'.join(_NAMES)})[a-z]*"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? +)?"
_NUMERIC_DAY = r"((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|[12]\d))"
_CLOCK = r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]([01]\d|2[0-3]):?[0-5]\d)?"
ISO = rf"^\d{{4}}-{_NUMERIC_DAY}({_CLOCK})?$"
CLOCK = r"^(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d(?:\.\d+)?))?(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?$"
"""A time of day, without a day."""

ISO_FORM, DAY_FIRST, MONTH_FIRST, TIME_FORM = "iso", "day first", "month first", "time of day"
PATTERNS = {
    ISO_FORM: ISO,
    DAY_FIRST: rf"^{_DAY}[./-]{_MONTH}[./-]{_YEAR}({_TIME})$",
    MONTH_FIRST: rf"^{_MONTH}[./-]{_DAY}[./-]{_YEAR}({_TIME})$",
    "year first": rf"^(\d{{4}})[./-]{_MONTH}[./-]{_DAY}({_TIME})$",
    "day, name of the month": rf"(?i)^{_WEEKDAY}{_DAY}(?:st|nd|rd|th)?[ .-]*{_NAMED}[ .,-]*{_YEAR}({_TIME})$",
    "name of the month, day": rf"(?i)^{_WEEKDAY}{_NAMED}[ .-]*{_DAY}(?:st|nd|rd|th)?,?[ -]+(\d{{4}})({_TIME})$",
    "year and month": rf"^{_FULL_YEAR}[-/]{_MONTH}$",
    "name of the month, year": rf"(?i)^{_NAMED}[ .,-]*(\d{{4}})$",
    "digits": r"^((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$",
}
"""Form -> what its values look like; where a column fits two equally, the first wins."""
_PARTS = {
    DAY_FIRST: r"\3-\2-\1\4",
    MONTH_FIRST: r"\3-\1-\2\4",
    "year first": r"\1-\2-\3\4",
    "day, name of the month": r"\3-\2-\1\4",
    "name of the month, day": r"\3-\1-\2\4",
    "year and month": r"\1-\2-01",
    "name of the month, year": r"\2-\1-01",
    "digits": r"\1-\2-\3",
}
ZONE = r"(Z|[+-]\d{2}:?\d{2})$"
FEWEST_DIGITS = 10
"""Different values of eight digits that must all be dates before they count as such."""
_SECONDS = pa.timestamp("s")
HALF_DAY_MS = 12 * 3_600_000


@dataclass
class Dates:
    """How many values of a column, so far, have each form.

    Attributes:
        values: How many there were.
        slashes: How many of those with day and month in digits are written with a slash.
        short: How many have a year of two digits.
    """

    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*PATTERNS, TIME_FORM), 0))
    values: int = 0
    slashes: int = 0
    short: int = 0
    example: str = ""

    def add(self, array: pa.Array) -> None:
        """Count a batch; a form that most values before it did not have is given up, which saves most of the time."""
        before, self.values = self.values, self.values + len(array)
        for form, count in self.found.items():
            if count >= before / 2:
                fits = pc.match_substring_regex(array, CLOCK if form == TIME_FORM else PATTERNS[form])
                number = int(pc.sum(fits).as_py() or 0)
                self.found[form] = count + number
                if number and form in (DAY_FIRST, MONTH_FIRST):
                    held = array.filter(fits)
                    self.slashes += int(pc.sum(pc.match_substring(held, "/")).as_py() or 0)
                    self.short += int(
                        pc.sum(pc.match_substring_regex(held, r"^\d+[./-]\d+[./-]\d{2}($|\D)")).as_py() or 0
                    )
                    self.example = self.example or str(held[0].as_py())

    def add_numbers(self, array: pa.Array) -> None:
        """Count a batch of plain numbers, of which only those of eight digits can be dates."""
        before, self.values = self.values, self.values + len(array)
        if self.found["digits"] >= before / 2:
            fits = pc.match_substring_regex(array, PATTERNS["digits"])
            self.found["digits"] += int(pc.sum(fits).as_py() or 0)

    @property
    def certain(self) -> str:
        """Which of the two comes first, as far as this column proves it; empty when it proves nothing."""
        day, month = self.found[DAY_FIRST], self.found[MONTH_FIRST]
        return "" if day == month else DAY_FIRST if day > month else MONTH_FIRST

    def form(self, needed: float, table: str, distinct: int | None) -> str:
        """Return the form of a column of dates or times; empty when it is none.

        Args:
            needed: Values that must have the form.
            table: What comes first in other columns, or what the person says; empty for neither.
        """
        order = self.certain or table or (MONTH_FIRST if self.slashes else DAY_FIRST)
        for form in (ISO_FORM, order, *self.found):
            numbers = form == "digits" and (
                self.found[form] < self.values or (distinct is not None and distinct < FEWEST_DIGITS)
            )
            if self.found[form] >= max(needed, 1) and not numbers:
                return form
        return ""

    def told(self, form: str, table: str) -> str:
        """Return in words how the dates are read."""
        if form == TIME_FORM:
            return "times of day, as hours since midnight: 13:30 is 13.5; requests give hours"
        if form in ("", ISO_FORM):
            return ""
        said = f"{form}; requests give YYYY-MM-DD"
        if form in (DAY_FIRST, MONTH_FIRST):
            other = "true" if form == MONTH_FIRST else "false"
            if not self.certain:
                why = "as in other columns, or as you say" if table else "no value tells day from month, so by custom"
                said += f' ({self.example!r}: {why}; override {{"day_first": {other}}})'
            said += "; years of two digits are 1969 to 2068" if self.short else ""
        return said


def iso(text: pa.Array, form: str) -> pa.Array:
    """Return texts of a form as ISO 8601, others as they are; the half of the day is taken by `moments`."""
    if form == ISO_FORM:
        return text
    text = pc.replace_substring_regex(text, PATTERNS[form], _PARTS[form])
    if "name" in form:
        text = pc.utf8_lower(text)
        for number, name in enumerate(_NAMES, 1):
            text = pc.replace_substring(text, name, f"{number:02}")
    for pattern, to in (
        (r"^([7-9]\d|69)-", r"19\1-"),
        (r"^(\d{2})-", r"20\1-"),
        (r"-(\d)-", r"-0\1-"),
        (r"^(\d{4}-\d{2})-(\d)($|\D)", r"\1-0\2\3"),
        (r"[Tt ,]+(\d{1,2}:)", r" \1"),
        (r" (\d):", r" 0\1:"),
        (r",(\d+)", r".\1"),
        (r" ?(?:[Uu][Tt][Cc]|[Gg][Mm][Tt]|z)$", "Z"),
        (r" ([+-]\d)", r"\1"),
    ):
        text = pc.replace_substring_regex(text, pattern, to)
    return text


def moments(text: pa.Array, form: str) -> pa.Array:
    """Return texts of a form as moments in UTC [ms]; without a zone they are UTC already, what does not fit is null.

    29 February of a common year is null.
    """
    text = iso(text, form)
    afternoon = pc.match_substring_regex(text, r"(?i)p\.?m\.?")
    halved = pc.match_substring_regex(text, r"(?i)[ap]\.?m\.?")
    text = pc.replace_substring_regex(text, r"(?i) ?[ap]\.?m\.?", "")
    text = _only(text, pc.match_substring_regex(text, ISO))
    leap = pc.is_leap_year(
        pc.cast(pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, 4), "-01-01", ""), _SECONDS)
    )
    text = _only(text, pc.or_(leap, pc.invert(pc.match_substring_regex(text, r"^\d{4}-02-29"))))
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")
    zoned = pc.fill_null(pc.match_substring_regex(text, ZONE), False)
    local = pc.cast(_only(text, pc.invert(zoned)), pa.timestamp("us"))
    moved = pc.cast(pc.cast(_only(text, zoned), pa.timestamp("us", "UTC")), pa.timestamp("us"))
    found = pc.cast(pc.coalesce(local, moved), pa.timestamp("ms"), safe=False)
    if form == ISO_FORM:
        return found
    twelve = pc.equal(pc.hour(found), 12)
    later = pc.if_else(pc.and_(halved, pc.and_(afternoon, pc.invert(twelve))), HALF_DAY_MS, 0)
    earlier = pc.if_else(pc.and_(halved, pc.and_(pc.invert(afternoon), twelve)), HALF_DAY_MS, 0)
    moved_by = pc.cast(pc.subtract(later, earlier), pa.duration("ms"))
    return pc.add(found, moved_by)


def hours(text: pa.Array) -> pa.Array:
    """Return times of day as hours since midnight; what is none is null."""
    parts = pc.extract_regex(text, CLOCK)
    hour, minute = (pc.cast(pc.struct_field(parts, name), pa.float64()) for name in ("h", "m"))
    second = pc.struct_field(parts, "s")
    second = pc.cast(pc.if_else(pc.equal(second, ""), "0", second), pa.float64())
    half = pc.utf8_lower(pc.struct_field(parts, "half"))
    hour = pc.if_else(pc.and_(pc.equal(half, "a"), pc.equal(hour, 12.0)), 0.0, hour)
    hour = pc.if_else(pc.and_(pc.equal(half, "p"), pc.less(hour, 12.0)), pc.add(hour, 12.0), hour)
    return pc.add(hour, pc.add(pc.divide(minute, 60.0), pc.divide(second, 3600.0)))


def _only(array: pa.Array, accepted: pa.Array) -> pa.Array:
    return pc.if_else(pc.fill_null(accepted, False), array, pa.scalar(None, array.type))
