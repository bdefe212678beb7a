"""The whole fitted pipeline as an ONNX graph in float64 that computes what scikit-learn computes.

Written by hand rather than by a converter, because a converter's float32 moves values that sit exactly on a threshold
(medians and midpoints of integers do) to the wrong side. Here every value stays float64 and every operation has the
order of scikit-learn's; only forests round their features to float32, because scikit-learn's forests do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
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
from sklearn.svm import SVC

from components.models.derived import Derived, Terms
from components.models.features import Derive, describe
from components.models.trees import Tree, boosted_trees, forest_trees
from serving.schema import FLOAT32_MAX

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto
    from sklearn.pipeline import Pipeline

OPSET, ML_OPSET, IR_VERSION = 18, 5, 9
"""ai.onnx.ml 5 is the first with trees in float64 from threshold to result; ONNX Runtime has it since 1.20."""
INPUT, PROBABILITIES, PREDICTION = "features", "probabilities", "prediction"
BRANCH_LEQ, SUM, NO_TRANSFORM = 0, 1, 0
"""Codes of the operator TreeEnsemble."""
CALIBRATED = "only CalibratedClassifierCV(method='sigmoid', ensemble=False) has an exact conversion"


class NotConvertible(TypeError):
    """The pipeline holds a part whose exact conversion is not written."""


def convert(pipeline: Pipeline, inputs: int) -> bytes:
    """Return the serialized ONNX model of a fitted pipeline; the same pipeline gives the same bytes.

    Args:
        inputs: Number of encoded columns.

    Raises:
        NotConvertible: A step or an estimator is not one of those in `recipes`.
    """
    graph = _Graph()
    result = _pipeline(graph, pipeline, INPUT, inputs)
    classifier = hasattr(pipeline, "predict_proba")
    width = len(pipeline.classes_) if classifier else 1
    name = graph.name_output(result, PROBABILITIES if classifier else PREDICTION)
    return bytes(graph.model(inputs, name, width).SerializeToString(deterministic=True))


def check(pipeline: Pipeline) -> None:
    """Make sure that a pipeline can be converted once it is fitted, by what it is made of.

    Raises:
        NotConvertible: A step or an estimator is not one of those in `recipes`.
    """
    model = pipeline.steps[-1][1]
    _adder(model)
    if isinstance(model, VotingClassifier):
        for _, member in model.estimators:
            check(member)
        return
    strange = [name for name, step in pipeline.steps[:-1] if not isinstance(step, Derive | ColumnTransformer)]
    if strange:
        raise NotConvertible(f"no exact conversion of the step {strange[0]!r}: use those of features.preprocess")
    if isinstance(model, CalibratedClassifierCV):
        if model.method != "sigmoid" or model.ensemble not in (False, "auto"):
            raise NotConvertible(CALIBRATED)
        if not isinstance(model.estimator, SVC):
            raise NotConvertible(f"no exact conversion of a calibrated {type(model.estimator).__name__}: use SVC")


def _adder(model: Any) -> Callable[..., str]:
    add = _MODELS.get(type(model))
    if add is None:
        known = ", ".join(sorted(kind.__name__ for kind in _MODELS))
        raise NotConvertible(f"no exact conversion of {type(model).__name__}: use one of {known}")
    return add


class _Graph:
    """Nodes and constants under construction; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype).reshape(np.shape(value)), name)
        )
        return name

    def name_output(self, tensor: str, name: str) -> str:
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        return name

    def model(self, inputs: int, output: str, width: int) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "headrace",
            [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, inputs])],
            [helper.make_tensor_value_info(output, TensorProto.DOUBLE, [None, width])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="headrace")
        checker.check_model(model)
        return model


def _pipeline(graph: _Graph, pipeline: Any, source: str, inputs: int) -> str:
    """Add a fitted pipeline; returns its probabilities or its prediction."""
    model = pipeline.steps[-1][1]
    add = _adder(model)
    if isinstance(model, VotingClassifier):
        return _voting(graph, model, source, inputs)
    try:
        terms = describe(pipeline.steps[:-1], inputs)
    except TypeError as error:
        raise NotConvertible(str(error)) from error
    return add(graph, model, _terms(graph, terms, source))


def _terms(graph: _Graph, terms: Terms, source: str) -> str:
    """Add derivation, imputation, scaling and one-hot encoding."""
    columns = [source] + [_derived(graph, derived, source) for derived in terms.derived]
    value = graph.op("Concat", *columns, axis=1) if terms.derived else source
    value = graph.op("Gather", value, graph.constant([term.column for term in terms.terms], np.int64), axis=1)
    if any(term.fill is not None for term in terms.terms):
        fill = graph.constant([[np.nan if term.fill is None else term.fill for term in terms.terms]])
        value = graph.op("Where", graph.op("IsNaN", value), fill, value)
    scaled = value
    if any(term.mean is not None for term in terms.terms):
        scaled = graph.op("Sub", scaled, graph.constant([[term.mean or 0.0 for term in terms.terms]]))
    if any(term.scale is not None for term in terms.terms):
        scaled = graph.op("Div", scaled, graph.constant([[1.0 if t.scale is None else t.scale for t in terms.terms]]))
    if all(term.code is None for term in terms.terms):
        return scaled
    codes = graph.constant([[np.nan if term.code is None else term.code for term in terms.terms]])
    matches = graph.op("Cast", graph.op("Equal", value, codes), to=TensorProto.DOUBLE)
    return graph.op("Where", graph.constant([[t.code is not None for t in terms.terms]], np.bool_), matches, scaled)


def _derived(graph: _Graph, derived: Derived, source: str) -> str:
    """Add one derived column [rows, 1]."""
    parts = [graph.op("Gather", source, graph.constant([column], np.int64), axis=1) for column in derived.columns]
    if derived.operation == "ratio":
        value = graph.op("Div", *parts)
    else:
        weighted = [
            graph.op("Mul", graph.constant(coefficient), part)
            for coefficient, part in zip(derived.coefficients, parts, strict=True)
        ]
        value = _chain(graph, "Add", weighted)
    finite = graph.op("LessOrEqual", graph.op("Abs", value), graph.constant(FLOAT32_MAX))
    return graph.op("Where", finite, value, graph.constant(np.nan))


def _logistic(graph: _Graph, model: Any, value: str) -> str:
    decision = _linear(graph, value, model.coef_, model.intercept_)
    if len(model.classes_) > 2:
        return graph.op("Softmax", decision, axis=1)
    return _complement(graph, graph.op("Sigmoid", decision))


def _ridge(graph: _Graph, model: Any, value: str) -> str:
    return _linear(graph, value, np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_))


def _forest(graph: _Graph, model: Any, value: str) -> str:
    """Add a forest: features as float32, leaf values summed in tree order in float64, divided at the end."""
    trees = forest_trees(model)
    narrow = graph.op("Cast", graph.op("Cast", value, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)
    total = _trees(graph, [trees] * trees[0].value.shape[1], narrow)
    return graph.op("Div", total, graph.constant(float(len(trees))))


def _boosting(graph: _Graph, model: Any, value: str) -> str:
    trees = boosted_trees(model)
    raw = _trees(graph, trees, value)
    if isinstance(model, HistGradientBoostingRegressor):
        return raw
    return graph.op("Softmax", raw, axis=1) if len(trees) > 1 else _complement(graph, graph.op("Sigmoid", raw))


def _voting(graph: _Graph, model: Any, source: str, inputs: int) -> str:
    members = [_pipeline(graph, member, source, inputs) for member in model.estimators_]
    weights = model._weights_not_none
    if weights is None:
        return graph.op("Div", _chain(graph, "Add", members), graph.constant(float(len(members))))
    weighted = [
        graph.op("Mul", member, graph.constant(float(weight))) for member, weight in zip(members, weights, strict=True)
    ]
    return graph.op("Div", _chain(graph, "Add", weighted), graph.constant(float(sum(weights))))


def _calibrated(graph: _Graph, model: Any, value: str) -> str:
    """Add sigmoid calibration: of one decision for two classes, else one per class and normalized."""
    if len(model.calibrated_classifiers_) != 1 or model.method != "sigmoid":
        raise NotConvertible(CALIBRATED)
    fitted = model.calibrated_classifiers_[0]
    if not isinstance(fitted.estimator, SVC):
        raise NotConvertible(f"no exact conversion of a calibrated {type(fitted.estimator).__name__}: use SVC")
    decision = _svc(graph, fitted.estimator, value)
    slope = graph.constant([[calibrator.a_ for calibrator in fitted.calibrators]])
    offset = graph.constant([[calibrator.b_ for calibrator in fitted.calibrators]])
    shifted = graph.op("Add", graph.op("Mul", slope, decision), offset)
    probability = graph.op("Sigmoid", graph.op("Neg", shifted))
    if len(model.classes_) == 2:
        return _complement(graph, probability)
    total = graph.op("ReduceSum", probability, graph.constant([1], np.int64))
    shares = graph.op("Div", probability, total)
    even = graph.constant(1.0 / len(model.classes_))
    return graph.op("Where", graph.op("Equal", total, graph.constant(0.0)), even, shares)


def _svc(graph: _Graph, model: Any, value: str) -> str:
    """Add an RBF machine's decision, [rows, 1] for two classes, else the one-vs-rest form [rows, classes]."""
    if model.kernel != "rbf":
        raise NotConvertible(f"no exact conversion of the kernel {model.kernel!r}: use 'rbf'")
    vectors = model.support_vectors_
    squares = graph.op("ReduceSum", graph.op("Mul", value, value), graph.constant([1], np.int64))
    cross = graph.op("MatMul", value, graph.constant(-2.0 * vectors.T))
    distance = graph.op("Add", graph.op("Add", squares, cross), graph.constant([(vectors**2).sum(axis=1)]))
    distance = graph.op("Max", distance, graph.constant(0.0))
    kernel = graph.op("Exp", graph.op("Mul", distance, graph.constant(-float(model._gamma))))
    if len(model.classes_) == 2:
        return _linear(graph, kernel, model.dual_coef_, model.intercept_)
    pairs = _linear(graph, kernel, _pair_coefficients(model), model.intercept_)
    return _one_vs_rest(graph, pairs, len(model.classes_))


def _pair_coefficients(model: Any) -> NDArray[np.float64]:
    """Return libsvm's coefficients as one row per pair of classes, [pairs, vectors]."""
    ends = np.cumsum(model.n_support_)
    starts = ends - model.n_support_
    rows = []
    for i in range(len(ends)):
        for j in range(i + 1, len(ends)):
            row = np.zeros(len(model.support_vectors_))
            row[starts[i] : ends[i]] = model.dual_coef_[j - 1, starts[i] : ends[i]]
            row[starts[j] : ends[j]] = model.dual_coef_[i, starts[j] : ends[j]]
            rows.append(row)
    return np.array(rows)


def _one_vs_rest(graph: _Graph, pairs: str, classes: int) -> str:
    """Add scikit-learn's vote of pairwise decisions, with the summed decisions squeezed below one vote as tie-break."""
    first = np.array([[k == i for k in range(classes)] for i in range(classes) for _ in range(i + 1, classes)], float)
    second = np.array([[k == j for k in range(classes)] for i in range(classes) for j in range(i + 1, classes)], float)
    lost = graph.op("Cast", graph.op("Less", pairs, graph.constant(0.0)), to=TensorProto.DOUBLE)
    won = graph.op("Sub", graph.constant(1.0), lost)
    votes = graph.op(
        "Add",
        graph.op("MatMul", won, graph.constant(first)),
        graph.op("MatMul", lost, graph.constant(second)),
    )
    confidence = graph.op("MatMul", pairs, graph.constant(first - second))
    bound = graph.op("Mul", graph.constant(3.0), graph.op("Add", graph.op("Abs", confidence), graph.constant(1.0)))
    return graph.op("Add", votes, graph.op("Div", confidence, bound))


def _linear(graph: _Graph, value: str, coefficients: Any, intercept: Any) -> str:
    product = graph.op("MatMul", value, graph.constant(np.asarray(coefficients).T))
    return graph.op("Add", product, graph.constant(intercept))


def _complement(graph: _Graph, positive: str) -> str:
    """Return the probabilities of both classes from the second's."""
    return graph.op("Concat", graph.op("Sub", graph.constant(1.0), positive), positive, axis=1)


def _chain(graph: _Graph, kind: str, values: Sequence[str]) -> str:
    """Apply a binary operation from left to right."""
    result = values[0]
    for value in values[1:]:
        result = graph.op(kind, result, value)
    return result


def _trees(graph: _Graph, outputs: Sequence[Sequence[Tree]], value: str) -> str:
    """Add one TreeEnsemble whose k-th target sums the k-th list of trees [rows, outputs].

    A list that is given for several outputs (a forest) has one column of leaf values for each.
    """
    shared = len(outputs) > 1 and outputs[0] is outputs[1]
    flat = _Flat()
    for output, trees in enumerate(outputs):
        for tree in trees:
            flat.add(tree, output, output if shared else 0)
    return graph.op("TreeEnsemble", value, domain="ai.onnx.ml", **flat.attributes(len(outputs)))


class _Flat:
    """Trees laid out as the operator wants them: inner nodes and leaves in two lists."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.features: list[int] = []
        self.splits: list[float] = []
        self.missing: list[int] = []
        self.children: list[tuple[int, int, int, int]] = []
        self.weights: list[float] = []
        self.targets: list[int] = []

    def add(self, tree: Tree, target: int, column: int) -> None:
        """Append a tree whose leaves add `value[:, column]` to a target."""
        self.roots.append(len(self.features))
        inner = tree.feature >= 0
        if not inner[0]:  # a tree without a split: the operator needs a node, so both its branches are the same leaf
            leaf = len(self.weights)
            self._leaves(tree.value[[0, 0], column], target)
            self._node(0, 0.0, 0, (leaf, 1, leaf + 1, 1))
            return
        place = np.where(inner, np.cumsum(inner) - 1 + len(self.features), np.cumsum(~inner) - 1 + len(self.weights))
        for node in np.flatnonzero(inner):
            left, right = int(tree.left[node]), int(tree.right[node])
            children = (int(place[left]), int(not inner[left]), int(place[right]), int(not inner[right]))
            self._node(int(tree.feature[node]), float(tree.threshold[node]), int(tree.missing_left[node]), children)
        self._leaves(tree.value[~inner, column], target)

    def _node(self, feature: int, split: float, missing: int, children: tuple[int, int, int, int]) -> None:
        self.features.append(feature)
        self.splits.append(split)
        self.missing.append(missing)
        self.children.append(children)

    def _leaves(self, weights: NDArray[np.float64], target: int) -> None:
        self.weights.extend(weights.tolist())
        self.targets.extend([target] * len(weights))

    def attributes(self, outputs: int) -> dict[str, Any]:
        """Return the attributes of the operator."""
        true, true_leaf, false, false_leaf = (list(values) for values in zip(*self.children, strict=True))
        return {
            "n_targets": outputs,
            "aggregate_function": SUM,
            "post_transform": NO_TRANSFORM,
            "tree_roots": self.roots,
            "nodes_featureids": self.features,
            "nodes_splits": numpy_helper.from_array(np.array(self.splits), "splits"),
            "nodes_modes": numpy_helper.from_array(np.full(len(self.splits), BRANCH_LEQ, dtype=np.uint8), "modes"),
            "nodes_missing_value_tracks_true": self.missing,
            "nodes_truenodeids": true,
            "nodes_trueleafs": true_leaf,
            "nodes_falsenodeids": false,
            "nodes_falseleafs": false_leaf,
            "leaf_targetids": self.targets,
            "leaf_weights": numpy_helper.from_array(np.array(self.weights), "weights"),
        }


_MODELS: dict[type, Callable[..., str]] = {
    LogisticRegression: _logistic,
    LinearRegression: _ridge,
    Ridge: _ridge,
    Lasso: _ridge,
    ElasticNet: _ridge,
    ExtraTreesClassifier: _forest,
    ExtraTreesRegressor: _forest,
    RandomForestClassifier: _forest,
    RandomForestRegressor: _forest,
    HistGradientBoostingClassifier: _boosting,
    HistGradientBoostingRegressor: _boosting,
    VotingClassifier: _voting,
    CalibratedClassifierCV: _calibrated,
}
