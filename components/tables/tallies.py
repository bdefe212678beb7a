"""Counts what the values of a raw column look like, in bounded memory, so that its kind can be decided at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.tables.calendars import TIME_FORM, Dates
from components.tables.casting import INFINITE, INTEGER, LEADING_ZERO, TRUTH, absent, matches, only
from components.tables.markers import COUNTRY
from components.tables.numerals import HUGE, PLAIN, Signs
from serving.schema import Kind

MOST_DISTINCT = 10_000
"""Different values that are counted one by one; a column with more is no category."""
NUMERIC_SHARE = 0.9
"""A column of numbers or dates may hold one tenth of something else (`see below`), which becomes missing."""
EXACT = 1 << 53
"""Beyond it, float64 does not tell a whole number from the next."""


@dataclass(frozen=True)
class Customs:
    """What the columns of a table have in common; empty where nothing proves it.

    Attributes:
        decimal: The form of numbers, see `numerals`.
        first: Which comes first in dates, see `calendars`.
    """

    decimal: str = ""
    first: str = ""


class Tally:
    """What one column holds, so far.

    Attributes:
        distinct: Number of different values, None when there are more than `MOST_DISTINCT`.
        marked: Values `NA`, while they mean "no value".
        weak: Values that mean "no value" if the column is one of numbers or dates.
        huge: Whole numbers that a float64 may not hold exactly.
        consecutive: Whether the values count up by one from row to row.
    """

    def __init__(self, name: str, missing: frozenset[str], weak: frozenset[str] = frozenset()) -> None:
        """Start with no rows.

        Args:
            missing: Texts that mean "no value".
            weak: Texts that do among numbers and dates.
        """
        self.name = name
        self.rows = 0
        self.present = 0
        self.infinite = 0
        self.leading_zeros = 0
        self.weak = 0
        self.marked = 0
        self.huge = 0
        self.signs = Signs()
        self.dates = Dates()
        self._missing = missing
        self._weak = pa.array(sorted(weak), pa.string())
        self._type: pa.DataType | None = None
        self._values: Counter[Any] | None = Counter()
        self._example: Any = None
        self._patterns = dict.fromkeys((INTEGER, TRUTH), 0)
        self._last: int | None = None
        self.consecutive = True

    @property
    def distinct(self) -> int | None:
        return None if self._values is None else len(self._values)

    @property
    def unique(self) -> bool:
        """Whether no value occurs twice, as far as it is known."""
        return self.present == self.rows and (self.consecutive or self.distinct == self.present)

    @property
    def example(self) -> Any:
        """Return the most frequent value, or one of them when they are not counted."""
        return self._values.most_common(1)[0][0] if self._values else self._example

    @property
    def values(self) -> Counter[Any]:
        """Return how often each value occurs; empty when there are too many to count."""
        return self._values or Counter()

    @property
    def whole(self) -> bool:
        """Whether every value is an integer."""
        return self._patterns[INTEGER] == self.present

    @property
    def countable(self) -> bool:
        """Whether the values are texts or numbers, not truths or dates."""
        kind = self._type
        return kind is not None and not (pa.types.is_boolean(kind) or pa.types.is_timestamp(kind))

    @property
    def identifies(self) -> bool:
        """Whether it holds whole numbers that no number here can hold, so many of them that they name the rows."""
        whole = self._patterns[INTEGER] + self.huge == self.present
        return bool(self.huge and whole and (self.distinct is None or self.distinct > self.present / 2))

    def covered(self, most: int) -> int:
        """Return how many rows the `most` frequent values cover."""
        return sum(number for _, number in self._values.most_common(most)) if self._values else 0

    def add(self, array: pa.Array) -> None:
        """Count the values of a batch."""
        self._type = array.type
        self.rows += len(array)
        if COUNTRY in self._missing and array.type == pa.string():
            self.marked += _true(pc.equal(array, COUNTRY))
        array = absent(array, self._missing).drop_null()
        self.present += len(array)
        if len(array) == 0:
            return
        self._count_values(array)
        if array.type == pa.string():
            self._count_patterns(array)
        else:
            self._count_typed(array)

    def kind(self, customs: Customs = Customs()) -> tuple[Kind, str]:
        """Return the kind of the column and the form of its values (see `Reading`)."""
        if self._type is not None and self._type != pa.string():
            return self._typed_kind(), ""
        found, present = self._patterns, self.present - self.weak
        if self.present and found[TRUTH] == self.present:
            return "boolean", ""
        if self.identifies:
            return "category", ""
        needed = NUMERIC_SHARE * max(present, 1)
        if form := self.dates.form(needed, customs.first, self.distinct):
            return ("number" if form == TIME_FORM else "date"), form
        if self.leading_zeros and found[INTEGER] >= NUMERIC_SHARE * present:
            return "category", ""
        form = self.signs.form(customs.decimal)
        if present and self.signs.fitting(form) + self.infinite >= needed and not self.signs.mixed:
            whole = not form and found[INTEGER] == self.signs.plain
            return ("integer" if whole else "number"), form
        return "category", ""

    def _count_values(self, array: pa.Array) -> None:
        if self._values is None:
            return
        for item in pc.value_counts(array).to_pylist():
            self._values[item["values"]] += item["counts"]
        if len(self._values) > MOST_DISTINCT:
            self._example = next(iter(self._values))
            self._values = None

    def _count_patterns(self, array: pa.Array) -> None:
        before = self.present - len(array) - self.weak
        plain = matches(array, PLAIN)
        numbers = array.filter(plain)
        if len(numbers) == len(array):
            self.signs.add(numbers, array[:0])
            self.dates.add_numbers(array)
        else:
            self._count_texts(array, numbers, pc.invert(plain), before)
        whole = self._count(INTEGER, numbers, before)
        if self._patterns[INTEGER]:
            self.leading_zeros += _true(matches(numbers, LEADING_ZERO))
        if whole < len(numbers):
            self.huge += _true(matches(numbers, HUGE))
        self._follow(only(array, matches(array, INTEGER)) if self._patterns[INTEGER] == self.present else None)

    def _count_texts(self, array: pa.Array, numbers: pa.Array, other: pa.Array, before: int) -> None:
        """Count what is not only plain numbers."""
        texts = array.filter(other)
        weak = pc.is_in(texts, self._weak)
        self.weak += _true(weak)
        texts = texts.filter(pc.invert(weak))
        infinite = matches(texts, INFINITE)
        self.infinite += _true(infinite)
        self.signs.add(numbers, texts.filter(pc.invert(infinite)))
        self.dates.add(pa.concat_arrays([numbers, texts]))
        self._count(TRUTH, texts, before)

    def _count(self, pattern: str, array: pa.Array, before: int) -> int:
        """Count matches and return those of this batch; a pattern that most values before it lack is given up."""
        if self._patterns[pattern] < before / 2:
            return 0
        found = _true(matches(array, pattern))
        self._patterns[pattern] += found
        return found

    def _count_typed(self, array: pa.Array) -> None:
        if pa.types.is_floating(array.type):
            finite = pc.is_finite(array)
            self.infinite += len(array) - _true(finite) - _true(pc.is_nan(array))
            numbers = array.filter(finite)
            self._patterns[INTEGER] += _true(pc.equal(numbers, pc.floor(numbers)))
        elif pa.types.is_integer(array.type):
            beyond = _true(pc.or_(pc.greater(array, EXACT), pc.less(array, -EXACT)))
            self.huge += beyond
            self._patterns[INTEGER] += len(array) - beyond
        self._follow(array if pa.types.is_integer(array.type) else None)

    def _follow(self, array: pa.Array | None) -> None:
        """Keep track of whether the values count up by one."""
        if not self.consecutive or array is None:
            self.consecutive = False
            return
        if array.type == pa.string():
            array = pc.cast(pc.replace_substring_regex(array, r"^\+|\.0*$", ""), pa.int64())
        values = array.to_numpy(zero_copy_only=False)
        joined = values if self._last is None else np.append(np.int64(self._last), values)
        self.consecutive = bool(np.all(joined[1:] == joined[:-1] + 1))
        self._last = int(values[-1])

    def _typed_kind(self) -> Kind:
        kind = self._type
        if pa.types.is_boolean(kind):
            return "boolean"
        if pa.types.is_timestamp(kind):
            return "date"
        if self.identifies:
            return "category"
        return "integer" if self.present and self.whole else "number"


def _true(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)
