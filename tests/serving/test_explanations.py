"""Contributions are Shapley values: they add up, and they are right where the right ones are known."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from serving.bundle import Bundle
from serving.explain import Game


class Model:
    """A predictor made of a formula."""

    width = 1
    classes: Sequence[Any] = ()

    def __init__(self, formula: Callable[[Sequence[float]], float], columns: int) -> None:
        self._formula = formula
        self._columns = columns

    def score(self, features: array[float], rows: int) -> memoryview:
        step = self._columns
        return memoryview(array("d", [self._formula(features[i * step : (i + 1) * step]) for i in range(rows)]))


def _by_definition(formula: Callable[[Sequence[float]], float], row: Sequence[float]) -> list[float]:
    """Average each feature's effect over all orders, from a background of zeros."""
    found = [0.0] * len(row)
    orders = list(itertools.permutations(range(len(row))))
    for order in orders:
        current = [0.0] * len(row)
        for feature in order:
            before = formula(current)
            current[feature] = row[feature]
            found[feature] += (formula(current) - before) / len(orders)
    return found


def _solve(formula: Callable[[Sequence[float]], float], row: Sequence[float]) -> Any:
    return Game(Model(formula, len(row)), array("d", [0.0] * len(row)), array("d", row), 0).solve()  # type: ignore[arg-type]


def _tangled(x: Sequence[float]) -> float:
    return x[0] * x[1] + math.sin(x[2]) + (5.0 if x[3] > 1 and x[0] > 0 else 0.0) - x[4]


def test_few_features_are_explained_by_the_definition() -> None:
    row = [2.0, 3.0, 1.0, 4.0, 0.0]

    explained = _solve(_tangled, row)

    assert explained.method.startswith("exact")
    assert explained.contributions == pytest.approx(_by_definition(_tangled, row), abs=1e-12)
    assert explained.contributions[4] == 0.0


def test_an_additive_model_with_many_features_is_exact() -> None:
    def formula(x: Sequence[float]) -> float:
        return sum((i + 1) * value for i, value in enumerate(x))

    explained = _solve(formula, [1.0] * 30)

    assert "additive" in explained.method
    assert explained.contributions == pytest.approx(list(range(1, 31)), abs=1e-9)


def test_many_tangled_features_are_sampled_and_still_add_up() -> None:
    def formula(x: Sequence[float]) -> float:
        return _tangled(x) + x[5] * x[6] + sum(x[7:])

    row = [1.0 + i / 10 for i in range(16)]
    explained = _solve(formula, row)

    assert explained.method.startswith("sampled")
    assert explained.standard_error > 0
    assert sum(explained.contributions) == pytest.approx(explained.score - explained.base, abs=1e-9)
    assert explained.contributions[5] == pytest.approx(row[5] * row[6] / 2, abs=5 * explained.standard_error)
    assert _solve(formula, row) == explained


@pytest.mark.parametrize("kind", ["mixed", "flowers", "prices"])
def test_a_served_explanation_adds_up_to_the_score(
    run_server: Callable[..., Any], request: pytest.FixtureRequest, golden: Callable[..., Any], kind: str
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    wanted = golden(bundle)
    with run_server(bundle.folder) as running:
        answer = httpx.post(f"{running.url}/v1/models/m:explain", json={"instances": wanted["instances"]}).json()
        broken = httpx.post(f"{running.url}/v1/models/m:explain", json={"instances": [wanted["instances"][0]] * 65})

    explained = answer["explanations"][0]
    assert answer["predictions"] == pytest.approx(wanted["predictions"])
    assert sum(explained["contributions"].values()) == pytest.approx(explained["score"] - explained["base"], abs=1e-9)
    assert list(explained["contributions"]) == list(bundle.schema.names)
    assert broken.status_code == 400


def test_a_missing_value_is_explained_too(server: Any) -> None:
    row = {"age": None, "income": None, "city": "Atlantis", "grade": 2, "member": None, "since": None}

    answer = httpx.post(f"{server.url}/v1/models/m:explain", json={"instances": [row]}).json()

    explained = answer["explanations"][0]
    assert explained["class"] == "yes"
    assert sum(explained["contributions"].values()) == pytest.approx(explained["score"] - explained["base"], abs=1e-9)
