"""A version proves itself at its endpoint: its golden requests must give the predictions recorded at training."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

Ask = Callable[[str, bytes], tuple[int, bytes]]
"""Asks a path with a body; returns status (0: nothing answered) and body."""
TRIES = 4
PASSING = (0, 429, 500, 502, 503, 504)
"""What a proxy or a pod on its way out may answer once; a broken version answers it every time."""


def disagreement(ask: Ask, model: str, golden: Mapping[str, Any], pause: float) -> str:
    """Return the first way in which an endpoint disagrees with the golden requests, empty when there is none.

    Args:
        pause: Seconds before a request that nobody answered is asked again.
    """
    if not golden["requests"]:
        return "the bundle has no golden requests to prove itself with"
    for number, request in enumerate(golden["requests"], 1):
        wanted = {key: request[key] for key in ("predictions", "probabilities") if key in request}
        body: dict[str, Any] = {"instances": request["instances"]}
        if "probabilities" in wanted:
            body["parameters"] = {"probabilities": True}
        status, content = _asked(ask, f"/v1/models/{model}:predict", json.dumps(body).encode(), pause)
        if status != 200:
            text = content.decode(errors="replace").strip()[:200]
            return f"golden request {number} was answered {status or 'by nobody'} ({text})"
        try:
            answer = dict(json.loads(content))
        except (TypeError, ValueError):
            return f"golden request {number} was not answered in JSON"
        for key, expected in wanted.items():
            if not _same(answer.get(key), expected, float(golden.get("tolerance", 1e-6))):
                found, known = repr(answer.get(key))[:120], repr(expected)[:120]
                return f"golden request {number}: {key} are {found}, at training they were {known}"
    return ""


def _asked(ask: Ask, path: str, body: bytes, pause: float) -> tuple[int, bytes]:
    for _ in range(TRIES - 1):
        status, content = ask(path, body)
        if status not in PASSING:
            return status, content
        time.sleep(pause)
    return ask(path, body)


def _same(found: Any, wanted: Any, tolerance: float) -> bool:
    """Compare nested lists; numbers may differ by the tolerance, relative above one."""
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_same(one, other, tolerance) for one, other in zip(found, wanted, strict=True))
        )
    if isinstance(wanted, float) and isinstance(found, int | float) and not isinstance(found, bool):
        return math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)
    return bool(found == wanted)
