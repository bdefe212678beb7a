"""The hot path in C and the generic path are one server: the same bytes for every request the first one takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import native
from serving.app import App
from serving.bundle import Bundle
from serving.lifecycle import hot_headers
from serving.message import Request, Response, encode_response
from serving.options import Options
from serving.predictor import make_predictor
from serving.schema import Column
from tests.serving.undated import undated

pytestmark = pytest.mark.skipif(not native.available(), reason="the C extension is not built here")
relaxed = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Both:
    """One bundle behind both paths, without a socket."""

    def __init__(self, bundle: Bundle) -> None:
        self.loop = asyncio.new_event_loop()
        options = Options("m", str(bundle.folder))
        predictor = make_predictor(bundle, options, hot_headers(options))
        assert predictor.fast is not None
        self.fast = predictor.fast
        self.app = self.loop.run_until_complete(self._make(options, predictor))
        self.columns = bundle.schema.columns

    async def _make(self, options: Options, predictor: Any) -> App:
        return App(options, predictor)

    def generic(self, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
        request = Request(b"POST", path.encode(), headers, body)
        answer = self.app.handle(request)
        if not isinstance(answer, Response):
            answer = self.loop.run_until_complete(answer)  # type: ignore[arg-type]
        whole = undated(encode_response(answer, self.app.fixed_headers))
        assert whole is not None
        return whole

    def hot(self, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes | None:
        lines = b"".join(b"%s: %s\r\n" % header for header in headers.items())
        head = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n" % path.encode() + lines
        return undated(self.fast.handle(head + b"content-length: %d\r\n\r\n" % len(body) + body))


@pytest.fixture(scope="module", params=["mixed", "flowers", "prices", "unfolded"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    pair = Both(request.getfixturevalue(request.param))
    yield pair
    pair.loop.close()


def _value(column: Column) -> st.SearchStrategy[Any]:
    usual = {
        "number": st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6),
        "integer": st.integers(-100, 100) | st.floats(-100, 100),
        "boolean": st.booleans() | st.sampled_from([0, 1, 0.0, 1.0]),
        "date": st.dates().map(str),
        "category": st.sampled_from([*column.categories, column.categories[0] if column.categories else "x"]),
    }[column.kind]
    odd = st.sampled_from(
        [None, 0, -0.0, 1e39, 3.4028234663852886e38, "", "é", "Köln ", "1", True, [], "2020-02-30", 2**70]
    )
    return st.one_of(usual, usual, usual, st.none(), odd)


@given(data=st.data())
@relaxed
def test_v1_answers_are_the_same_bytes(both: Both, data: st.DataObject) -> None:
    rows = data.draw(
        st.lists(st.tuples(*map(_value, both.columns), st.booleans(), st.randoms()), min_size=1, max_size=4)
    )
    instances: list[Any] = []
    for *values, named, shuffle in rows:
        pairs = list(zip((column.name for column in both.columns), values, strict=True))
        shuffle.shuffle(pairs)
        instances.append(dict(pairs) if named else values)
    body = json.dumps({"instances": instances}, ensure_ascii=data.draw(st.booleans())).encode()
    _compare(both, "/v1/models/m:predict", data.draw(_headers()), body)


@given(data=st.data())
@relaxed
def test_v2_answers_are_the_same_bytes(both: Both, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 3))
    kinds = {"number": ["FP64", "FP32", "INT64", "INT32"], "integer": ["INT64", "FP64", "INT32"]}
    kinds |= {"boolean": ["BOOL", "FP64"], "date": ["BYTES"], "category": ["BYTES", "INT64", "FP64"]}
    tensors = [
        {
            "name": column.name,
            "shape": data.draw(st.sampled_from([[rows], [rows, 1]])),
            "datatype": data.draw(st.sampled_from(kinds[column.kind])),
            "data": data.draw(st.lists(_value(column), min_size=rows, max_size=rows)),
        }
        for column in both.columns
    ]
    document: dict[str, Any] = {"inputs": data.draw(st.permutations(tensors))}
    if data.draw(st.booleans()):
        document["id"] = data.draw(st.text(max_size=8))
    _compare(
        both,
        "/v2/models/m/infer",
        data.draw(_headers()),
        json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    )


@given(data=st.data())
@relaxed
def test_matrices_are_answered_with_the_same_bytes(both: Both, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 3))
    number = st.floats(-1e6, 1e6) | st.integers(-5, 5) | st.none()
    flat = data.draw(st.lists(number, min_size=rows * len(both.columns), max_size=rows * len(both.columns)))
    tensor = {"name": data.draw(st.sampled_from(["features", "input-0", "x"])), "shape": [rows, len(both.columns)]}
    tensor |= {"datatype": data.draw(st.sampled_from(["FP64", "FP32", "INT64"])), "data": flat}
    _compare(both, "/v2/models/m/infer", {}, json.dumps({"inputs": [tensor]}).encode())


def _headers() -> st.SearchStrategy[dict[bytes, bytes]]:
    return st.sampled_from([{}, {b"x-request-id": b"abc-1"}, {b"accept": b"*/*", b"user-agent": b"t/1"}])


def _compare(both: Both, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
    hot = both.hot(path, headers, body)
    if hot is not None:
        assert hot == both.generic(path, headers, body), body


def test_ordinary_requests_take_the_hot_path(both: Both, golden: Callable[..., Any]) -> None:
    row = golden(both.app.predictor.bundle)["instances"][0]
    before = both.fast.counters()["requests"]["v1"]

    assert both.hot("/v1/models/m:predict", {}, json.dumps({"instances": [row]}).encode()) is not None
    assert both.hot("/v1/models/m:predict", {}, json.dumps({"instances": [list(row.values())]}).encode()) is not None
    assert both.fast.counters()["requests"]["v1"] == before + 2
