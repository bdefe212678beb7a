"""Many rows at once into the float64 buffer a scorer takes.

A file of its own because it is the generic path's hottest loop: each column gets a small function for the ordinary
value, and anything else goes through serving.schema, whose answer (or message) counts.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from serving.errors import invalid
from serving.schema import FLOAT32_MAX, UNSEEN, Column, InvalidValue, Schema, encode, encode_row

Encoder = Callable[[Any], float]
NAN = float("nan")
INTEGERS = 2**53


class RowEncoder:
    """Encodes rows of one schema: lists in column order, or objects by column name."""

    def __init__(self, schema: Schema, ignore_unknown: bool = False) -> None:
        self.schema = schema
        self.encoders = tuple(_encoder(column) for column in schema.columns)
        self.names = schema.names
        self._known = frozenset((*schema.names, *schema.unused, schema.target.name))
        self._ignore_unknown = ignore_unknown
        self._pick = _picker(schema.names)

    def encode(self, rows: Sequence[Any], first: int, field: str = "instances") -> array[float]:
        """Return the encoded rows, one after the other.

        Args:
            first: Position of the first of these rows in the request, for messages.

        Raises:
            Refused: A row or value does not fit; the message starts with its path.
        """
        data = array("d")
        encoders = self.encoders
        width = len(encoders)
        for position, row in enumerate(rows, first):
            values = row
            if row.__class__ is dict:
                values = self._values(row, f"{field}[{position}]")
            elif row.__class__ is not list:
                raise invalid(f"{field}[{position}]: expected a list of {width} values or an object by column name")
            if len(values) != width:
                raise invalid(self._explained(row, values, f"{field}[{position}]"))
            try:
                data.extend([encoder(value) for encoder, value in zip(encoders, values, strict=True)])
            except InvalidValue:
                raise invalid(self._explained(row, values, f"{field}[{position}]")) from None
        return data

    def _values(self, row: Mapping[str, Any], path: str) -> Sequence[Any]:
        try:
            values = self._pick(row)
        except KeyError:
            raise invalid(_misfit(row, self.names, self._known, path)) from None
        if len(row) == len(self.names) or self._ignore_unknown:
            return values
        unknown = next((name for name in row if name not in self._known), None)
        if unknown is not None:
            raise invalid(f"{path}: unknown field {unknown[:80]!r}; the columns are {_listed(self.names)}")
        return values

    def _explained(self, row: Any, values: Sequence[Any], path: str) -> str:
        """Return why the row does not fit, with the path of the value."""
        try:
            if row.__class__ is not dict:
                encode_row(self.schema, values, path)
            for column, value in zip(self.schema.columns, values, strict=True):
                encode(column, value, f"{path}.{column.name}")
        except InvalidValue as error:
            return str(error)
        raise AssertionError(f"{path} fits after all")


def _misfit(row: Mapping[str, Any], names: Sequence[str], known: frozenset[str], path: str) -> str:
    """Return all that a row lacks, and what it has instead where that looks like a slip."""
    absent = [name for name in names if name not in row]
    told = f"{path}: lacks {_listed([repr(name) for name in absent])}; send null if its value is missing"
    if strange := [name for name in row if name not in known]:
        told += f"; unknown are {_listed([repr(name[:80]) for name in strange])}"
    return told


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    if len(names) == 1:
        return lambda row: (row[names[0]],)
    return itemgetter(*names)


def _encoder(column: Column) -> Encoder:
    """Return a function that equals `schema.encode` for one column; only its messages lack the path."""
    if column.kind in ("number", "integer"):
        return _number_encoder(column)
    if column.kind == "boolean":
        return _truth_encoder(column)
    if column.kind == "category":
        return _code_encoder(column)
    return lambda value: NAN if value is None else encode(column, value, "")


def _number_encoder(column: Column) -> Encoder:
    def number(value: Any) -> float:
        if value.__class__ is float and -FLOAT32_MAX <= value <= FLOAT32_MAX:
            return value
        if value.__class__ is int and -INTEGERS <= value <= INTEGERS:
            return float(value)
        if value is None:
            return NAN
        return encode(column, value, "")

    return number


def _truth_encoder(column: Column) -> Encoder:
    def truth(value: Any) -> float:
        if value is True:
            return 1.0
        if value is False:
            return 0.0
        return encode(column, value, "")

    return truth


def _code_encoder(column: Column) -> Encoder:
    codes = {category: float(code) for code, category in reversed(list(enumerate(column.categories)))}
    textual = not column.categories or isinstance(column.categories[0], str)
    ordinary = (str,) if textual else (int, float)

    def code(value: Any) -> float:
        if value.__class__ in ordinary and value != "":
            return codes.get(value, UNSEEN)
        return encode(column, value, "")

    return code


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
