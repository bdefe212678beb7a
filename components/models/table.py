"""Folds a fitted pipeline into the table that the server's C evaluator runs; the format is in serving/native/table.h.

The table is not an approximation: it holds the terms and the fitted numbers themselves, and the evaluator repeats
scikit-learn's arithmetic in the same order, so trees agree to the bit and the others to 1e-12. What it cannot repeat is
refused here, and such a model is served by ONNX Runtime.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from components.models.derived import Derived, Term, Terms
from components.models.features import describe
from components.models.trees import Tree, boosted_trees, forest_trees
from serving import native
from serving.schema import Schema

MAGIC = b"HEADRACE"
VERSION = 1
MIX, LINEAR, TREES, KERNEL, SIGMOID = 1, 2, 3, 4, 5
IDENTITY, EXPIT, SOFTMAX = 0, 1, 2
FILL, MEAN, SCALE, CODE = 1, 2, 4, 8
OPERATIONS = {"ratio": 1, "combination": 2}
KERNELS = {"linear": 1, "rbf": 2}
LEAF = 0xFFFFFFFF
MISSING_LEFT = 0x40000000


class NotFoldable(Exception):
    """The pipeline has a part the table cannot repeat exactly; the message names it."""


def compile(pipeline: Pipeline, schema: Schema) -> bytes:  # noqa: A001  (table.compile reads as what it does)
    """Return the table of a fitted pipeline.

    Raises:
        NotFoldable: A step, an estimator or one of its settings has no exact counterpart.
    """
    model = _model(pipeline, len(schema.columns), schema.width)
    body = struct.pack("<II", len(schema.columns), schema.width) + model
    data = MAGIC + struct.pack("<IIQ", VERSION, zlib.crc32(body), 24 + len(body)) + body
    _try_loading(data)
    return data


def _try_loading(data: bytes) -> None:
    """Raise NotFoldable where the evaluator has a limit, such as a million thresholds of one column."""
    if native.available():
        try:
            native.table(data)
        except ValueError as error:
            raise NotFoldable(f"the evaluator refuses the table: {error}") from error


def _model(pipeline: Any, columns: int, width: int) -> bytes:
    if not isinstance(pipeline, Pipeline):
        raise NotFoldable(f"expected a Pipeline, got a {type(pipeline).__name__}")
    estimator = pipeline.steps[-1][1]
    classes = getattr(estimator, "classes_", None)
    if classes is not None and not np.array_equal(classes, np.arange(width)):
        raise NotFoldable(f"the classes of {type(estimator).__name__} are not 0 to {width - 1}")
    if isinstance(estimator, VotingClassifier):
        return _voting(pipeline, estimator, columns, width)
    fold = _FOLDS.get(type(estimator))
    if fold is None:
        known = ", ".join(sorted(kind.__name__ for kind in _FOLDS))
        raise NotFoldable(f"a {type(estimator).__name__} is not understood: choose one of {known}, VotingClassifier")
    try:
        terms = describe(pipeline.steps[:-1], columns)
    except TypeError as error:
        raise NotFoldable(str(error)) from error
    return fold(estimator, terms, width)


def _head(kind: int, outputs: int) -> bytes:
    return struct.pack("<II", kind, outputs)


def _doubles(values: Any) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def _front(terms: Terms) -> bytes:
    derived = b"".join(_derived(item) for item in terms.derived)
    packed = b"".join(_term(term) for term in terms.terms)
    return struct.pack("<I", len(terms.derived)) + derived + struct.pack("<I", len(terms.terms)) + packed


def _derived(derived: Derived) -> bytes:
    count = len(derived.columns)
    head = struct.pack(f"<II{count}I", OPERATIONS[derived.operation], count, *derived.columns)
    return head + _doubles(derived.coefficients)


def _term(term: Term) -> bytes:
    values = (term.fill, term.mean, term.scale, term.code)
    parts = sum(bit for bit, value in zip((FILL, MEAN, SCALE, CODE), values, strict=True) if value is not None)
    return struct.pack("<II4d", term.column, parts, *(0.0 if value is None else value for value in values))


def _mix(members: Sequence[bytes], weights: Sequence[float], divisor: float, outputs: int) -> bytes:
    head = _head(MIX, outputs) + struct.pack("<Id", len(members), divisor)
    return head + _doubles(np.array(weights)) + b"".join(members)


def _voting(pipeline: Pipeline, estimator: Any, columns: int, width: int) -> bytes:
    """Fold a soft vote: each member is a pipeline over the encoded columns."""
    if len(pipeline.steps) != 1:
        raise NotFoldable("a vote has steps before it: give each member its own")
    if estimator.voting != "soft":
        raise NotFoldable(f"a vote is {estimator.voting!r}: only soft votes average probabilities")
    members = [_model(member, columns, width) for member in estimator.estimators_]
    weights = estimator._weights_not_none
    if weights is None:
        return _mix(members, [1.0] * len(members), float(len(members)), width)
    return _mix(members, weights, float(np.sum(np.asarray(weights, dtype=np.float64))), width)


def _linear(intercept: Any, coefficients: Any, link: int, terms: Terms, width: int) -> bytes:
    weights = np.atleast_2d(np.asarray(coefficients, dtype=np.float64))
    offsets = np.broadcast_to(np.asarray(intercept, dtype=np.float64), (len(weights),))
    if weights.shape[1] != len(terms.terms):
        raise NotFoldable(f"{weights.shape[1]} coefficients for {len(terms.terms)} terms")
    return _head(LINEAR, width) + struct.pack("<I", link) + _front(terms) + _doubles(offsets) + _doubles(weights)


def _logistic(estimator: Any, terms: Terms, width: int) -> bytes:
    return _linear(estimator.intercept_, estimator.coef_, EXPIT if width == 2 else SOFTMAX, terms, width)


def _regression(estimator: Any, terms: Terms, width: int) -> bytes:
    return _linear(estimator.intercept_, estimator.coef_, IDENTITY, terms, width)


def _trees(
    trees: Sequence[tuple[int, Tree]], terms: Terms, width: int, *, link: int, single: bool, divisor: float
) -> bytes:
    """Fold trees that come with the raw output they add to."""
    leaf = trees[0][1].value.shape[1]
    head = struct.pack("<IId", link, single, divisor) + _front(terms) + struct.pack("<II", leaf, len(trees))
    return _head(TREES, width) + head + b"".join(_tree(output, tree) for output, tree in trees)


def _forest(estimator: Any, terms: Terms, width: int) -> bytes:
    if estimator.n_outputs_ != 1:
        raise NotFoldable(f"a forest of {estimator.n_outputs_} outputs: only one is supported")
    trees = [(0, tree) for tree in forest_trees(estimator)]
    return _trees(trees, terms, width, link=IDENTITY, single=True, divisor=float(len(trees)))


def _boosting(estimator: Any, terms: Terms, width: int) -> bytes:
    if estimator.is_categorical_ is not None:
        raise NotFoldable("boosted trees with categorical splits are not understood: one-hot encode the categories")
    if estimator.loss not in ("log_loss", "squared_error", "absolute_error", "quantile"):
        raise NotFoldable(f"boosted trees with the loss {estimator.loss!r} are not understood")
    outputs = boosted_trees(estimator)
    trees = [(k, tree) for iteration in zip(*outputs, strict=True) for k, tree in enumerate(iteration)]
    link = IDENTITY if width == 1 else EXPIT if len(outputs) == 1 else SOFTMAX
    return _trees(trees, terms, width, link=link, single=False, divisor=1.0)


def _tree(output: int, tree: Tree) -> bytes:
    tree = _in_preorder(tree)
    leaf = tree.feature < 0
    test = np.where(leaf, LEAF, tree.feature | np.where(tree.missing_left, MISSING_LEFT, 0))
    right = np.where(leaf, 0, tree.right)
    threshold = np.where(leaf, 0.0, tree.threshold)
    head = struct.pack("<II", output, len(test))
    arrays = test.astype("<u4").tobytes() + right.astype("<u4").tobytes()
    return head + arrays + _doubles(threshold) + _doubles(tree.value[leaf])


def _in_preorder(tree: Tree) -> Tree:
    """Return the same tree with every left child right after its parent."""
    inner = np.flatnonzero(tree.feature >= 0)
    if np.array_equal(tree.left[inner], inner + 1):
        return tree
    order: list[int] = []
    pending = [0]
    while pending:
        node = pending.pop()
        order.append(node)
        if tree.feature[node] >= 0:
            pending += [int(tree.right[node]), int(tree.left[node])]
    place = np.zeros(len(tree.feature), dtype=np.int64)
    place[order] = np.arange(len(order))
    return Tree(
        tree.feature[order],
        tree.threshold[order],
        place[tree.left[order]],
        place[tree.right[order]],
        tree.missing_left[order],
        tree.value[order],
    )


def _calibrated(estimator: Any, terms: Terms, width: int) -> bytes:
    members = [_sigmoid(member, terms, width) for member in estimator.calibrated_classifiers_]
    return _mix(members, [1.0] * len(members), float(len(members)), width)


def _sigmoid(member: Any, terms: Terms, width: int) -> bytes:
    """Fold one support vector machine with its calibrators, one per class, or one for two classes."""
    if member.method != "sigmoid" or not isinstance(member.estimator, SVC):
        raise NotFoldable(f"{member.method} calibration of a {type(member.estimator).__name__} is not understood")
    slopes = _doubles([calibrator.a_ for calibrator in member.calibrators])
    offsets = _doubles([calibrator.b_ for calibrator in member.calibrators])
    return _head(SIGMOID, width) + slopes + offsets + _machine(member.estimator, terms, width)


def _machine(estimator: Any, terms: Terms, width: int) -> bytes:
    """Fold the decision function of a support vector machine."""
    if estimator.kernel not in KERNELS:
        raise NotFoldable(f"the kernel {estimator.kernel!r} is not understood: choose one of {', '.join(KERNELS)}")
    if (
        estimator.decision_function_shape != "ovr"
        or estimator.break_ties
        or not np.array_equal(estimator.classes_, np.arange(width))
    ):
        raise NotFoldable("a support vector machine must decide one versus rest, over all classes")
    vectors = np.asarray(estimator.support_vectors_, dtype=np.float64)
    counts = [int(count) for count in estimator.n_support_]
    return b"".join(
        (
            _head(KERNEL, 1 if width == 2 else width),
            struct.pack("<Id", KERNELS[estimator.kernel], float(estimator._gamma)),
            _front(terms),
            struct.pack(f"<II{width}I", width, len(vectors), *counts),
            _doubles(estimator.intercept_),
            _doubles(estimator.dual_coef_),
            _doubles(vectors),
        )
    )


_FOLDS: dict[type, Callable[[Any, Terms, int], bytes]] = {
    CalibratedClassifierCV: _calibrated,
    HistGradientBoostingClassifier: _boosting,
    HistGradientBoostingRegressor: _boosting,
    ElasticNet: _regression,
    ExtraTreesClassifier: _forest,
    ExtraTreesRegressor: _forest,
    Lasso: _regression,
    LinearRegression: _regression,
    LogisticRegression: _logistic,
    RandomForestClassifier: _forest,
    RandomForestRegressor: _forest,
    Ridge: _regression,
}
