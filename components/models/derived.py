"""What an estimator may see beside the columns of a schema, and how each of its columns is computed: plain data.

It stands apart from `features`, which makes scikit-learn steps of it: use cases are listed without loading that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from serving.schema import Schema


@dataclass(frozen=True)
class Derived:
    """A new column computed from others, by position.

    Attributes:
        operation: `ratio` is columns[0] / columns[1]; `combination` is the sum of coefficient times column, added from
            left to right. Whatever is not finite within float32 (a zero denominator, a missing part) is missing.
    """

    operation: Literal["ratio", "combination"]
    columns: tuple[int, ...]
    coefficients: tuple[float, ...] = ()


@dataclass(frozen=True)
class Ratio:
    """One column divided by another, by name."""

    numerator: str
    denominator: str

    def resolve(self, schema: Schema) -> Derived:
        """Return the same with positions."""
        return Derived("ratio", (schema.names.index(self.numerator), schema.names.index(self.denominator)))


@dataclass(frozen=True)
class Combination:
    """A weighted sum of columns, by name; two coordinates rotated, for example."""

    weights: Mapping[str, float]

    def resolve(self, schema: Schema) -> Derived:
        """Return the same with positions."""
        columns = tuple(schema.names.index(name) for name in self.weights)
        return Derived("combination", columns, tuple(self.weights.values()))


def rotations(across: str, up: str, degrees: Sequence[float]) -> tuple[Combination, ...]:
    """Return two coordinates turned by each angle: trees split along axes, and coasts and valleys run at a slant."""
    turned = []
    for angle in map(math.radians, degrees):
        turned.append(Combination({across: math.cos(angle), up: math.sin(angle)}))
        turned.append(Combination({across: -math.sin(angle), up: math.cos(angle)}))
    return tuple(turned)


@dataclass(frozen=True)
class Term:
    """One column that an estimator sees, from the encoded columns followed by the derived ones.

    Its value: take the column; if missing, `fill`; then 1.0 or 0.0 for equality with `code` if that is set, else
    subtract `mean` and divide by `scale` where these are set. Every step rounds once, in float64.
    """

    column: int
    fill: float | None = None
    mean: float | None = None
    scale: float | None = None
    code: float | None = None


@dataclass(frozen=True)
class Terms:
    """All that happens before the estimator."""

    inputs: int
    derived: tuple[Derived, ...] = ()
    terms: tuple[Term, ...] = field(default_factory=tuple)
