"""What a person should know of a data set before reading all of it: a line per oddity, the gravest kinds first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from components.dataset import Dataset
from components.tables import relations
from components.tables.checks import Facts
from components.tables.statistics import Values
from components.tables.wording import share

if TYPE_CHECKING:
    from numpy.typing import NDArray

TELLING = 0.9
"""Association with the target from which a column may be the answer in disguise."""
TWINS = 0.9
"""Rank correlation from which two columns say nearly the same."""
FEW = 0.1
"""Share of a class below which it is called rare."""
GAPS = 0.05
ONE_VALUE = 0.98
MOSTLY_ZERO = 0.5
SKEW = 3.0
MANY = 50
"""Categories from which a column has many."""
SHOWN = 8
"""Columns named per kind; the others are counted."""


def alerts(
    dataset: Dataset, facts: Facts, matrix: NDArray[np.float64], target: NDArray[Any], strength: Mapping[str, float]
) -> list[str]:
    """Return sentences about a data set.

    Args:
        matrix: Encoded training rows, float64 [rows, columns].
        target: Their encoded target.
        strength: Column -> association with the target, 0 to 1.
    """
    found = {
        "may be the answer in disguise (association with the target)": [
            f"{name} {value:.2f}" for name, value in strength.items() if value >= TELLING
        ],
        "of the rows is all that a class has": list(_rare(facts)),
        "of the rows lack a value": list(_gaps(facts)),
        "is nearly always the same": list(_constant(facts)),
        "rise and fall together (rank correlation)": list(_twins(dataset, matrix, target)),
        "are mostly zero": list(_zeros(dataset, matrix)),
        "have a long tail (skewness)": list(_skewed(dataset, matrix)),
        "have many categories": [
            f"{name} {len(one.counts):,}"
            for name, one in facts.columns.items()
            if isinstance(one, Values) and len(one.counts) > MANY
        ],
    }
    told = [f"{_listed(items)}: {what}" for what, items in found.items() if items]
    if facts.duplicates:
        told.append(f"{facts.duplicates:,} rows repeat another one; equal rows are kept in one split where they can be")
    return told


def moments(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return skewness, share of zeros, and share of outliers beyond 1.5 interquartile ranges (Tukey 1977); NaN-free."""
    present = values[~np.isnan(values)]
    if len(present) < 2 or np.ptp(present) == 0:
        return 0.0, float(np.mean(present == 0)) if len(present) else 0.0, 0.0
    centred = (present - present.mean()) / present.std()
    low, high = np.quantile(present, (0.25, 0.75))
    reach = 1.5 * (high - low)
    return (
        float((centred**3).mean()),
        float((present == 0).mean()),
        float(((present < low - reach) | (present > high + reach)).mean()),
    )


def _rare(facts: Facts) -> Iterator[str]:
    if isinstance(facts.target, Values):
        total = sum(facts.target.counts.values()) or 1
        for label, count in facts.target.counts.items():
            if count / total < FEW:
                yield f"{label} {share(count / total)}"


def _gaps(facts: Facts) -> Iterator[str]:
    gaps = {name: one.missing_share for name, one in facts.columns.items() if one.missing_share >= GAPS}
    for name, part in sorted(gaps.items(), key=lambda item: -item[1]):
        yield f"{name} {share(part)}"


def _constant(facts: Facts) -> Iterator[str]:
    for name, one in facts.columns.items():
        present = one.rows - one.missing
        most = max(one.counts.values(), default=0) if isinstance(one, Values) else present * (one.distinct == 1)
        if present and most / present >= ONE_VALUE:
            yield name


def _twins(dataset: Dataset, matrix: NDArray[np.float64], target: NDArray[Any]) -> Iterator[str]:
    names, correlated = relations.correlations(dataset.schema, matrix, target)
    own = [place for place, name in enumerate(names) if name != dataset.schema.target.name]
    pairs = [
        (abs(correlated[one][other]), names[one], names[other])
        for position, one in enumerate(own)
        for other in own[position + 1 :]
        if abs(correlated[one][other]) >= TWINS
    ]
    for value, one, other in sorted(pairs, reverse=True):
        yield f"{one} and {other} {value:.2f}"


def _zeros(dataset: Dataset, matrix: NDArray[np.float64]) -> Iterator[str]:
    for place, column in enumerate(dataset.schema.columns):
        if column.kind in ("number", "integer"):
            _, zeros, _ = moments(matrix[:, place])
            if MOSTLY_ZERO <= zeros < 1:
                yield f"{column.name} {share(zeros)}"


def _skewed(dataset: Dataset, matrix: NDArray[np.float64]) -> Iterator[str]:
    for place, column in enumerate(dataset.schema.columns):
        if column.kind in ("number", "integer"):
            skew, _, _ = moments(matrix[:, place])
            if abs(skew) >= SKEW:
                yield f"{column.name} {skew:.1f}"


def _listed(items: list[str]) -> str:
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest
