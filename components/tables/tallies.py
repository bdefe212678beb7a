"""Counts what the values of a raw column look like, in bounded memory, so that its kind can be decided at the end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.tables.casting import (
    COMMA,
    DATES,
    INFINITE,
    INTEGER,
    LEADING_ZERO,
    NUMBER,
    TRUTH,
    absent,
    matches,
    only,
)
from serving.schema import Kind

MOST_DISTINCT = 10_000
"""Different values that are counted one by one; a column with more is no category."""
NUMERIC_SHARE = 0.9
"""A column of numbers or dates may hold one tenth of something else (`unknown`, `n.a.`), which becomes missing."""


class Tally:
    """What one column holds, so far.

    Attributes:
        distinct: Number of different values, None when there are more than `MOST_DISTINCT`.
        consecutive: Whether the values count up by one from row to row.
    """

    def __init__(self, name: str, missing: frozenset[str]) -> None:
        """Start with no rows."""
        self.name = name
        self.rows = 0
        self.present = 0
        self.infinite = 0
        self.leading_zeros = 0
        self._no_number: Any = None
        self._no_date: Any = None
        self._missing = missing
        self._type: pa.DataType | None = None
        self._values: Counter[Any] | None = Counter()
        self._patterns = dict.fromkeys((INTEGER, NUMBER, COMMA, TRUTH, *DATES), 0)
        self._last: float | None = None
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
        return self._values.most_common(1)[0][0] if self._values else self._no_number

    @property
    def whole(self) -> bool:
        """Whether every value is an integer."""
        return self._patterns[INTEGER] == self.present

    @property
    def countable(self) -> bool:
        """Whether the values are texts or numbers, not truths or dates."""
        kind = self._type
        return kind is not None and not (pa.types.is_boolean(kind) or pa.types.is_timestamp(kind))

    def covered(self, most: int) -> int:
        """Return how many rows the `most` frequent values cover."""
        return sum(number for _, number in self._values.most_common(most)) if self._values else 0

    def add(self, array: pa.Array) -> None:
        """Count the values of a batch."""
        self._type = array.type
        self.rows += len(array)
        array = absent(array, self._missing).drop_null()
        self.present += len(array)
        if len(array) == 0:
            return
        self._count_values(array)
        if array.type == pa.string():
            self._count_patterns(array)
        else:
            self._count_typed(array)

    def kind(self) -> tuple[Kind, str]:
        """Return the kind of the column and the form of its values (see `Reading`)."""
        if self._type is not None and self._type != pa.string():
            return self._typed_kind(), ""
        found = self._patterns
        if self.present and found[TRUTH] == self.present:
            return "boolean", ""
        for pattern, form in DATES.items():
            if found[pattern] >= NUMERIC_SHARE * max(self.present, 1):
                return "date", form
        if self.leading_zeros and found[INTEGER] >= NUMERIC_SHARE * self.present:
            return "category", ""
        if found[NUMBER] + self.infinite >= NUMERIC_SHARE * max(self.present, 1):
            return ("integer" if found[INTEGER] == found[NUMBER] and found[NUMBER] else "number"), ""
        if found[COMMA] >= NUMERIC_SHARE * max(self.present, 1):
            return "number", "comma"
        return "category", ""

    def odd(self, kind: Kind) -> int:
        """Return how many values do not fit a kind."""
        if self._type != pa.string():
            return 0
        found = self._patterns
        fitting = {
            "integer": found[INTEGER] + self.infinite,
            "number": max(found[NUMBER], found[COMMA]) + self.infinite,
            "date": max(found[pattern] for pattern in DATES),
            "boolean": found[TRUTH] or self.present,
        }
        return self.present - fitting.get(kind, self.present)

    def odd_example(self, kind: Kind) -> Any:
        """Return a value that does not fit a kind."""
        return self._no_date if kind == "date" else self._no_number

    def _count_values(self, array: pa.Array) -> None:
        if self._values is None:
            return
        for item in pc.value_counts(array).to_pylist():
            self._values[item["values"]] += item["counts"]
        if len(self._values) > MOST_DISTINCT:
            self._no_number = self._no_number or next(iter(self._values))
            self._values = None

    def _count_patterns(self, array: pa.Array) -> None:
        """Count matches; a pattern that most values so far did not match is given up, which saves most of the time."""
        before = self.present - len(array)
        for pattern, count in self._patterns.items():
            if count >= before / 2:
                self._patterns[pattern] = count + _true(matches(array, pattern))
        numbers = matches(array, NUMBER)
        if _true(numbers) < len(array):
            infinite = matches(array, INFINITE)
            self.infinite += _true(infinite)
            rest = array.filter(pc.invert(pc.or_(numbers, infinite)))
            self._no_number = self._no_number or (rest[0].as_py() if len(rest) else None)
        form = max(DATES, key=lambda pattern: self._patterns[pattern])
        if self._patterns[form] and self._no_date is None:
            rest = array.filter(pc.invert(matches(array, form)))
            self._no_date = rest[0].as_py() if len(rest) else None
        if self._patterns[INTEGER]:
            self.leading_zeros += _true(matches(array, LEADING_ZERO))
        self._follow(only(array, matches(array, INTEGER)) if self._patterns[INTEGER] == self.present else None)

    def _count_typed(self, array: pa.Array) -> None:
        if pa.types.is_floating(array.type):
            finite = pc.is_finite(array)
            self.infinite += len(array) - _true(finite) - _true(pc.is_nan(array))
            numbers = array.filter(finite)
            self._patterns[INTEGER] += _true(pc.equal(numbers, pc.floor(numbers)))
        elif pa.types.is_integer(array.type):
            self._patterns[INTEGER] += len(array)
        self._follow(array if pa.types.is_integer(array.type) else None)

    def _follow(self, array: pa.Array | None) -> None:
        """Keep track of whether the values count up by one."""
        if not self.consecutive or array is None:
            self.consecutive = False
            return
        values = pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False)
        joined = values if self._last is None else np.append(self._last, values)
        self.consecutive = bool(np.all(np.diff(joined) == 1))
        self._last = float(values[-1])

    def _typed_kind(self) -> Kind:
        kind = self._type
        if pa.types.is_boolean(kind):
            return "boolean"
        if pa.types.is_timestamp(kind):
            return "date"
        return "integer" if self.present and self.whole else "number"


def _true(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)
