"""Terms say exactly what the scikit-learn steps do, and derived columns never hold what a model cannot take."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from components.dataset import Dataset
from components.models.features import Combination, Derive, Derived, Ratio, Terms, describe, preprocess


def values(terms: Terms, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the terms say, one column after the other."""
    X = Derive(terms.derived).fit(X).transform(X)
    columns = []
    for term in terms.terms:
        column = X[:, term.column]
        if term.fill is not None:
            column = np.where(np.isnan(column), term.fill, column)
        if term.code is not None:
            column = (column == term.code).astype(float)
        if term.mean is not None:
            column = column - term.mean
        if term.scale is not None:
            column = column / term.scale
        columns.append(column)
    return np.column_stack(columns)


@pytest.mark.parametrize(("fill", "scale"), [(True, True), (True, False), (False, False)])
def test_terms_compute_what_the_steps_compute(heart: Dataset, fill: bool, scale: bool) -> None:
    X, _ = heart.load("train")
    asked, _ = heart.load("test")
    asked[0] = np.nan
    asked[1, heart.schema.names.index("cp")] = -1.0
    derived = (Ratio("chol", "age"), Combination({"age": 0.5, "oldpeak": -2.0}))
    pipeline = Pipeline(preprocess(heart.schema, derived=derived, fill=fill, scale=scale)).fit(X)

    terms = describe(pipeline.steps, X.shape[1])

    np.testing.assert_array_equal(values(terms, asked), pipeline.transform(asked))


def test_an_unseen_category_sets_no_column(heart: Dataset) -> None:
    X, _ = heart.load("train")
    pipeline = Pipeline(preprocess(heart.schema)).fit(X)
    row = X[:1].copy()
    row[0, heart.schema.names.index("thal")] = -1.0

    terms = describe(pipeline.steps, X.shape[1]).terms
    thal = [place for place, term in enumerate(terms) if term.column == heart.schema.names.index("thal")]

    assert len(thal) == 3
    assert not pipeline.transform(row)[0, thal].any()


@pytest.mark.parametrize(
    "derived",
    [Derived("ratio", (0, 1)), Derived("combination", (0, 1), (3.0, 3.0))],
    ids=["ratio", "combination"],
)
@pytest.mark.parametrize("row", [(1.0, 0.0), (0.0, 0.0), (3e38, 1e-3), (np.nan, 1.0)])
def test_a_derived_value_is_missing_when_it_is_not_a_finite_float32(derived: Derived, row: tuple[float, float]) -> None:
    value = Derive((derived,)).transform(np.array([row]))[0, 2]
    expected_number = derived.operation == "combination" and row in ((1.0, 0.0), (0.0, 0.0))

    assert np.isnan(value) != expected_number


def test_a_step_nobody_can_describe_is_named(heart: Dataset) -> None:
    with pytest.raises(TypeError, match="'scale' is a MinMaxScaler"):
        describe([("scale", MinMaxScaler())], len(heart.schema.columns))
