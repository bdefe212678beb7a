"""Every candidate of every use case, folded: the same answers on questions made to tell two models apart."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from numpy.typing import NDArray

from components import use_cases
from components.dataset import encode_frame, encode_target
from components.models import parity, score
from components.models.parity import prove
from components.models.table import IDENTITY, SOFTMAX, TREES
from components.models.table import compile as fold
from components.use_cases import UseCase
from serving import native
from serving.schema import Column, Schema, Target

pytestmark = pytest.mark.skipif(not native.available(), reason="the C extension is not built here")

SHORT, LONG = 10_000, 100_000
EXACT = ("forest", "boosting")
"""Trees: the same sums in the same order. Three classes or more take a softmax, see below."""
SOFTMAX_TOLERANCE = 1e-15
"""numpy's exp is another one on each kind of processor (the C library's here), and within one last bit of it."""
LINEAR_TOLERANCE = 1e-12
MAGNITUDE_TOLERANCE = 1e-15
"""Of a linear regression, relative to the sizes of the terms it adds up: where they cancel, scikit-learn's own answer
changes with the number of rows it is asked at once (by 1.5e-11 of max(1, |prediction|) on these questions), because the
matrix product adds up in another order. So there is no single answer to be 1e-12 away from."""


@dataclass(frozen=True)
class Rows:
    """Encoded training rows of a use case."""

    schema: Schema
    X: NDArray[np.float64]
    y: NDArray[Any]


def _columns(case: UseCase) -> tuple[Column, ...]:
    return tuple(Column(name, item.kind, categories=item.categories or ()) for name, item in case.columns.items())


def _read(case: UseCase, path: Path, classes: tuple[Any, ...]) -> Rows:
    frame = case.read(path)
    assert case.task is not None
    schema = Schema(_columns(case), Target(case.target, case.task, classes, positive=case.positive))
    return Rows(schema, encode_frame(schema, frame), encode_target(schema, frame))


def _invent_housing(case: UseCase) -> Rows:
    """Return rows of the shape and with the ties of the housing data, which this repository does not hold."""
    generator = np.random.default_rng(8)
    columns = tuple(
        Column(column.name, "category", categories=("<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN"))
        if column.kind == "category"
        else column
        for column in _columns(case)
    )
    X = np.column_stack(
        [
            generator.integers(0, 5, 3_000) if column.kind == "category" else np.round(generator.gamma(2, 9, 3_000), 1)
            for column in columns
        ]
    ).astype(np.float64)
    y = X @ generator.normal(size=X.shape[1]) * 1_000 + generator.normal(0, 500, len(X))
    X = np.where(generator.random(X.shape) < 0.01, np.nan, X)
    return Rows(Schema(columns, Target(case.target, "regression")), X, y)


def _invent_table(classes: tuple[Any, ...]) -> Rows:
    """Return rows of a table with every kind of column, as somebody's CSV has."""
    generator = np.random.default_rng(9)
    count = 1_200
    columns = (
        Column("age", "number"),
        Column("visits", "integer"),
        Column("plan", "category", categories=("basic", "plus", "größer")),
        Column("zone", "category", categories=(1, 2.5, 7)),
        Column("member", "boolean"),
        Column("since", "date"),
    )
    X = np.column_stack(
        [
            np.round(generator.normal(45.0, 14.0, count), 1),
            generator.integers(0, 40, count),
            generator.integers(0, 3, count),
            generator.integers(0, 3, count),
            generator.integers(0, 2, count),
            generator.integers(15_000, 20_000, count),
        ]
    )
    raw = X @ [0.05, 0.03, 0.8, -0.5, 1.0, 0.0004] + generator.normal(0.0, 0.4, count)
    y = np.searchsorted(np.quantile(raw, np.arange(1, len(classes)) / len(classes)), raw) if classes else raw
    X = np.where(generator.random(X.shape) < 0.03, np.nan, X)
    tasks = {0: "regression", 2: "binary"}
    return Rows(Schema(columns, Target("y", tasks.get(len(classes), "multiclass"), classes)), X, y)  # type: ignore[arg-type]


INVENTED = {"csv, two classes": ("no", "yes"), "csv, three classes": (0, 1, 2), "csv, regression": ()}


@cache
def _rows(name: str) -> Rows:
    if name in INVENTED:
        return _invent_table(INVENTED[name])
    case = use_cases.load(name)
    if name == "housing":
        return _invent_housing(case)
    if name == "heart":
        return _read(case, Path(use_cases.__file__).parent / "data" / case.source.file, (0, 1))
    folder = Path(sklearn.datasets.__file__).parent / "data"
    return _read(case, folder / case.source.file, ("setosa", "versicolor", "virginica"))


NAMES = ("heart", "iris", "housing", *INVENTED)
LINEAR_REGRESSIONS = [("housing", "ridge"), ("csv, regression", "linear")]
CANDIDATES = [
    (name, candidate.name)
    for name in NAMES
    for candidate in use_cases.load(name.partition(",")[0]).candidates
    if (name, candidate.name) not in LINEAR_REGRESSIONS
]
ASKED = pytest.mark.parametrize("asked", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])


@cache
def _fit(name: str, candidate: str) -> Any:
    rows = _rows(name)
    pipeline = use_cases.load(name.partition(",")[0]).candidate(candidate).build(rows.schema, 42)
    return pipeline.fit(rows.X, rows.y)


@ASKED
@pytest.mark.parametrize(("name", "candidate"), CANDIDATES)
def test_folded_candidates_answer_like_the_pipeline(name: str, candidate: str, asked: int) -> None:
    rows, pipeline = _rows(name), _fit(name, candidate)
    scorers = {"table": score.table(fold(pipeline, rows.schema))}

    proof = prove(pipeline, rows.schema, rows.X, scorers, rows=asked)["table"]

    assert proof.rows == asked
    assert proof.flips == 0
    assert proof.max_difference <= _tolerance(rows.schema, candidate)


def _tolerance(schema: Schema, candidate: str) -> float:
    if candidate not in EXACT:
        return LINEAR_TOLERANCE
    return SOFTMAX_TOLERANCE if candidate == "boosting" and len(schema.target.classes) > 2 else 0.0


@ASKED
@pytest.mark.parametrize("name", ["iris", "csv, three classes"])
def test_the_scores_of_every_class_are_the_same_bits_before_the_softmax(name: str, asked: int) -> None:
    rows, pipeline = _rows(name), _fit(name, "boosting")
    questions = parity.questions(pipeline, rows.schema, rows.X, rows=asked)
    scorer = score.table(_without_softmax(fold(pipeline, rows.schema)))

    np.testing.assert_array_equal(scorer(questions), pipeline.decision_function(questions))


def _without_softmax(table: bytes) -> bytes:
    """Return a table of trees that answers its raw sums: its link is the first number of its model (table.h)."""
    body = bytearray(table[24:])
    _, width, kind, outputs, link = struct.unpack_from("<5I", body)
    assert (kind, outputs, link) == (TREES, width, SOFTMAX)
    struct.pack_into("<I", body, 16, IDENTITY)
    return table[:12] + struct.pack("<IQ", zlib.crc32(body), 24 + len(body)) + bytes(body)


@ASKED
@pytest.mark.parametrize(("name", "candidate"), LINEAR_REGRESSIONS)
def test_a_linear_regression_rounds_like_the_pipeline(name: str, candidate: str, asked: int) -> None:
    rows, pipeline = _rows(name), _fit(name, candidate)
    questions = parity.questions(pipeline, rows.schema, rows.X, rows=asked)
    model = pipeline.steps[-1][1]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = score.fitted(pipeline)(questions)[:, 0]
        sizes = np.abs(model.intercept_) + np.abs(pipeline[:-1].transform(questions)) @ np.abs(np.ravel(model.coef_))

    found = score.table(fold(pipeline, rows.schema))(questions)[:, 0]

    assert len(found) == asked
    assert float((np.abs(found - expected) / sizes).max()) <= MAGNITUDE_TOLERANCE
