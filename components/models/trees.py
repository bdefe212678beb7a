"""Fitted trees as flat arrays: what a forest and boosted trees have in common for whoever converts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tree:
    """One tree; node 0 is the root.

    Attributes:
        feature: Column tested by each inner node, -1 for a leaf.
        threshold: A row goes left when its value is <= this.
        missing_left: A row whose value is NaN goes left.
        value: What a leaf adds, [nodes, outputs].
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]


def forest_trees(model: Any) -> list[Tree]:
    """Return the trees of a fitted random forest; it casts its features to float32 before they are compared."""
    return [_from_forest(estimator.tree_) for estimator in model.estimators_]


def boosted_trees(model: Any) -> list[list[Tree]]:
    """Return the trees of fitted histogram gradient boosting, one list per raw output.

    The baseline is added to the leaves of the first tree, so that adding up the trees in order rounds as scikit-learn.
    """
    baseline = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    outputs: list[list[Tree]] = [[] for _ in baseline]
    for iteration in model._predictors:
        for trees, predictor, start in zip(outputs, iteration, baseline, strict=True):
            trees.append(_from_boosting(predictor.nodes, 0.0 if trees else float(start)))
    return outputs


def thresholds(pipeline: Any) -> Iterator[tuple[Any, list[Tree]]]:
    """Yield every pipeline that ends in trees, with them; members of a vote included."""
    model = pipeline.steps[-1][1]
    if hasattr(model, "_predictors"):
        yield pipeline, [tree for trees in boosted_trees(model) for tree in trees]
    elif hasattr(model, "estimators_") and hasattr(model.estimators_[0], "tree_"):
        yield pipeline, forest_trees(model)
    elif hasattr(model, "estimators_") and hasattr(model.estimators_[0], "steps"):
        for member in model.estimators_:
            yield from thresholds(member)


def _from_forest(tree: Any) -> Tree:
    return Tree(
        feature=np.where(tree.children_left < 0, -1, tree.feature).astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        missing_left=tree.missing_go_to_left.astype(bool),
        value=tree.value[:, 0, :].astype(np.float64),
    )


def _from_boosting(nodes: Any, start: float) -> Tree:
    if nodes["is_categorical"].any():
        raise TypeError("boosted trees with categorical splits are not understood: one-hot encode the categories")
    return Tree(
        feature=np.where(nodes["is_leaf"], -1, nodes["feature_idx"]).astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        value=(start + nodes["value"].astype(np.float64)).reshape(-1, 1),
    )
