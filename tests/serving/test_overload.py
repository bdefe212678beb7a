"""A server that cannot keep up says so early, and only for predictions."""

from __future__ import annotations

import asyncio
import json

import orjson

from serving.app import App
from serving.bundle import Bundle
from serving.message import Request, Response
from serving.options import Options
from serving.predictor import make_predictor

BODY = json.dumps({"instances": [[40, 1.5, "Lyon", 2, True, "2020-01-31"]]}).encode()


async def _states(bundle: Bundle, delays: list[float]) -> tuple[list[int], App]:
    options = Options("m", str(bundle.folder), max_delay=0.5)
    app = App(options, make_predictor(bundle, options))
    states = []
    for delay in delays:
        app.note_delay(delay)
        answer = app.handle(Request(b"POST", b"/v1/models/m:predict", {}, BODY))
        health = app.handle(Request(b"GET", b"/v2/health/live", {}, b""))
        assert isinstance(answer, Response)
        assert isinstance(health, Response)
        assert health.status == 200
        if answer.status == 503:
            assert dict(answer.headers)[b"retry-after"] == b"1"
            assert "at its limit" in orjson.loads(answer.body)["error"]
        states.append(answer.status)
    return states, app


def test_predictions_are_shed_while_the_loop_keeps_running_late(mixed: Bundle) -> None:
    states, app = asyncio.run(_states(mixed, [0.0, 0.9, 0.9, 0.9, 0.9, 0.0]))

    assert states == [200, 200, 200, 503, 503, 200]
    assert app.metrics.shed == 2
