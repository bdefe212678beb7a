"""Looks for requests that cost a small pod its life, or hold the others up: random large bodies, many at a time.

What a probe is made to wait for is measured in CPU of the server, not in seconds of a shared machine: while a body is
in work, the loop must turn often.
"""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from serving import budget
from serving.bundle import Bundle
from tests.serving.cages import POD, caged, peak, ready

BODY = 16 << 20
PATHS = ("/v1/models/m:predict", "/v2/models/m/infer", "/v1/models/m:explain")
ATOMS = ("1", "1.5e300", "null", "true", '""', '"' + "x" * 50 + '"', '"\\ud83d\\ude00"', "-0", "[]", "{}", "1e-9")
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def made(source: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """Return path, body and headers of a random request that may be as large as any."""
    path = source.choice(PATHS)
    item = _item(source, 3)
    if source.random() < 0.3:
        item = "[" + ",".join(source.choice(ATOMS) for _ in range(4)) + "]"
    if source.random() < 0.2:
        item = json.dumps({name: source.random() * 5 for name in COLUMNS})
    size = source.choice((1 << 12, 1 << 17, 1 << 20, BODY - (1 << 12)))
    rows = ",".join([item] * max(1, size // (len(item) + 1)))
    field = "inputs" if "infer" in path else "instances"
    if field == "inputs" and source.random() < 0.5:
        rows = f'{{"name":"a","shape":[{source.randint(0, 10**6)},4],"datatype":"FP64","data":[{rows}]}}'
    body = f'{{"{field}":[{rows}]}}'.encode()
    if source.random() < 0.2:
        body = body[: source.randrange(len(body))]
    headers = {"content-type": "application/json"}
    if source.random() < 0.4:
        body = gzip.compress(body, 1)
        headers["content-encoding"] = "gzip"
    return path, body, headers


def _item(source: random.Random, depth: int) -> str:
    kind = source.random()
    if depth == 0 or kind < 0.4:
        return source.choice(ATOMS)
    parts = [_item(source, depth - 1) for _ in range(source.randint(0, 5))]
    if kind < 0.75:
        return f"[{','.join(parts)}]"
    return "{" + ",".join(f'"{source.choice((*COLUMNS, "a", ""))}":{part}' for part in parts) + "}"


@pytest.mark.parametrize("rounds", [20, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(3_000)])])
def test_random_large_requests_end_no_server(run_server: Callable[..., Any], flowers: Bundle, rounds: int) -> None:
    source = random.Random(20_261_201)
    flags = ("--max_in_flight_bytes", str(budget.default_limit(POD)), "--request_timeout", "60")
    seen: set[int] = set()
    with run_server(flowers.folder, *flags) as running, caged(running.process.pid):
        for _ in range(rounds):
            asked = [made(source) for _ in range(4)]

            def ask(one: tuple[str, bytes, dict[str, str]]) -> None:
                path, body, headers = one
                seen.add(httpx.post(running.url + path, content=body, headers=headers, timeout=120).status_code)

            threads = [threading.Thread(target=ask, args=(one,)) for one in asked]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert running.process.poll() is None, f"the server is gone after {[one[0] for one in asked]}"
            assert ready(running)
        most = peak(running.process.pid)
        failures = running.log.read_text().count("unexpected failure")

    assert most < POD
    assert failures == 0
    assert seen <= {200, 400, 413, 503}
    assert 400 in seen
