"""How much a large JSON body would become, bounded before it is parsed, and its rows parsed a part at a time.

A body of 16 MB can hold five million empty lists: 700 MB and three seconds of the event loop. What a request may hold
follows from the schema and from `max_rows`; a pass in C, in a thread and without the interpreter's lock, counts first.
"""

from __future__ import annotations

import gc
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson

from serving import native
from serving.errors import Refused, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.options import Options
    from serving.predictor import Predictor

VALUE_BYTES = 64
"""What a value of parsed JSON takes at most, besides its text: a number and its place in a list are 40, an empty object
in a list is 72, of which two values are counted."""
PARSED_SHARE = 0.75
"""Of the budget, how much one parsed body may take."""
DEEPEST = 64
SPARE = 10_000
"""Values that a request may have besides those of its rows."""


@dataclass(frozen=True)
class Outline:
    """What a body is, unparsed.

    Attributes:
        values: Commas, lists and objects: no fewer than half of its values.
        widest: Of these, most within one element of the list.
        elements: Of the list `instances`; -1 where there is no such list, or more than one.
        start: Where the inside of that list begins.
        cuts: Where its elements number `every`, 2 `every`, … begin.
    """

    values: int
    deepest: int
    widest: int
    elements: int
    start: int
    end: int
    cuts: Sequence[int]
    every: int


def outline(body: bytes, every: int) -> Outline:
    """Return the outline of a body; without the extension a coarser one, without the list."""
    if native.available():
        from serving.native._native import outline as scan

        values, deepest, widest, elements, start, end, cuts = scan(body, b"instances", every)
        return Outline(values, deepest, widest, elements, start, end, cuts, every)
    values = sum(map(body.count, (b",", b"[", b"{")))  # those within texts count as well
    return Outline(values, 0, 0, -1, 0, 0, (), every)


def check(
    found: Outline, size: int, predictor: Predictor, options: Options, budget: int, *, streamed: bool = False
) -> None:
    """Refuse a body that holds more than its rows could, or that would become too large.

    Args:
        streamed: Whether its rows are going to be parsed a part at a time.

    Raises:
        Refused: With the limit that it goes beyond.
    """
    schema = predictor.schema
    columns = len(schema.columns) + len(schema.unused) + 1  # the target of a row of the table
    most = options.max_rows * (2 * columns + 4) + SPARE
    if found.deepest > DEEPEST:
        raise invalid(f"the body: lists and objects within each other {found.deepest} deep, at most {DEEPEST}")
    if found.values > most:
        raise invalid(
            f"the body: {found.values:,} values, at most {most:,} ({options.max_rows:,} rows of {columns} columns)"
        )
    if not options.ignore_unknown and found.widest > 4 * columns + DEEPEST:
        raise invalid(f"instances: a row with more than {found.widest:,} values, the model has {columns} columns")
    if not streamed and found.values * VALUE_BYTES + size > budget * PARSED_SHARE:
        raise Refused(413, "the body would take more memory when parsed than this server has for it: send fewer rows")


def loads(body: bytes | memoryview) -> Any:
    """Return parsed JSON; the cyclic collector, which would look at every new list again and again, waits meanwhile."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        if collecting:
            gc.enable()


class StreamedInstances:
    """The rows of a large V1 request, parsed a part at a time: the whole of them as Python objects never exists."""

    def __init__(self, predictor: Predictor, body: bytes, found: Outline) -> None:
        self.count = found.elements
        self._body = memoryview(body)
        self._every = found.every
        edges = [found.start, *found.cuts, found.end + 1]
        self._parts = [(start, stop - 1) for start, stop in pairwise(edges)]
        self._encode = predictor.encoder.encode

    def encode(self, start: int, stop: int) -> array[float]:
        """Return some of the rows, encoded.

        Raises:
            Refused: They are not JSON, or do not fit.
        """
        first, last = self._parts[start // self._every]
        try:
            rows = loads(b"".join((b"[", self._body[first:last], b"]")))
        except orjson.JSONDecodeError as error:
            raise invalid(f"the body is not JSON: {error} (in the rows from instances[{start}] on)") from None
        if len(rows) != stop - start:
            raise invalid(f"the body is not JSON: a comma without a row after instances[{start + len(rows) - 1}]")
        return self._encode(rows, start)


def head(body: bytes, found: Outline) -> bytes:
    """Return the body with an empty list in place of its rows."""
    return b"".join((body[: found.start], body[found.end :]))
