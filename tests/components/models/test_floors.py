"""What takes no model is beaten, or the model is refused: a constant answer and, in time, the last value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.models import floors, judgement
from components.models.bootstrap import Interval
from serving.schema import Column, Schema, Target


class Walk:
    """A random walk over 600 days, cut at random; what a model may see is the date and noise."""

    def __init__(self, *, dates: int = 600, classes: bool = False) -> None:
        generator = np.random.default_rng(1)
        value = np.cumsum(generator.normal(size=600))
        days = np.arange(600.0) * dates // 600
        order = generator.permutation(600)
        self.X = np.column_stack([days, generator.normal(size=600)])[order]
        self.y: Any = (value > np.median(value)).astype(np.int64)[order] if classes else value[order]
        target = Target("y", "binary", ("no", "yes"), "yes") if classes else Target("y", "regression")
        self.schema = Schema((Column("day", "date"), Column("noise", "number")), target)

    def load(self, split: str) -> tuple[Any, Any]:
        part = slice(0, 400) if split == "train" else slice(400, 600)
        return self.X[part], self.y[part]


def _floors(walk: Any, scores: Any, metric: str) -> tuple[floors.Floor, floors.Floor | None]:
    _, truth = walk.load("test")
    return (
        floors.constant(walk, metric, truth, scores, 0),
        floors.last_value(walk, metric, truth, scores, 0),
    )


def test_a_model_of_a_series_that_knows_less_than_its_last_value_is_refused() -> None:
    walk = Walk()
    _, truth = walk.load("test")
    guess = truth[:, None] + np.random.default_rng(2).normal(scale=3.0, size=(200, 1))  # better than the mean
    constant, last = _floors(walk, guess, "r2")

    assert constant.gain.low > 0
    assert last is not None
    assert last.value > 0.9, "a step of the walk is small beside its range"
    assert last.gain.high < 0
    result: Any = type("", (), {"last": last, "floor": constant, "figures": {"r2": Interval(0.8, 0.7, 0.9)}})()
    (check,) = judgement._above_last("r2", result)
    assert not check.passed
    assert "Repeating the last value known before each row reaches 0.9" in check.sentence


def test_classes_have_a_last_value_too() -> None:
    walk = Walk(classes=True)
    _, last = _floors(walk, np.full((200, 2), 0.5), "accuracy")

    assert last is not None
    assert last.value > 0.9


@pytest.mark.parametrize("dates", [30, 1])
def test_rows_that_share_their_days_have_no_last_value(dates: int) -> None:
    assert _floors(Walk(dates=dates), np.zeros((200, 1)), "r2")[1] is None
