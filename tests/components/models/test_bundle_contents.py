"""Golden requests, the drift reference, slices and intervals: what they promise to whoever reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.dataset import Dataset
from components.models import bootstrap, drift, goldens, recipes, score, slices
from components.use_cases import heart as heart_case
from serving.schema import Column, Schema, Target


def test_golden_requests_hold_the_example_missing_values_unseen_categories_and_a_batch(heart: Dataset) -> None:
    X, y = heart.load("train")
    scorer = score.fitted(recipes.logistic(heart.schema, 1).fit(X, y))

    golden = goldens.write_requests(heart.schema, scorer, X, example=heart_case.USE_CASE.example, seed=1)
    requests = golden["requests"]
    rows = [row for request in requests for row in request["instances"]]

    assert rows[0] == heart_case.USE_CASE.example
    assert len(requests) >= 16
    assert any(None in row.values() for row in rows)
    assert any(all(value is None for value in row.values()) for row in rows)
    assert any(row["cp"] == 5.0 for row in rows), "no unseen category"
    assert len(requests[-1]["instances"]) > 1
    assert json.loads(json.dumps(golden, allow_nan=False)) == golden


def test_golden_answers_are_those_of_the_pipeline_to_the_json(heart: Dataset) -> None:
    X, y = heart.load("train")
    pipeline = recipes.logistic(heart.schema, 1).fit(X, y)
    golden = goldens.write_requests(heart.schema, score.fitted(pipeline), X, example={}, seed=1)

    for request in golden["requests"]:
        scores = pipeline.predict_proba(goldens.encode_instances(heart.schema, request["instances"]))
        np.testing.assert_array_equal(scores, request["probabilities"])
        assert request["predictions"] == [heart.schema.target.classes[k] for k in scores.argmax(axis=1)]


def test_goldens_of_a_regression_have_no_probabilities(heart: Dataset) -> None:
    X, _ = heart.load("train")
    schema = Schema(heart.schema.columns, Target("age", "regression"))
    pipeline = recipes.ridge(schema, 1).fit(X, X[:, 0])

    golden = goldens.write_requests(schema, score.fitted(pipeline), X, example={}, seed=1)

    assert all("probabilities" not in request for request in golden["requests"])
    assert isinstance(golden["requests"][0]["predictions"][0], float)


def test_every_training_row_is_counted_once_and_none_lies_on_an_edge(heart: Dataset) -> None:
    X, y = heart.load("train")
    scores = recipes.logistic(heart.schema, 1).fit(X, y).predict_proba(X)

    reference = drift.reference(heart.schema, X, scores)

    for position, (name, bins) in enumerate(reference["columns"].items()):
        assert sum(bins["counts"]) + bins["missing"] + bins.get("unseen", 0) == len(X), name
        if bins["kind"] != "category":
            assert len(bins["counts"]) == len(bins["edges"]) + 1
            assert not set(bins["edges"]) & set(X[:, position].tolist())
    assert sum(reference["predictions"]["counts"]) == len(X)
    assert sum(reference["predictions"]["scores"]) == len(X)
    assert json.loads(json.dumps(reference, allow_nan=False)) == reference


def test_deciles_split_the_rows_into_tenths() -> None:
    values = np.random.default_rng(0).normal(size=(1_000, 1))
    schema = Schema((Column("x", "number"),), Target("y", "regression"))

    counts = drift.reference(schema, values, values)["columns"]["x"]["counts"]

    assert len(counts) == 10
    assert all(95 <= count <= 105 for count in counts)


@pytest.mark.parametrize("values", [np.full(5, np.nan), np.full(5, 3.0)], ids=["missing", "constant"])
def test_a_column_without_spread_has_a_reference(values: np.ndarray) -> None:
    schema = Schema((Column("x", "number"),), Target("y", "regression"))

    bins = drift.reference(schema, values.reshape(-1, 1), np.zeros((5, 1)))["columns"]["x"]

    assert sum(bins["counts"]) + bins["missing"] == 5
    assert len(bins["counts"]) == len(bins["edges"]) + 1


def test_unseen_and_missing_categories_are_counted_apart() -> None:
    schema = Schema((Column("c", "category", categories=("a", "b")),), Target("y", "regression"))

    bins = drift.reference(schema, np.array([[0.0], [1.0], [1.0], [-1.0], [np.nan]]), np.zeros((5, 1)))["columns"]["c"]

    assert (bins["counts"], bins["unseen"], bins["missing"]) == ([1, 2], 1, 1)


def test_the_weakest_slice_comes_first() -> None:
    schema = Schema((Column("c", "category", categories=("good", "bad")),), Target("y", "binary", (0, 1), 1))
    codes = np.repeat([0.0, 1.0], 40)
    truth = np.tile([0, 1], 40)
    positive = np.where(codes == 0.0, truth * 0.8 + 0.1, 0.9 - truth * 0.8)

    found = slices.measure(schema, codes.reshape(-1, 1), truth, np.column_stack([1 - positive, positive]), "accuracy")

    assert [(part.name, part.rows, part.value) for part in found] == [("bad", 40, 0.0), ("good", 40, 1.0)]
    assert [part.name for part in slices.weak(found)] == ["bad"]


def test_a_slice_on_which_the_target_varies_little_is_not_weak_for_that() -> None:
    """R2 is low where there is little to explain, however close every answer is."""
    schema = Schema((Column("c", "category", categories=("calm", "wild")),), Target("y", "regression"))
    generator = np.random.default_rng(0)
    codes = np.repeat([0.0, 1.0], 200)
    truth = np.where(codes == 0.0, generator.normal(0, 1, 400), generator.normal(0, 50, 400))
    scores = truth + np.where(codes == 0.0, generator.normal(0, 1, 400), generator.normal(0, 10, 400))

    found = slices.measure(schema, codes.reshape(-1, 1), truth, scores.reshape(-1, 1), "r2")
    by_name = {part.name: part for part in found}

    assert by_name["calm"].value < 0.5 < 0.9 < by_name["wild"].value
    assert [part.name for part in slices.weak(found)] == ["wild"]


def test_slices_without_a_difference_are_called_weak_as_often_as_the_interval_says() -> None:
    schema = Schema((Column("c", "category", categories=("a", "b")),), Target("y", "regression"))
    generator = np.random.default_rng(1)
    codes = np.repeat([0.0, 1.0], 40).reshape(-1, 1)
    called = 0
    for _ in range(500):
        truth = generator.normal(size=80)
        found = slices.measure(schema, codes, truth, generator.normal(size=(80, 1)), "mae")
        called += len(slices.weak(found))

    assert called / 1_000 < 0.05  # nominal 0.025


def test_a_small_slice_is_left_out_and_so_is_one_that_leaves_few_outside() -> None:
    schema = Schema((Column("c", "category", categories=("x", "y", "few")),), Target("y", "binary", (0, 1), 1))
    codes = np.array([0.0] * 30 + [1.0] * 20 + [2.0] * 5).reshape(-1, 1)
    truth = np.tile([0, 1, 1, 0, 1], 11)

    found = slices.measure(schema, codes, truth, np.full((55, 2), 0.5), "accuracy")
    alone = slices.measure(schema, np.zeros((55, 1)), truth, np.full((55, 2), 0.5), "accuracy")

    assert sorted(part.name for part in found) == ["x", "y"]
    assert alone == []


def test_numbers_are_sliced_by_quantile() -> None:
    schema = Schema((Column("x", "integer"),), Target("y", "regression"))
    x = np.arange(200.0)

    found = slices.measure(schema, x.reshape(-1, 1), x, (x + np.where(x > 149, 9.0, 1.0)).reshape(-1, 1), "mae")

    assert found[0].name == "150 to 199"
    assert [part.rows for part in found] == [50] * 4


def test_the_same_scores_differ_by_nothing_and_worse_ones_for_sure() -> None:
    target = Target("y", "binary", (0, 1), 1)
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 200)
    good = np.clip(truth * 0.6 + generator.random(200) * 0.4, 0, 1)
    good_scores = np.column_stack([1 - good, good])
    noise = generator.random(200)
    bad_scores = np.column_stack([1 - noise, noise])

    same = bootstrap.difference(target, "roc_auc", truth, good_scores, good_scores, seed=1, resamples=100)
    worse = bootstrap.difference(target, "roc_auc", truth, bad_scores, good_scores, seed=1, resamples=100)

    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert worse.high < 0


def test_a_lower_error_is_a_gain() -> None:
    target = Target("y", "regression")
    truth = np.arange(100.0)
    near, far = (truth + 1).reshape(-1, 1), (truth + 3).reshape(-1, 1)

    assert bootstrap.difference(target, "rmse", truth, near, far, seed=1, resamples=100).low == pytest.approx(2.0)


def test_an_interval_holds_its_value_and_repeats_with_the_seed() -> None:
    target = Target("y", "regression")
    generator = np.random.default_rng(0)
    truth = generator.normal(size=150)
    scores = (truth + generator.normal(size=150)).reshape(-1, 1)

    first, again = (bootstrap.intervals(target, truth, scores, seed=3, resamples=200) for _ in range(2))

    assert first == again
    assert all(found.low < found.value < found.high for found in first.values())
