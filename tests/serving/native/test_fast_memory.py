"""What the hot path remembers of one request never changes the answer to another."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from serving import native

HEAD = (
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n{last}\r\n"
)


def _request(path: str, body: str, *, more: str = "", last: str = "", length: int | None = None) -> bytes:
    size = len(body.encode()) if length is None else length
    return (HEAD.format(path=path, more=more, length=size, last=last) + body).encode()


def _v1(row: list[float], **parts: Any) -> bytes:
    return _request("/v1/models/m:predict", json.dumps({"instances": [row]}), **parts)


def _v2(rows: list[list[float]], *, shape: list[int], datatype: str = "FP64") -> bytes:
    tensor = {"name": "input-0", "shape": shape, "datatype": datatype, "data": rows}
    return _request("/v2/models/m/infer", json.dumps({"inputs": [tensor]}))


def _body(answer: bytes | None) -> Any:
    return None if answer is None else json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
def fast(echo: Any) -> Any:
    return native.fast(native.table(echo.data), "m", None, echo.schema)


def test_a_remembered_head_takes_bodies_of_any_length(fast: Any) -> None:
    values = [1.0, 123456.75, 2.0, 0.125]

    assert [_body(fast.handle(_v1([value]))) for value in values] == [{"predictions": [value]} for value in values]


def test_a_remembered_head_excuses_no_other_head(fast: Any) -> None:
    assert fast.handle(_v1([1.0])) is not None

    assert fast.handle(_v1([1.0], last="Transfer-Encoding: chunked\r\n")) is None
    assert fast.handle(_v1([1.0], more="Expect: 100-continue\r\n")) is None
    assert fast.handle(_v1([1.0], length=3)) is None
    assert fast.handle(_v1([1.0], length=30)) is None
    assert fast.handle(_v1([1.0]).replace(b"Content-Length: ", b"Content-Length: +")) is None
    assert fast.handle(_v1([1.0]) + b"GET") is None
    assert fast.handle(_v1([1.0])[:-1]) is None
    assert _body(fast.handle(_v1([5.0]))) == {"predictions": [5.0]}


def test_a_request_id_is_never_another_requests(fast: Any) -> None:
    named = [fast.handle(_v1([1.0], more=f"X-Request-Id: {name}\r\n")) for name in ("a", "b")]
    nameless = fast.handle(_v1([1.0]))

    assert [answer.count(b"x-request-id: %s\r\n" % name) for answer, name in zip(named, (b"a", b"b"), strict=True)] == [
        1,
        1,
    ]
    assert b"x-request-id" not in nameless


def test_a_remembered_tensor_is_only_the_same_tensor(fast: Any) -> None:
    assert _body(fast.handle(_v2([[1.5]], shape=[1, 1])))["outputs"][0]["data"] == [1.5]

    assert _body(fast.handle(_v2([[2.5]], shape=[1, 1])))["outputs"][0]["data"] == [2.5]
    assert _body(fast.handle(_v2([[2.5], [3.5]], shape=[2, 1])))["outputs"][0]["data"] == [2.5, 3.5]
    assert fast.handle(_v2([[2.5], [3.5]], shape=[1, 1])) is None
    assert fast.handle(_v2([[2.5]], shape=[1, 1], datatype="INT64")) is None
    assert _body(fast.handle(_v2([[4]], shape=[1, 1], datatype="INT64")))["outputs"][0]["data"] == [4.0]
    assert _body(fast.handle(_v2([[9.5]], shape=[1, 1])))["outputs"][0]["data"] == [9.5]


@pytest.mark.parametrize(
    "text", ["0", "7", "63.0", "0.5", "00", "1.", ".5", "1.2.3", "-1.5", "-0", "1e3", "1E-2", "1e", "+1"]
)
def test_numbers_are_what_json_says_they_are(fast: Any, text: str) -> None:
    answer = fast.handle(_request("/v1/models/m:predict", f'{{"instances": [[{text}]]}}'))
    try:
        expected = float(json.loads(text))
    except ValueError:
        assert answer is None
    else:
        assert answer is None or _body(answer) == {"predictions": [expected]}


def test_short_and_long_numbers_are_rounded_correctly(fast: Any) -> None:
    generator = np.random.default_rng(2)
    for digits in range(1, 22):
        for _ in range(60):
            whole = "".join(map(str, generator.integers(0, 10, digits))).lstrip("0") or "0"
            text = f"{whole}.{generator.integers(0, 10**6)}" if generator.random() < 0.7 else whole
            answer = fast.handle(_request("/v1/models/m:predict", f'{{"instances": [[{text}]]}}'))

            assert answer is None or _body(answer) == {"predictions": [float(text)]}, text
