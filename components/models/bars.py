"""The bar a person sets for one run: `roc_auc>=0.8, ece<=0.1`, beside what the use case asks for."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from components.errors import InputError
from components.models import metrics

if TYPE_CHECKING:
    from components.use_cases import Gate
    from serving.schema import Target

PART = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=)\s*(\S+)\s*")
KNOWN = (*metrics.CLASSIFICATION, *metrics.REGRESSION)
EXAMPLE = "roc_auc>=0.8, ece<=0.1"


def parse(text: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return (metric -> smallest accepted value, metric -> largest accepted value); an empty text sets no bar.

    Raises:
        InputError: Not of this form, an unknown metric, or a bar that better models would miss (`rmse>=1`).
    """
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    for part in filter(str.strip, text.split(",")):
        found = PART.fullmatch(part)
        value = _number(found[3]) if found else None
        if found is None or value is None:
            raise InputError(f"bar {part.strip()!r}: expected METRIC>=VALUE or METRIC<=VALUE, such as {EXAMPLE!r}")
        name, sign = found[1], found[2]
        if name not in KNOWN:
            raise InputError(f"bar {part.strip()!r}: unknown metric {name!r}; choose from {', '.join(KNOWN)}")
        if (sign == "<=") != (name in metrics.LOWER_IS_BETTER):
            better = "lower" if sign == ">=" else "higher"
            right = f"--at-{'most' if sign == '>=' else 'least'} {name}={found[3]}"
            raise InputError(f"bar {part.strip()!r}: {name} is better the {better} it is; give {right}")
        (least if sign == ">=" else most)[name] = value
    return least, most


def check(text: str, target: Target) -> None:
    """Make sure that a task has the metrics of a bar.

    Raises:
        InputError: It lacks one; the message names those it has.
    """
    least, most = parse(text)
    for name in (*least, *most):
        if name not in metrics.names(target):
            raise InputError(
                f"bar: {name} is no figure of a {target.task} task; choose from {', '.join(metrics.names(target))}"
            )


def raised(gate: Gate, text: str) -> Gate:
    """Return a gate that asks for the bar, too; where both name a metric, the bar is what counts."""
    least, most = parse(text)
    return replace(gate, at_least={**gate.at_least, **least}, at_most={**gate.at_most, **most})


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
