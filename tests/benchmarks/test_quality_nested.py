"""Nested cross-validation is honest: what cannot be learned scores like chance, however many settings are tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.quality.nested import Table, outcomes, significantly_better
from components.models import recipes
from components.models.search import Trial
from components.use_cases import Candidate, Gate
from components.use_cases import heart as heart_case
from serving.schema import Column, Schema, Target

SCHEMA = Schema(tuple(Column(f"x{k}", "number") for k in range(4)), Target("y", "binary", (0, 1), 1))
CANDIDATES = (
    Candidate("sharp", recipes.logistic, {"model__C": (0.01, 1.0, 100.0)}),
    Candidate("flat", recipes.logistic, {"model__C": (1e-6,)}),
)


def table(y: np.ndarray, X: np.ndarray) -> Table:
    use_case = replace(heart_case.USE_CASE, candidates=CANDIDATES, gate=Gate("accuracy"))
    return Table(use_case, SCHEMA, X, y)


def test_noise_scores_like_chance() -> None:
    generator = np.random.default_rng(1)
    noise = table(generator.integers(0, 2, 300), generator.normal(size=(300, 4)))

    found = [item.figures["accuracy"] for item in outcomes(noise, repeats=2, seed=1, jobs=1) if item.chosen]

    assert len(found) == 10
    assert 0.38 < np.mean(found) < 0.62


def test_every_fold_has_each_candidate_once_and_one_choice() -> None:
    generator = np.random.default_rng(2)
    X = generator.normal(size=(200, 4))
    found = list(outcomes(table((X[:, 0] > 0).astype(int), X), repeats=1, seed=1, jobs=1))

    assert [(item.fold, item.candidate) for item in found] == [(k, c.name) for k in range(5) for c in CANDIDATES]
    assert [sum(item.chosen for item in found if item.fold == fold) for fold in range(5)] == [1] * 5
    assert np.mean([item.figures["accuracy"] for item in found if item.candidate == "sharp"]) > 0.9


def trial(*accuracies: float) -> Trial:
    return Trial({}, tuple({"accuracy": value} for value in accuracies), np.arange(0), np.zeros((0, 2)))


def test_a_better_family_must_be_better_by_more_than_the_folds_vary() -> None:
    simple, lucky = trial(0.80, 0.84, 0.79, 0.86, 0.81), trial(0.86, 0.83, 0.84, 0.85, 0.84)
    better = trial(0.85, 0.88, 0.84, 0.91, 0.87)

    assert not significantly_better(lucky, simple, "accuracy")
    assert significantly_better(better, simple, "accuracy")
