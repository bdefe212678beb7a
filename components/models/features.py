"""From encoded columns to what an estimator sees, as scikit-learn steps and as a plain list of terms.

The terms are why this is a file of its own: whoever converts a fitted pipeline (ONNX graph, C table) reads them instead
of scikit-learn's objects, so both conversions do the same arithmetic in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from components.models.derived import Combination, Derived, Ratio, Term, Terms
from serving.schema import FLOAT32_MAX, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Derive(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Append derived columns to a matrix."""

    def __init__(self, derived: tuple[Derived, ...] = ()) -> None:
        """Keep the parameters as scikit-learn's `clone` wants them."""
        self.derived = derived

    def fit(self, X: NDArray[np.float64], y: Any = None) -> Derive:
        """Learn the width only."""
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the matrix with the derived columns at its right."""
        return np.column_stack([X, *(_compute(derived, X) for derived in self.derived)])


class FillEmpty(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Put zero into columns that hold no value at all in training; gradient boosting cannot bin them."""

    def fit(self, X: NDArray[np.float64], y: Any = None) -> FillEmpty:
        """Learn which columns are empty: `statistics_` is 0 for these and NaN for the others, which keep their gaps."""
        self.n_features_in_ = X.shape[1]
        self.statistics_ = np.where(np.isnan(X).all(axis=0), 0.0, np.nan)
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the matrix without its empty columns' gaps."""
        return np.where(np.isnan(X), self.statistics_, X)


class Levels(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One column of ones and zeros per category; where gaps are frequent, missing is a category, too.

    Elsewhere a gap is the most frequent category. An unseen category is none: zeros. The imputer and the encoder of
    scikit-learn would have to be told before the fit which columns get that level.

    Args:
        sizes: Categories of each column.
        dense: Whether the estimator takes dense matrices only, or is slow with others. Then no more than `DENSE_CELLS`
            are made of the rows fitted on: the rarest categories count as unseen.
    """

    def __init__(self, sizes: tuple[int, ...] = (), dense: bool = False) -> None:
        """Keep the parameters as scikit-learn's `clone` wants them."""
        self.sizes = sizes
        self.dense = dense

    def fit(self, X: NDArray[np.float64], y: Any = None) -> Levels:
        """Learn what a gap is in each column (`statistics_`), and which codes get a column (`codes_`)."""
        self.n_features_in_ = X.shape[1]
        fills, counted = [], []
        for place, size in enumerate(self.sizes):
            values = X[:, place]
            present = values[~np.isnan(values) & (values >= 0)].astype(np.int64)
            counts = np.bincount(present, minlength=size)
            gaps = int(np.isnan(values).sum())
            fills.append(MISSING_LEVEL if gaps >= FEWEST_GAPS else float(counts.argmax()))
            known = [(float(code), int(counts[code])) for code in range(size)]
            counted.append([*known, (MISSING_LEVEL, gaps)] if gaps >= FEWEST_GAPS else known)
        self.statistics_ = np.array(fills)
        least = _least(counted, max(1, DENSE_CELLS // max(1, len(X)))) if self.dense else 0
        self.codes_ = [[code for code, number in column if number >= least] for column in counted]
        return self

    def transform(self, X: NDArray[np.float64]) -> Any:
        """Return the columns, as a sparse matrix where a dense one would be large."""
        filled = np.where(np.isnan(X), self.statistics_, X)
        width = sum(map(len, self.codes_))
        if len(X) * width > DENSE_CELLS and not self.dense:
            return self._sparse(filled, width)
        return self._dense(filled)

    def _dense(self, filled: NDArray[np.float64]) -> NDArray[np.float64]:
        blocks = [filled[:, [place]] == np.array(codes) for place, codes in enumerate(self.codes_)]
        return np.concatenate(blocks, axis=1).astype(np.float64)

    def _sparse(self, filled: NDArray[np.float64], width: int) -> Any:
        from scipy.sparse import csr_matrix

        rows, columns, start = [], [], 0
        for place, codes in enumerate(self.codes_):
            order = np.argsort(codes)
            ranked = np.array(codes)[order]
            found = np.minimum(np.searchsorted(ranked, filled[:, place]), len(codes) - 1)
            hit = np.flatnonzero(ranked[found] == filled[:, place])
            rows.append(hit)
            columns.append(start + order[found[hit]])
            start += len(codes)
        places = (np.concatenate(rows), np.concatenate(columns))
        return csr_matrix((np.ones(len(places[0])), places), shape=(len(filled), width))


def _least(counted: list[list[tuple[float, int]]], most: int) -> int:
    """Return how many rows a category must have for no more than `most` of them to have as many."""
    numbers = sorted((number for column in counted for _, number in column), reverse=True)
    if len(numbers) <= most:
        return 0
    return numbers[most - 1] + (numbers[most] == numbers[most - 1])


class Gaps(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Ones where a number is missing, for columns in which that is frequent: a gap may say as much as a number."""

    def fit(self, X: NDArray[np.float64], y: Any = None) -> Gaps:
        """Learn which columns have enough gaps, and enough values, for that to be learned from (`places_`)."""
        self.n_features_in_ = X.shape[1]
        gaps = np.isnan(X).sum(axis=0)
        self.places_ = np.flatnonzero((gaps >= FEWEST_GAPS) & (len(X) - gaps >= FEWEST_GAPS))
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one column for each of these."""
        return np.isnan(X[:, self.places_]).astype(np.float64)


FEWEST_GAPS = 10
"""Rows without a value from which their absence is something to learn from; fewer are filled in."""
MISSING_LEVEL = -2.0
"""The code of a missing category: no category has it, nor does an unseen one (-1)."""
MISSING_NUMBER = 1e39
"""Stands for a missing number where only its absence counts: beyond float32, so no value is equal to it."""
DENSE_CELLS = 16_000_000
"""Cells (128 MB) above which one-hot columns are kept sparse, or are made of fewer categories."""


def preprocess(
    schema: Schema,
    *,
    derived: Sequence[Ratio | Combination] = (),
    fill: bool = True,
    scale: bool = True,
    dense: bool = False,
) -> list[tuple[str, Any]]:
    """Return the pipeline steps before an estimator: derive, impute, scale, one-hot, and where values are missing.

    Args:
        fill: Replace missing numbers by the median; False leaves NaN to estimators that understand it.
        scale: Zero mean and unit variance of numbers; trees do not need it.
        dense: Whether the estimator takes dense matrices only, see `Levels`.
    """
    resolved = tuple(item.resolve(schema) for item in derived)
    added = range(len(schema.columns), len(schema.columns) + len(resolved))
    numbers = [i for i, column in enumerate(schema.columns) if column.kind in ("number", "integer", "date")]
    flags = [i for i, column in enumerate(schema.columns) if column.kind == "boolean"]
    categories = [i for i, column in enumerate(schema.columns) if column.kind == "category" and column.categories]
    gappy = [i for i in (*(numbers if fill else ()), *flags) if schema.columns[i].missing]
    sizes = tuple(len(schema.columns[i].categories) for i in categories)
    blocks = [
        ("numbers", _numbers(fill, scale), [*numbers, *added]),
        ("flags", SimpleImputer(strategy="most_frequent", keep_empty_features=True), flags),
        ("categories", Levels(sizes, dense), categories),
        ("gaps", Gaps(), gappy),
    ]
    columns = ColumnTransformer([block for block in blocks if block[2]])
    return [("derive", Derive(resolved)), ("columns", columns)] if resolved else [("columns", columns)]


def describe(steps: Sequence[tuple[str, Any]], inputs: int) -> Terms:
    """Return the terms of the fitted steps that `preprocess` made.

    Raises:
        TypeError: A step is of another kind, so nothing here knows what it computes.
    """
    derived: tuple[Derived, ...] = ()
    terms: tuple[Term, ...] = tuple(Term(column) for column in range(inputs))
    for name, step in steps:
        if isinstance(step, Derive):
            derived = step.derived
        elif isinstance(step, ColumnTransformer):
            terms = tuple(
                term
                for block, transformer, columns in step.transformers_
                if block != "remainder"
                for term in _terms(transformer, columns)
            )
        else:
            raise TypeError(f"step {name!r} is a {type(step).__name__}: expected Derive or ColumnTransformer")
    return Terms(inputs, derived, terms)


def _compute(derived: Derived, X: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if derived.operation == "ratio":
            value = X[:, derived.columns[0]] / X[:, derived.columns[1]]
        else:
            value = derived.coefficients[0] * X[:, derived.columns[0]]
            for column, coefficient in zip(derived.columns[1:], derived.coefficients[1:], strict=True):
                value = value + coefficient * X[:, column]
        return np.where(np.abs(value) <= FLOAT32_MAX, value, np.nan)


def _numbers(fill: bool, scale: bool) -> Pipeline:
    filled = SimpleImputer(strategy="median", keep_empty_features=True) if fill else FillEmpty()
    return Pipeline([("fill", filled), *([("scale", StandardScaler())] if scale else [])])


def _terms(transformer: Any, columns: Sequence[int]) -> list[Term]:
    """Return the terms of one fitted block of the column transformer."""
    steps = [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]
    fills: list[float | None] = [None] * len(columns)
    means: list[float | None] = [None] * len(columns)
    scales: list[float | None] = [None] * len(columns)
    for step in steps:
        if isinstance(step, SimpleImputer | FillEmpty):
            fills = [None if np.isnan(value) else float(value) for value in step.statistics_]
        elif isinstance(step, StandardScaler):
            means, scales = [float(value) for value in step.mean_], [float(value) for value in step.scale_]
        elif isinstance(step, Levels):
            return [
                Term(int(column), float(fill), code=code)
                for column, fill, known in zip(columns, step.statistics_, step.codes_, strict=True)
                for code in known
            ]
        elif isinstance(step, Gaps):
            return [Term(int(columns[int(place)]), MISSING_NUMBER, code=MISSING_NUMBER) for place in step.places_]
        else:
            raise TypeError(f"a {type(step).__name__} is not understood: expected an imputer, a scaler, levels or gaps")
    return [Term(int(column), *rest) for column, *rest in zip(columns, fills, means, scales, strict=True)]
