"""Conditions mean what they mean to a cluster, and what cannot be evaluated is an error."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.local.conditions import BadCondition, check, holds

X = "inputs.parameter_values['x']"


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        (f"{X} == 'deploy'", "deploy", True),
        (f"{X} == 'deploy'", "DEPLOY", False),
        (f"{X} != 'a'", "b", True),
        (f"{X} == 'it\\'s'", "it's", True),
        (f'{X} == "say \\"so\\""', 'say "so"', True),
        (f"{X} == true", True, True),
        (f"!({X} == true)", False, True),
        (f"int({X}) >= 3", 3, True),
        (f"{X} < 0.5", 0.25, True),
        (f"{X} > -1e3", 0, True),
        (f"double(int({X})) == 2.0", 2, True),
        (f"!({X} == 'a') && {X} == 'b'", "b", True),
        (f"{X} == 'a' || {X} == 'b'", "b", True),
        (f"({X} == 'a')", "b", False),
    ],
)
def test_evaluates(condition: str, value: Any, expected: bool) -> None:
    assert holds(condition, {"x": value}) is expected


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        (f"{X} == 'a'", 1),
        (f"{X} == 1", True),
        (f"{X} == 'it's'", "it's"),
        (f"{X} == 'a' and true", "a"),
        (f"{X}", "a"),
        (f"{X} ==", "a"),
        (f"({X} == 'a'", "a"),
        (f"open({X}) == 'a'", "a"),
        (f"int({X}) == 1", "1"),
        (f"{X} && true", "a"),
        (f"{X} == 'a\\q'", "a"),
        ("inputs.parameter_values['y'] == 'a'", "a"),
        (f"{X} == 'a'", None),
        (f"__import__('os') == {X}", "a"),
    ],
)
def test_refuses_what_it_cannot_mean(condition: str, value: Any) -> None:
    with pytest.raises(BadCondition, match="condition"):
        holds(condition, {"x": value})


def test_checks_the_form_without_values() -> None:
    check(f"!(int({X}) > 3) && {X} == 'a'", ["x"])

    with pytest.raises(BadCondition, match="names 'x', which has no value"):
        check(f"{X} == 'a'", [])
