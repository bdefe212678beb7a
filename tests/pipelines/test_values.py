"""Values go from task to task as a cluster's JSON has them."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.local.values import NotJson, canonical, select


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (100.0, 100),
        (-0.0, 0),
        (0.5, 0.5),
        (True, True),
        (None, None),
        ("1.0", "1.0"),
        ({"n": 1.0, "deep": [2.0, {"x": 3.5}]}, {"n": 1, "deep": [2, {"x": 3.5}]}),
        ((1.0, "a"), [1, "a"]),
        (1e300, 1e300),
    ],
)
def test_whole_numbers_are_integers(value: Any, expected: Any) -> None:
    found = canonical(value)

    assert found == expected
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1, {"x": object()}, b"bytes"])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(NotJson):
        canonical(value)


def test_fields_are_selected_from_objects_and_from_their_text() -> None:
    assert select({"a": 1.0}, 'parseJson(string_value)["a"]') == 1
    assert select('{"a": [1.0]}', 'parseJson(string_value)["a"]') == [1]
    assert select('{"a": 1}', "parseJson(string_value)") == {"a": 1}


@pytest.mark.parametrize("expression", ['parseJson(string_value)["b"]', 'string_value["a"]', "eval(x)"])
def test_a_field_that_is_not_there_or_another_selector_is_refused(expression: str) -> None:
    with pytest.raises(NotJson):
        select({"a": 1}, expression)
