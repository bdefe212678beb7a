"""Numbers as people and programs write them: separators, decimal commas, currencies, percent, accounting brackets.

A value such as `1,200` is one thing where a comma is the decimal point and another where it separates thousands. So
values are counted by what they can only mean, and a column is read one way, that of most of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
"""What needs no thought: digits, a decimal point, an exponent."""
POINT, COMMA = "point", "comma"
"""The decimal sign of a column whose numbers are not all plain."""
_SPACE = " \u00a0\u2007\u2009\u202f"
_APART = f"[{_SPACE}'’]"
_MINUS = "\u2212\u2013"
_SIGN = f"[+\\-{_MINUS}]"
_CODES = "USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|BRL|MXN|ZAR|KRW|TRY|RUB|SGD|HKD|ILS|THB"
_CURRENCY = rf"(?:(?:US|A|C|NZ|R|HK|S)?\$|[€£¥₹₩₽₺₫₪฿₴₦₱]|{_CODES}|[Kk]r\.?|zł|Kč|Rs\.?|Fr\.)"
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_EXACTLY = rf"(?:{_APART}\d{{3}})+"
# Groups of three, or of two before the last as in India: 12,34,567.
_POINT_GROUPS = rf"[1-9]\d{{0,2}}(?:(?:,\d{{2}})*,\d{{3}}|(?:,\d{{3}})+|{_EXACTLY})"
_COMMA_GROUPS = rf"[1-9]\d{{0,2}}(?:(?:\.\d{{3}})+|{_EXACTLY})"
_BODY = {
    POINT: rf"(?:(?:{_POINT_GROUPS}|\d+)(?:\.\d*)?|\.\d+){_EXPONENT}",
    COMMA: rf"(?:(?:{_COMMA_GROUPS}|\d+)(?:,\d+)?|,\d+){_EXPONENT}",
}
_BEFORE = rf"(?:{_SIGN}|{_CURRENCY}|[{_SPACE}])*"
_AFTER = rf"[{_SPACE}]*(?:{_CURRENCY}|%)?[{_SPACE}]*-?"
FORMS = {form: rf"^(?:{_BEFORE}{body}{_AFTER}|\({_BEFORE}{body}{_AFTER}\))$" for form, body in _BODY.items()}
_ALSO_COMMA = rf"^[+-]?(\d+|[1-9]\d{{0,2}}\.\d{{3}}){_EXPONENT}$"
"""Plain numbers that could have been written with a decimal comma: whole ones, and `1.234`."""
_NEGATIVE = rf"^\(|^[{_SPACE}]*(?:{_CURRENCY}[{_SPACE}]*)?[\-{_MINUS}]|-\)?$"
HUGE = r"^[+-]?\d{16,}(\.0*)?$"
"""Whole numbers that a float64 may not hold exactly."""


@dataclass
class Signs:
    """What the values of a column, so far, say about how its numbers are written.

    Attributes:
        plain: How many need no thought.
        point: How many of the others can be read with a decimal point.
        comma: How many of the others can be read with a decimal comma.
        only_point: How many, plain ones included, can be read with a decimal point only.
        only_comma: How many can be read with a decimal comma only.
        also_comma: How many plain ones can be read with a decimal comma as well.
        dotted: How many of these have a dot, such as `1.234`.
        either: How many of the others mean one thing with a point and another with a comma, such as `1,200`.
        units: Currency or `%` -> values that carry it; an empty text for those without.
    """

    plain: int = 0
    point: int = 0
    comma: int = 0
    only_point: int = 0
    only_comma: int = 0
    also_comma: int = 0
    dotted: int = 0
    either: int = 0
    example: str = ""
    units: Counter[str] = field(default_factory=Counter)

    def add(self, plain: pa.Array, others: pa.Array) -> None:
        """Count the plain numbers of a batch, and what is no plain number."""
        self.plain += len(plain)
        if len(plain):
            both = _true(pc.match_substring_regex(plain, _ALSO_COMMA))
            self.also_comma += both
            self.dotted += _true(pc.match_substring_regex(plain, r"^[+-]?[1-9]\d{0,2}\.\d{3}$"))
            self.only_point += len(plain) - both
        if not len(others):
            return
        fits = {form: pc.match_substring_regex(others, pattern) for form, pattern in FORMS.items()}
        ambiguous = others.filter(pc.and_(fits[POINT], fits[COMMA]))
        both = len(ambiguous)
        self.either += _true(pc.match_substring_regex(ambiguous, "[.,]"))
        point, comma = _true(fits[POINT]), _true(fits[COMMA])
        if point or comma:
            either = others.filter(pc.or_(fits[POINT], fits[COMMA]))
            self.example = self.example or str(either[0].as_py())
            for item in pc.value_counts(_unit(either)).to_pylist():
                self.units[item["values"]] += item["counts"]
        self.point, self.comma = self.point + point, self.comma + comma
        self.only_point, self.only_comma = self.only_point + point - both, self.only_comma + comma - both

    @property
    def mixed(self) -> list[str]:
        """The units of a column that has several, most frequent first; numbers with and without `%` are two, too."""
        found = [unit for unit, _ in self.units.most_common() if unit]
        percent = "%" in found and self.plain + self.units[""] > 0.1 * self.units["%"]
        return found if len(found) > 1 else ["%", "none"] if percent else []

    @property
    def certain(self) -> str:
        """The decimal sign that this column proves; empty when it proves none."""
        if self.only_point == self.only_comma:
            return ""
        return POINT if self.only_point > self.only_comma else COMMA

    def form(self, table: str) -> str:
        """Return the form that the column is read in.

        Args:
            table: The decimal sign that the person named, or that other columns prove; empty for none.
        """
        if not (self.point or self.comma) and not (table == COMMA and self.dotted and not self.only_point):
            return ""
        return self.certain or table or POINT

    def fitting(self, form: str) -> int:
        """Return how many values can be read in a form."""
        return self.also_comma + self.comma if form == COMMA else self.plain + (self.point if form == POINT else 0)


def plain(array: pa.Array, form: str) -> pa.Array:
    """Return texts of a form as plain numerals; whatever is none stays as it is and will not be cast."""
    if not form:
        return array
    fits = pc.match_substring_regex(array, FORMS[form])
    bare = pc.replace_substring_regex(array, rf"{_CURRENCY}|[%()\-+{_MINUS}{_SPACE}'’]", "")
    exponent = pc.match_substring_regex(array, r"[eE][+-]\d+")
    bare = pc.replace_substring(bare, "," if form == POINT else ".", "")
    bare = pc.replace_substring(bare, ",", ".") if form == COMMA else bare
    negative = pc.match_substring_regex(array, _NEGATIVE)
    signed = pc.if_else(negative, pc.binary_join_element_wise("-", bare, ""), bare)
    # A signed exponent would lose its sign above; such numbers have no separators, or are left as they are.
    return pc.if_else(pc.and_(fits, pc.invert(exponent)), signed, pc.if_else(exponent, array, pa.scalar("x")))


def told(signs: Signs, form: str, table: str) -> str:
    """Return in words how the numbers of a column are read, by an example; empty when they are plain."""
    if not form or not signs.example:
        return "a dot separates thousands" if form == COMMA else ""
    read = plain(pa.array([signs.example]), form)[0].as_py()
    said = f"{signs.example!r} is {read}"
    if signs.either and not signs.certain:
        other = "comma" if form == POINT else "point"
        why = "as in other columns" if table else "nothing says otherwise"
        sign = "," if form == POINT else "."
        said += f' ({why}; if it has a decimal {other}, override {{"decimal": "{sign}"}})'
    return said


def _unit(array: pa.Array) -> pa.Array:
    """Return the currency or percent sign of each value, an empty text where there is none."""
    return pc.replace_substring_regex(array, rf"[^%]*?({_CURRENCY}|%)[^%]*|.*", r"\1")


def _true(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)
