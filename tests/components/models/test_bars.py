"""The bar of one run is read, checked against the task, and raises what the use case asks for."""

from __future__ import annotations

import pytest

from components.errors import InputError
from components.models import bars
from components.use_cases import Gate
from serving.schema import Target


def test_a_bar_adds_to_the_gate_and_wins_over_it() -> None:
    gate = Gate("roc_auc", at_least={"accuracy": 0.7, "recall": 0.5}, tolerance=0.1)

    raised = bars.raised(gate, "accuracy >= 0.9, ece<=0.1,roc_auc>=0.8")

    assert raised.at_least == {"accuracy": 0.9, "recall": 0.5, "roc_auc": 0.8}
    assert raised.at_most == {"ece": 0.1}
    assert raised.tolerance == 0.1
    assert bars.raised(gate, "") == gate


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("roc_auc=0.8", "expected METRIC>=VALUE or METRIC<=VALUE"),
        ("roc_auc>=high", "expected METRIC>=VALUE"),
        ("roc_auc>=nan", "expected METRIC>=VALUE"),
        ("auc>=0.8", "unknown metric 'auc'; choose from accuracy"),
        ("rmse>=3", "rmse is better the lower it is; give --at-most rmse=3"),
        ("r2<=0.5", "r2 is better the higher it is; give --at-least r2=0.5"),
    ],
)
def test_a_bar_that_cannot_be_meant_is_refused_with_what_can(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        bars.parse(text)


def test_a_figure_of_another_task_is_refused() -> None:
    with pytest.raises(InputError, match="rmse is no figure of a binary task; choose from accuracy"):
        bars.check("rmse<=3", Target("y", "binary", (0, 1), 1))
    bars.check("rmse<=3", Target("y", "regression"))
