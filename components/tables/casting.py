"""From the text of a CSV to typed values: patterns that tell the kinds apart, and the casts that follow them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from serving.schema import FLOAT32_MAX, Kind

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "<NA>", "null", "NULL", "Null", "?", "#N/A", "NaT")
INTEGER = r"^[+-]?\d{1,15}(\.0*)?$"
"""Up to 15 digits: every such number is exact as float64."""
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
COMMA = r"^[+-]?\d+(,\d+)?$"
INFINITE = r"^[+-]?([iI][nN][fF]|[iI]nfinity|INFINITY)$"
LEADING_ZERO = r"^0\d+$"
TRUTH = r"^([tT]rue|TRUE|[fF]alse|FALSE)$"
_DAY = r"((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|[12]\d))"
_TIME = r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]([01]\d|2[0-3]):?[0-5]\d)?"
ISO = rf"^\d{{4}}-{_DAY}({_TIME})?$"
ZONE = r"(Z|[+-]\d{2}:?\d{2})$"
DATES = {
    ISO: "iso",
    r"^\d{4}/(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])$": "%Y/%m/%d",
    r"^(0?[1-9]|[12]\d|3[01])\.(0?[1-9]|1[0-2])\.\d{4}$": "%d.%m.%Y",
    r"^(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])/\d{4}$": "%m/%d/%Y",
    r"^(0?[1-9]|[12]\d|3[01])/(0?[1-9]|1[0-2])/\d{4}$": "%d/%m/%Y",
}
"""Pattern -> form; where a column fits two, the first wins."""
YES = ("true", "yes", "y", "t", "1", "1.0")
NO = ("false", "no", "n", "f", "0", "0.0")


@dataclass(frozen=True)
class Reading:
    """How one column becomes typed values.

    Attributes:
        form: `comma` for numbers with a decimal comma, `whole` for categories that are integers, else the form of
            dates (`iso`, `%d.%m.%Y`, ...).
    """

    name: str
    kind: Kind
    form: str = ""

    @property
    def type(self) -> pa.DataType:
        """Return the type of the values."""
        return pa.int64() if self.form == WHOLE else TYPES[self.kind]


WHOLE = "whole"
DAY = pa.timestamp("s")
TYPES: dict[Kind, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.timestamp("ms"),
    "category": pa.string(),
}


def is_missing(more: Sequence[str] = ()) -> frozenset[str]:
    """Return the texts that mean "no value"."""
    return frozenset(MISSING) | {text.strip() for text in more}


def absent(array: pa.Array, missing: frozenset[str]) -> pa.Array:
    """Return the array with null for every text that means "no value", and for NaN."""
    if pa.types.is_floating(array.type):
        return only(array, pc.invert(pc.is_nan(array)))
    if array.type != pa.string():
        return array
    return pc.if_else(pc.is_in(array, pa.array(sorted(missing), pa.string())), pa.scalar(None, pa.string()), array)


def typed(array: pa.Array, reading: Reading, missing: frozenset[str]) -> pa.Array:
    """Return the typed values of a column; whatever does not fit its kind, or is not finite, is null."""
    array = absent(array, missing)
    cast = {"number": _numbers, "integer": _integers, "boolean": _truths, "date": _dates, "category": _texts}
    return cast[reading.kind](array, reading.form)


def matches(array: pa.Array, pattern: str) -> pa.Array:
    """Return which texts match a pattern; null stays null."""
    return pc.match_substring_regex(array, pattern)


def only(array: pa.Array, accepted: Any) -> pa.Array:
    """Return the array with null wherever `accepted` is not true."""
    return pc.if_else(pc.fill_null(accepted, False), array, pa.scalar(None, array.type))


def _numbers(array: pa.Array, form: str) -> pa.Array:
    if pa.types.is_boolean(array.type):
        array = pc.cast(array, pa.int8())
    elif pa.types.is_timestamp(array.type):
        array = pc.divide(pc.cast(pc.cast(array, pa.int64()), pa.float64()), 86_400_000.0)
    elif array.type == pa.string():
        if form == "comma":
            array = pc.replace_substring(only(array, matches(array, COMMA)), ",", ".")
        array = pc.replace_substring_regex(only(array, matches(array, NUMBER)), r"^\+", "")
    numbers = pc.cast(array, pa.float64(), safe=False)
    return only(numbers, pc.less_equal(pc.abs(numbers), FLOAT32_MAX))


def _integers(array: pa.Array, form: str) -> pa.Array:
    if pa.types.is_integer(array.type):
        return array
    numbers = _numbers(array, form)
    return pc.cast(only(numbers, pc.equal(numbers, pc.floor(numbers))), pa.int64(), safe=False)


def _truths(array: pa.Array, form: str) -> pa.Array:
    if pa.types.is_boolean(array.type):
        return array
    text = pc.utf8_lower(pc.cast(array, pa.string()))
    known = pc.is_in(text, pa.array([*YES, *NO]))
    return only(pc.is_in(text, pa.array(YES)), known)


def _dates(array: pa.Array, form: str) -> pa.Array:
    if pa.types.is_timestamp(array.type):
        return array
    text = pc.cast(array, pa.string())
    if form.startswith("%"):
        pattern = next(pattern for pattern, known in DATES.items() if known == form)
        return pc.cast(pc.strptime(only(text, matches(text, pattern)), form, "s", error_is_null=True), TYPES["date"])
    return _iso(only(text, matches(text, ISO)))


def _iso(text: pa.Array) -> pa.Array:
    """Return ISO 8601 moments in UTC; without a zone they are UTC already. 29 February of a common year is null."""
    leap = pc.is_leap_year(pc.cast(pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, 4), "-01-01", ""), DAY))
    text = only(text, pc.or_(leap, pc.invert(matches(text, r"^\d{4}-02-29"))))
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")
    zoned = pc.fill_null(matches(text, ZONE), False)
    local = pc.cast(only(text, pc.invert(zoned)), pa.timestamp("us"))
    moved = pc.cast(pc.cast(only(text, zoned), pa.timestamp("us", "UTC")), pa.timestamp("us"))
    return pc.cast(pc.coalesce(local, moved), TYPES["date"], safe=False)


def _texts(array: pa.Array, form: str) -> pa.Array:
    if form == WHOLE:
        return _integers(array, "")
    if pa.types.is_timestamp(array.type):
        return pc.strftime(array, "%Y-%m-%d")
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "true", "false")
    return pc.cast(array, pa.string())
