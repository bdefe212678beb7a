"""Our figures are scikit-learn's, and what does not exist is NaN rather than a number."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from components.models import metrics
from serving.schema import Target

BINARY = Target("ill", "binary", ("no", "yes"), "yes")
MANY = Target("kind", "multiclass", ("a", "b", "c"))
NUMBER = Target("price", "regression")


@pytest.mark.parametrize("ties", [False, True])
def test_two_classes_agree_with_scikit_learn(ties: bool) -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 400)
    positive = np.clip(0.3 * truth + generator.random(400) * 0.7, 0.01, 0.99)
    positive = np.round(positive, 1 if ties else 12)
    scores = np.column_stack([1 - positive, positive])
    predicted = scores.argmax(axis=1)

    found = metrics.compute(BINARY, truth, scores)

    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found["precision"] == pytest.approx(reference.precision_score(truth, predicted))
    assert found["recall"] == pytest.approx(reference.recall_score(truth, predicted))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, predicted))
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(truth, positive))
    assert found["pr_auc"] == pytest.approx(reference.average_precision_score(truth, positive))
    assert found["brier"] == pytest.approx(reference.brier_score_loss(truth, positive))
    assert found["log_loss"] == pytest.approx(reference.log_loss(truth, scores))


def test_the_positive_class_may_be_the_first() -> None:
    truth = np.array([0, 0, 1, 1, 1])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])

    found = metrics.compute(Target("ill", "binary", ("yes", "no"), "yes"), truth, scores)

    assert found["recall"] == 0.5
    assert found["precision"] == 0.5


def test_three_classes_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 3, 300)
    scores = generator.random((300, 3)) + np.eye(3)[truth]
    scores /= scores.sum(axis=1, keepdims=True)
    predicted = scores.argmax(axis=1)

    found = metrics.compute(MANY, truth, scores)

    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(truth, scores, multi_class="ovr"))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    assert found["recall"] == pytest.approx(reference.recall_score(truth, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(reference.log_loss(truth, scores))


def test_a_regression_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    truth = generator.normal(size=100)
    predicted = truth + generator.normal(size=100)

    found = metrics.compute(NUMBER, truth, predicted.reshape(-1, 1))

    assert found["r2"] == pytest.approx(reference.r2_score(truth, predicted))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, predicted))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth, predicted))


def test_one_class_has_no_roc_auc() -> None:
    found = metrics.compute(BINARY, np.ones(5, dtype=int), np.full((5, 2), 0.5))

    assert math.isnan(found["roc_auc"])
    assert found["accuracy"] == 0.0


def test_a_sure_and_wrong_model_has_the_largest_calibration_error() -> None:
    happened = np.array([False, False, True, True])

    assert metrics.calibration_error(happened, np.array([1.0, 1.0, 0.0, 0.0])) == 1.0
    assert metrics.calibration_error(happened, np.full(4, 0.5)) == 0.0


def test_no_metric_means_the_usual_one_and_a_wrong_one_is_refused() -> None:
    assert metrics.chosen("", BINARY) == "roc_auc"
    assert metrics.chosen("", NUMBER) == "r2"
    with pytest.raises(ValueError, match="unknown metric 'r2' of a binary task: choose one of accuracy"):
        metrics.chosen("r2", BINARY)


def test_figures_without_a_number_are_written_as_null(tmp_path: Path) -> None:
    metrics.write_json(tmp_path / "figures.json", {"a": math.nan, "b": [math.inf, 1.0], "c": (2, "x")})

    assert json.loads((tmp_path / "figures.json").read_text()) == {"a": None, "b": [None, 1.0], "c": [2, "x"]}
