"""Which texts mean "no value": some do wherever they stand, some only among numbers and dates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ALWAYS = """
NA N/A n/a <NA> #N/A #NA NaN nan NAN -NaN -nan NaT None null NULL Null (null) <null> \\N ?
1.#IND -1.#IND 1.#QNAN -1.#QNAN #DIV/0! #VALUE! #REF! #NAME? #NUM! #NULL!
"""
_AMONG_NUMBERS = """
- -- --- – — . .. ... none NONE missing Missing MISSING unknown Unknown UNKNOWN unk UNK undefined
N.A. n.a. N.A n.a n/d N/D n.d. na Na nd ND nil NIL n/k tbd TBD k.A. (blank) blank
"""
ALWAYS = ("", "#N/A N/A", *_ALWAYS.split())
"""What pandas, R, SQL databases and spreadsheets write for a gap; `None` is what Python's csv module writes."""
AMONG_NUMBERS = ("not available", "Not Available", "not applicable", "Not Applicable", *_AMONG_NUMBERS.split())
"""Levels of a category as they stand (`none` is an answer), gaps in a column of numbers or dates."""
COUNTRY = "NA"
CODE = re.compile(r"[A-Z]{2}")
FEWEST_CODES = 5


class Markers:
    """What means "no value" in each column.

    Args:
        more: Texts of this table's own, wherever they stand.
        kept: Column -> texts that are values there, whatever they usually mean; `*` stands for every column.
        typed: Whether the file tells gaps from texts by itself (Parquet), so that only an empty text is one.
    """

    def __init__(
        self, more: Sequence[str] = (), kept: Mapping[str, Sequence[str]] | None = None, *, typed: bool = False
    ) -> None:
        """Start with the usual ones."""
        self._always = frozenset(("",) if typed else ALWAYS) | {text.strip() for text in more}
        self._among = frozenset((*AMONG_NUMBERS, *(ALWAYS if typed else ())))
        self._kept = {name: frozenset(texts) for name, texts in (kept or {}).items()}

    def always(self, column: str) -> frozenset[str]:
        """Return the texts that mean "no value" in a column of any kind."""
        return self._always - self._kept.get(column, frozenset()) - self._kept.get("*", frozenset())

    def among_numbers(self, column: str) -> frozenset[str]:
        """Return those that do so as well where the other values are numbers or dates."""
        return (self._among | self._always) - self.always(column)

    def keeping(self, column: str, text: str) -> Markers:
        """Return the same, but that a text is a value in a column."""
        changed = Markers()
        changed._always, changed._among = self._always, self._among
        changed._kept = {**self._kept, column: self._kept.get(column, frozenset()) | {text}}
        return changed


def is_code(value: object) -> bool:
    """Return whether a value looks like a code of two letters, as of countries: then `NA` is Namibia."""
    return isinstance(value, str) and CODE.fullmatch(value) is not None
