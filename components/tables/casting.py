"""From the text of a CSV to typed values: the casts that follow the kind and the form that were decided on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.tables import calendars, numerals
from serving.schema import FLOAT32_MAX, Kind

INTEGER = r"^[+-]?\d{1,15}(\.0*)?$"
"""Up to 15 digits: every such number is exact as float64."""
INFINITE = r"^[+-]?([iI][nN][fF]|[iI]nfinity|INFINITY)$"
LEADING_ZERO = r"^0\d+$"
TRUTH = r"^([tT]rue|TRUE|[fF]alse|FALSE)$"
YES = ("true", "yes", "y", "t", "1", "1.0")
NO = ("false", "no", "n", "f", "0", "0.0")
WHOLE = "whole"


@dataclass(frozen=True)
class Reading:
    """How one column becomes typed values.

    Attributes:
        form: Of numbers, `point` or `comma` (see `numerals`) or `time of day`; `whole` for categories that are
            integers; else the form of dates (see `calendars`).
    """

    name: str
    kind: Kind
    form: str = ""

    @property
    def type(self) -> pa.DataType:
        """Return the type of the values."""
        return pa.int64() if self.form == WHOLE else TYPES[self.kind]


TYPES: dict[Kind, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.timestamp("ms"),
    "category": pa.string(),
}


def absent(array: pa.Array, missing: frozenset[str]) -> pa.Array:
    """Return the array with null for every text that means "no value", and for NaN."""
    if pa.types.is_floating(array.type):
        return only(array, pc.invert(pc.is_nan(array)))
    if array.type != pa.string():
        return array
    return pc.if_else(pc.is_in(array, pa.array(sorted(missing), pa.string())), pa.scalar(None, pa.string()), array)


def typed(array: pa.Array, reading: Reading) -> pa.Array:
    """Return the typed values of a column whose gaps are null; what does not fit, or is not finite, is null as well."""
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
        if form == calendars.TIME_FORM:
            return calendars.hours(array)
        array = numerals.plain(array, form)
        array = pc.replace_substring_regex(only(array, matches(array, numerals.PLAIN)), r"^\+", "")
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
    return calendars.moments(pc.cast(array, pa.string()), form or calendars.ISO_FORM)


def _texts(array: pa.Array, form: str) -> pa.Array:
    if form == WHOLE:
        return _integers(array, "")
    if pa.types.is_timestamp(array.type):
        return pc.strftime(array, "%Y-%m-%d")
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "true", "false")
    return pc.cast(array, pa.string())
