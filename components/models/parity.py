"""The proof that a converted model answers what the fitted pipeline answers, where conversions go wrong.

Random rows hide the errors: a threshold is the midpoint of two training values, and imputed medians and integers sit
exactly on midpoints. So the questions are the training values, their midpoints, the thresholds of the trees and all of
their neighbours one bit away (in float64, and around the rounding to float32), missing values, unseen categories and
extremes, each put into real rows alone and in combinations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.models.features import describe
from components.models.score import Scorer, fitted
from components.models.trees import thresholds
from serving.schema import FLOAT32_MAX, UNSEEN, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-6
"""Largest accepted difference of a probability, or of a regression relative to the larger of 1 and the prediction."""
ROWS = 20_000


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Attributes:
        max_difference: The largest difference, as for TOLERANCE; infinite when one side answered NaN or nothing.
        flips: Rows whose most probable class differs.
    """

    rows: int
    max_difference: float
    flips: int

    @property
    def proven(self) -> bool:
        """Whether the model may be called the same."""
        return self.rows > 0 and self.flips == 0 and self.max_difference <= TOLERANCE


def prove(
    pipeline: Pipeline,
    schema: Schema,
    matrix: NDArray[np.float64],
    scorers: Mapping[str, Scorer],
    *,
    rows: int = ROWS,
    seed: int = 0,
) -> dict[str, Parity]:
    """Return the parity of each scorer with a fitted pipeline, by name.

    Args:
        matrix: The encoded training rows.
        rows: How many questions; any number can be asked.
    """
    asked = questions(pipeline, schema, matrix, rows=rows, seed=seed)
    with np.errstate(over="ignore", invalid="ignore"):  # scikit-learn adds up the extremes to look for infinities
        expected = fitted(pipeline)(asked)
    return {name: compare(expected, scorer(asked), bool(schema.target.classes)) for name, scorer in scorers.items()}


def compare(expected: NDArray[np.float64], actual: NDArray[np.float64], classes: bool) -> Parity:
    """Return how far two sets of answers are apart."""
    if expected.shape != actual.shape:
        return Parity(len(expected), float("inf"), len(expected))
    difference = np.abs(expected - actual)
    if not classes:
        difference = difference / np.maximum(1.0, np.abs(expected))
    difference = np.where(np.isnan(difference), np.inf, difference)
    flips = int((expected.argmax(axis=1) != actual.argmax(axis=1)).sum()) if classes else 0
    return Parity(len(expected), float(difference.max(initial=0.0)), flips)


def questions(
    pipeline: Pipeline, schema: Schema, matrix: NDArray[np.float64], *, rows: int = ROWS, seed: int = 0
) -> NDArray[np.float64]:
    """Return rows to ask both sides, deterministic for a seed.

    A quarter of them are training rows as they are (fewer if there are fewer); in the others one column holds its next
    probe, and in half of those about every third column holds a random probe as well.
    """
    generator = np.random.default_rng(seed)
    probes = [generator.permutation(values) for values in _probes(pipeline, schema, matrix)]
    asked = matrix[generator.integers(0, len(matrix), rows)].copy()
    plain = min(len(matrix), rows // 4)
    asked[:plain] = matrix[generator.permutation(len(matrix))[:plain]]
    columns = matrix.shape[1]
    for column, values in enumerate(probes):
        forced = np.arange(plain + column, rows, columns)
        asked[forced, column] = values[np.arange(len(forced)) % len(values)]
    mixed = np.arange(plain, rows)[generator.random(rows - plain) < 0.5]
    for column, values in enumerate(probes):
        chosen = mixed[generator.random(len(mixed)) < 0.35]
        asked[chosen, column] = generator.choice(values, len(chosen))
    return asked


def _probes(pipeline: Pipeline, schema: Schema, matrix: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the critical values of each column."""
    splits: dict[int, list[float]] = {}
    for member, trees in thresholds(pipeline):
        for column, value in _splits(member, trees, matrix.shape[1]):
            splits.setdefault(column, []).append(value)
    probes = []
    for position, described in enumerate(schema.columns):
        known = np.unique(matrix[~np.isnan(matrix[:, position]), position])
        if described.kind == "category":
            codes = np.arange(float(len(described.categories)))
            probes.append(np.concatenate([codes, [UNSEEN, np.nan]]))
        elif described.kind == "boolean":
            probes.append(np.array([0.0, 1.0, np.nan]))
        else:
            middles = (known[1:] + known[:-1]) / 2.0
            edges = np.unique(np.concatenate([middles, splits.get(position, [])]))
            extremes = [0.0, -1.0, 1e-300, 1e9, -1e9, 1e30, -1e30, np.nan, np.nan]
            probes.append(np.concatenate([known, _neighbours(known), _neighbours(edges), extremes]))
    return probes


def _splits(member: Any, trees: list[Any], inputs: int) -> list[tuple[int, float]]:
    """Return (input column, threshold in its units) of the splits on columns that are not derived or one-hot."""
    terms = describe(member.steps[:-1], inputs).terms
    found = []
    for tree in trees:
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            if feature < 0 or not np.isfinite(threshold):
                continue
            term = terms[feature]
            if term.column < inputs and term.code is None:
                scaled = threshold if term.scale is None else threshold * term.scale
                found.append((term.column, float(scaled + (term.mean or 0.0))))
    return found


def _neighbours(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values, their neighbours in float64, and where rounding to float32 changes sides around them."""
    below = np.nextafter(values.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    here = values.astype(np.float32).astype(np.float64)
    above = np.nextafter(values.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    ties = np.concatenate([(below + here) / 2.0, (here + above) / 2.0])
    near = np.concatenate([values, ties])
    around = np.concatenate([near, np.nextafter(near, -np.inf), np.nextafter(near, np.inf), below, here, above])
    return np.asarray(around[np.abs(around) <= FLOAT32_MAX])
