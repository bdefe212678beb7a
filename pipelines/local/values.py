"""Values between tasks as a cluster hands them on: JSON in which a whole number is an integer.

KFP's backend keeps values as protobuf `Value` and prints them with protojson, so 100.0 and 100 are the same thing and
arrive as `100`. kfp.local shows steps 100.0 instead, which scikit-learn refuses for counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

WHOLE = 2**53
"""From here on a double does not hold every integer, so a whole number may not be what was meant."""


class NotJson(ValueError):
    """A value cannot be handed from task to task."""


def canonical(value: Any) -> Any:
    """Return a JSON value with whole numbers as int.

    Raises:
        NotJson: Infinite, not a number, an integer beyond 2**53, or no JSON at all.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > WHOLE:
            raise NotJson(f"{value} does not fit a double, which is how KFP hands numbers on: pass it as text")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(f"{value} is no JSON number: KFP cannot hand it from task to task")
        return int(value) if value.is_integer() and abs(value) <= WHOLE else value
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    raise NotJson(f"a {type(value).__name__} cannot be handed from task to task: use text, numbers, lists and dicts")


def from_protobuf(value: Any) -> Any:
    """Return the canonical value of a protobuf `Value`; None when it is not set."""
    from google.protobuf import json_format

    if value.WhichOneof("kind") is None:
        return None
    return canonical(json_format.MessageToDict(value))


def select(value: Any, expression: str) -> Any:
    """Return what KFP's selector `parseJson(string_value)["field"]` takes out of a loop item.

    Raises:
        NotJson: Another expression, or an item without that field.
    """
    head, bracket, rest = expression.partition("[")
    if head.strip() != "parseJson(string_value)" or (bracket and not rest.endswith("]")):
        raise NotJson(f"the selector {expression!r} is not one that the runner knows")
    parsed = json.loads(value) if isinstance(value, str) else value
    if not bracket:
        return canonical(parsed)
    field = json.loads(rest[:-1])
    if not isinstance(parsed, Mapping) or field not in parsed:
        raise NotJson(f"the loop item {parsed!r} has no field {field!r}")
    return canonical(parsed[field])
