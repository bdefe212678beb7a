"""A bundle proves itself before it serves: its golden requests must give the predictions recorded at training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from serving.bundle import GOLDEN, Bundle, BundleError
from serving.errors import Refused
from serving.predictor import Predictor

if TYPE_CHECKING:
    from serving.native._native import Fast


def check_goldens(predictor: Predictor) -> int:
    """Return how many golden rows reproduced.

    Raises:
        BundleError: None are there, or one does not reproduce; the message shows the first.
    """
    bundle = predictor.bundle
    document = bundle.json(GOLDEN)
    try:
        tolerance = float(document.get("tolerance", 1e-6))
        fast = predictor.make_fast()
        checked = 0
        for position, request in enumerate(document["requests"]):
            checked += _check(predictor, request, f"golden request {position}", tolerance)
            if fast is not None:
                _check_hot_path(predictor, fast, request["instances"], f"golden request {position}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise bundle.unreadable(GOLDEN, error) from error
    except Refused as error:
        raise _failed(bundle, f"a golden request does not fit the schema: {error.message}") from error
    if checked == 0:
        raise _failed(bundle, f"{GOLDEN} holds no rows to prove it with")
    return checked


def _check(predictor: Predictor, request: Mapping[str, Any], name: str, tolerance: float) -> int:
    instances = request["instances"]
    scores = predictor.score(predictor.encoder.encode(instances, 0), len(instances)).tolist()
    labels = predictor.labels(scores)
    expected = request["predictions"]
    if len(expected) != len(labels):
        raise _failed(predictor.bundle, f"{name} has {len(instances)} rows and {len(expected)} predictions")
    for row, (found, wanted) in enumerate(zip(labels, expected, strict=True)):
        if not (_near(found, wanted, tolerance) if not predictor.classes else found == wanted):
            raise _failed(predictor.bundle, f"{name}, row {row}: expected {wanted!r}, got {found!r}")
    for row, (numbers, recorded) in enumerate(_probabilities(predictor, scores, request)):
        if len(numbers) != len(recorded) or not all(map(_near, numbers, recorded, [tolerance] * len(numbers))):
            raise _failed(predictor.bundle, f"{name}, row {row}: expected probabilities {recorded}, got {numbers}")
    return len(labels)


def _check_hot_path(predictor: Predictor, fast: Fast, instances: Sequence[Any], name: str) -> None:
    """Check that C answers the request, if it takes it, as the generic path does."""
    body = orjson.dumps({"instances": instances})
    path = predictor.path.encode()
    head = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    answer = fast.handle(head % (path, len(body)) + body)
    scores = predictor.score(predictor.encoder.encode(instances, 0), len(instances)).tolist()
    wanted = orjson.dumps({"predictions": predictor.labels(scores)})
    if answer is not None and answer.partition(b"\r\n\r\n")[2] != wanted:
        raise _failed(predictor.bundle, f"{name}: the hot path in C answers differently")


def _probabilities(
    predictor: Predictor, scores: Sequence[float], request: Mapping[str, Any]
) -> Sequence[tuple[Sequence[float], Sequence[float]]]:
    if not predictor.classes or "probabilities" not in request:
        return []
    return list(zip(predictor.rows_of(scores), request["probabilities"], strict=True))


def _near(found: Any, wanted: Any, tolerance: float) -> bool:
    """Return whether two numbers agree; relative above one, so that prices and probabilities both make sense."""
    return math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)


def _failed(bundle: Bundle, reason: str) -> BundleError:
    return BundleError(
        f"bundle {bundle.folder} does not reproduce its golden requests ({reason}): "
        "it must not serve; train or publish it again"
    )
