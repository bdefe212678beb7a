"""The search tries what it says, judges on rows a model has not seen, and is the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.dataset import Dataset
from components.models import recipes
from components.models.search import Search, Trial, sample, search, simplest
from components.use_cases import Candidate
from serving.schema import Schema, Target

LOGISTIC = Candidate("logistic", recipes.logistic, {"model__C": (1e-4, 0.1, 10.0)})


def run(dataset: Dataset, candidate: Candidate, metric: str = "roc_auc", seed: int = 1) -> Search:
    X, y = dataset.load("train")
    return search(candidate, dataset.schema, X, y, metric=metric, seed=seed)


def test_a_grid_tries_every_setting_on_five_folds(heart: Dataset) -> None:
    found = run(heart, LOGISTIC)

    assert [trial.parameters["model__C"] for trial in found.trials] == [1e-4, 0.1, 10.0]
    assert all(len(trial.folds) == 5 for trial in found.trials)
    assert found.best.mean("roc_auc") == max(trial.mean("roc_auc") for trial in found.trials)
    assert found.score == found.best.mean("roc_auc")


def test_lower_is_better_where_it_is(heart: Dataset) -> None:
    found = run(heart, LOGISTIC, "log_loss")

    assert found.best.mean("log_loss") == min(trial.mean("log_loss") for trial in found.trials)
    assert found.score == -found.best.mean("log_loss")


def test_halving_gives_more_rows_to_fewer_settings(iris: Dataset) -> None:
    X, y = iris.load("train")
    X, y = np.repeat(X, 8, axis=0), np.repeat(y, 8)
    candidate = replace(LOGISTIC, space={"model__C": (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)}, search="halving")

    found = search(candidate, iris.schema, X, y, metric="accuracy", seed=1)
    rows = [len(trial.held_out) for trial in found.trials]

    assert rows == [len(X) // 3] * 6 + [len(X)] * 2
    assert len(found.best.held_out) == len(X)


def test_the_same_seed_finds_the_same(heart: Dataset) -> None:
    first, again, other = (run(heart, LOGISTIC, seed=seed) for seed in (1, 1, 2))

    assert first.best.folds == again.best.folds
    assert first.best.folds != other.best.folds


def test_held_out_answers_come_from_models_that_did_not_see_the_row(heart: Dataset) -> None:
    X, y = heart.load("train")
    noise = np.random.default_rng(0).permutation(y)
    memorizing = Candidate("forest", recipes.forest, {"model__min_samples_leaf": (1,)})

    found = search(memorizing, heart.schema, X, noise, metric="accuracy", seed=1)

    assert found.best.mean("accuracy") < 0.65


def test_parameters_of_another_task_are_left_out(heart: Dataset) -> None:
    found = run(heart, replace(LOGISTIC, space={"model__C": (0.1,), "model__alpha": (1.0, 2.0)}))

    assert [dict(trial.parameters) for trial in found.trials] == [{"model__C": 0.1}]


def test_a_space_of_unknown_parameters_is_refused(heart: Dataset) -> None:
    with pytest.raises(ValueError, match=r"has none of the parameters model__c: choose from .*model__C"):
        run(heart, replace(LOGISTIC, space={"model__c": (0.1,)}))


def test_a_rare_class_gets_fewer_folds(heart: Dataset) -> None:
    X, y = heart.load("train")
    y = np.zeros_like(y)
    y[:3] = 1

    found = search(replace(LOGISTIC, space={}), heart.schema, X, y, metric="accuracy", seed=1)

    assert len(found.best.folds) == 3


def test_a_regression_is_searched_too(heart: Dataset) -> None:
    X, _ = heart.load("train")
    schema = Schema(heart.schema.columns, Target("age", "regression"))

    found = search(Candidate("ridge", recipes.ridge, recipes.RIDGE), schema, X, X[:, 0], metric="rmse", seed=1)

    assert found.best.mean("r2") > 0.99


def test_a_sample_keeps_every_class_and_its_share() -> None:
    y = np.array([0] * 7_000 + [1] * 2_998 + [2] * 2)
    target = Target("y", "multiclass", ("a", "b", "c"))

    kept = sample(y, 1_000, target, seed=1)

    assert np.bincount(y[kept])[2] >= 1
    assert abs(np.bincount(y[kept])[0] - 700) <= 2
    assert len(kept) <= 1_002
    assert (np.diff(kept) > 0).all()


def trial(*accuracies: float) -> Trial:
    return Trial({}, tuple({"accuracy": value} for value in accuracies), np.arange(0), np.zeros((0, 2)))


def test_takes_the_simplest_of_settings_that_the_folds_cannot_tell_apart() -> None:
    simple, lucky = trial(0.80, 0.84, 0.79, 0.86, 0.81), trial(0.86, 0.80, 0.84, 0.82, 0.83)

    assert simplest([simple, lucky], "accuracy") is simple


def test_takes_the_flexible_setting_when_it_is_better_in_every_fold() -> None:
    simple, better = trial(0.80, 0.84, 0.79, 0.86, 0.81), trial(0.82, 0.86, 0.82, 0.88, 0.84)

    assert simplest([simple, better], "accuracy") is better
