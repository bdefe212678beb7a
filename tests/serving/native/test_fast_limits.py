"""What the hot path leaves to the generic path, and what it counts."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest

from serving import native
from serving.schema import Column, Schema, Target
from tests.serving.undated import undated

ROW = [54.2, 180, "typical", 7, True, "2001-02-03"]
BODY = json.dumps({"instances": [ROW]}).encode()
HOST = b"Host: localhost\r\n"
TYPE = b"Content-Type: application/json\r\n"
EDGES = {"age": {"edges": [40.0, 54.2, 60.0]}, "größe": {"edges": []}, "since": {"edges": [0.0]}}
REFERENCE = {"columns": EDGES, "predictions": {"edges": [0.25, 0.5, 0.75]}}


def request(
    body: bytes = BODY, *, line: bytes = b"POST /v1/models/heart:predict HTTP/1.1", headers: bytes = HOST + TYPE
) -> bytes:
    return line + b"\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture
def fast(folded: dict[str, Any]) -> Any:
    model = folded["forest"]
    return native.fast(native.table(model.data), "heart", "3", model.schema, REFERENCE)


def test_answers_the_ordinary_request(fast: Any) -> None:
    assert fast.handle(request()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert undated(fast.handle(bytearray(request()))) == undated(fast.handle(request()))


@pytest.mark.parametrize(
    "header",
    [
        b"Connection: Keep-Alive",
        b"X-Forwarded-For: 10.0.0.1",
        b"x-envoy-attempt-count: 1",
        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"Accept:   */*\t",
        b"User-Agent:",
        b"User-Agent: kserve/0.21 (python-httpx)",
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 10.0.0.2",
        b"tracestate: a=b\r\nX-B3-TraceId: 1\r\nbaggage: a=b\r\nVia: 1.1 envoy\r\nForwarded: for=10.0.0.1",
        b"X-Request-Start: t=1\r\nX-Scheme: https\r\nX-Original-Forwarded-For: 10.0.0.1\r\nX-Datadog-Trace-Id: 1",
        b"x-cloud-trace-context: 1/2;o=1\r\nX-Amzn-Trace-Id: Root=1\r\nCF-Ray: 1\r\nCF-Connecting-IP: 10.0.0.1",
        b"x-client-trace-id: 1\r\nx-ot-span-context: 1\r\nuber-trace-id: 1\r\nX-Correlation-Id: 1",
        b"Keep-Alive: timeout=5\r\nSec-Fetch-Mode: cors\r\nSec-Ch-Ua: a\r\nReferer: http://a/\r\nDNT: 1",
    ],
)
def test_headers_that_change_nothing_change_nothing(header: bytes, fast: Any) -> None:
    assert undated(fast.handle(request(headers=HOST + TYPE + header + b"\r\n"))) == undated(fast.handle(request()))


V2 = b"POST /v2/models/heart/infer HTTP/1.1"
TENSORS = [
    {"name": column, "shape": [1], "datatype": kind, "data": [value]}
    for column, kind, value in zip(
        ("age", "größe", "pain", "thal", "smokes", "since"),
        ("FP64", "INT64", "BYTES", "INT64", "BOOL", "BYTES"),
        ROW,
        strict=True,
    )
]


@pytest.mark.parametrize(
    "extra", [{"model_name": "heart"}, {"parameters": {}}, {"model_name": "heart", "parameters": {}, "id": "7"}]
)
def test_takes_what_kserves_client_adds(extra: dict[str, Any], fast: Any) -> None:
    plain = {name: extra[name] for name in ("id",) if name in extra}
    before, after, last = (
        json.dumps(document, ensure_ascii=False).encode()
        for document in (plain | {"inputs": TENSORS}, extra | {"inputs": TENSORS}, {"inputs": TENSORS} | extra)
    )

    answer = undated(fast.handle(request(before, line=V2)))
    assert answer is not None
    assert undated(fast.handle(request(after, line=V2))) == answer
    assert undated(fast.handle(request(last, line=V2))) == answer


@pytest.mark.parametrize(
    "extra",
    [
        '"model_name": "hear"',
        '"model_name": "heart2"',
        '"model_name": ""',
        '"model_name": null',
        '"model_name": "heart", "model_name": "heart"',
        '"parameters": {"binary_data_output": true}',
        '"parameters": {}, "parameters": {}',
    ],
)
def test_leaves_other_names_and_parameters(extra: str, fast: Any) -> None:
    body = f'{{{extra}, "inputs": {json.dumps(TENSORS, ensure_ascii=False)}}}'.encode()

    assert fast.handle(request(body, line=V2)) is None


@pytest.mark.parametrize(
    "headers",
    [
        TYPE,
        HOST,
        HOST + HOST + TYPE,
        HOST + TYPE + TYPE,
        HOST + b"Content-Type: text/plain\r\n",
        HOST + TYPE + b"Content-Length: 3\r\n",
        HOST + TYPE + b"Connection: close\r\n",
        HOST + TYPE + b"Transfer-Encoding: chunked\r\n",
        HOST + TYPE + b"Content-Encoding: gzip\r\n",
        HOST + TYPE + b"Expect: 100-continue\r\n",
        HOST + TYPE + b"Authorization: Bearer x\r\n",
        HOST + TYPE + b"X-Api-Key: x\r\n",
        HOST + TYPE + b"Origin: https://example.org\r\n",
        HOST + TYPE + b"Inference-Header-Content-Length: 10\r\n",
        HOST + TYPE + b"ce-id: 1\r\n",
        HOST + TYPE + b"X-Request-Id: a\r\nX-Request-Id: b\r\n",
        HOST + TYPE + b"X-Request-Id: a b\r\n",
        HOST + TYPE + b"X-Request-Id: \r\n",
        HOST + TYPE + b"X-Request-Id: " + b"a" * 129 + b"\r\n",
        HOST + TYPE + b"Accept : */*\r\n",
        HOST + TYPE + b": x\r\n",
        HOST + TYPE + b"no colon\r\n",
        HOST + TYPE + b"Accept: a\nb\r\n",
        HOST + TYPE + b"Accept: a\0b\r\n",
        HOST + TYPE + b"X-Forwarded-: x\r\n",
        HOST + TYPE + b"X-Forwarded-F r: x\r\n",
        HOST + TYPE + b" Accept: folded\r\n",
    ],
)
def test_leaves_other_heads(headers: bytes, fast: Any) -> None:
    assert fast.handle(request(headers=headers)) is None
    assert fast.counters()["requests"] == {"v1": 0, "v2": 0, "grpc": 0}


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/models/heart:predict HTTP/1.1",
        b"POST /v1/models/heart:predict HTTP/1.0",
        b"POST /v1/models/heart:predict?x=1 HTTP/1.1",
        b"POST /v1/models/iris:predict HTTP/1.1",
        b"POST /v1/models/heart:explain HTTP/1.1",
        b"POST /v2/models/heart/versions/4/infer HTTP/1.1",
        b"POST  /v1/models/heart:predict HTTP/1.1",
    ],
)
def test_leaves_other_request_lines(line: bytes, fast: Any) -> None:
    assert fast.handle(request(line=line)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"instances":[]}',
        b'{"instances":[[]]}',
        b'{"instances":[' + json.dumps(ROW).encode() + b"],}",
        b'{"instances":[' + json.dumps(ROW).encode() + b'],"parameters":{}}',
        b'{"instances":[' + json.dumps(ROW).encode() + b"]} x",
        b'{"instances":[' + json.dumps(ROW).encode() + b"]}\0",
        b'{"instances":[' + json.dumps(ROW[:-1]).encode() + b"]}",
        b'{"instances":[' + json.dumps([*ROW, 1]).encode() + b"]}",
        b'{"instances":[[54.2,180,"typical",7,true,"2001-02-03" "x"]]}',
        b'{"instances":[["54",180,"typical",7,true,null]]}',
        b'{"instances":[[true,180,"typical",7,true,null]]}',
        b'{"instances":[[54.2,180,2,7,true,null]]}',
        b'{"instances":[[54.2,180,"typical","7",true,null]]}',
        b'{"instances":[[54.2,180,"typical",7,2,null]]}',
        b'{"instances":[[54.2,180,"typical",7,"true",null]]}',
        b'{"instances":[[54.2,180,"typical",7,truefalse,null]]}',
        b'{"instances":[[54.2,180,"\xff",7,true,null]]}',
        b'{"instances":[[54.2,180,"typ\\u0069cal",7,true,null]]}',
        b'{"instances":[[54.2,180,"typi\ncal",7,true,null]]}',
        b'{"instances":[[-0.0,180,"typical",7,true,null]]}',
        b'{"instances":[{"age":1}]}',
        b'{"instances":[[[54.2],180,"typical",7,true,null]]}',
    ],
)
def test_leaves_other_bodies(body: bytes, fast: Any) -> None:
    assert fast.handle(request(body)) is None


@pytest.mark.parametrize("change", [{"age": None}, {"extra": 1}])
def test_leaves_rows_that_lack_or_add_a_column(change: dict[str, Any], fast: Any) -> None:
    row = dict(zip(("age", "größe", "pain", "thal", "smokes", "since"), ROW, strict=True)) | change
    if row["age"] is None:
        del row["age"]

    assert fast.handle(request(json.dumps({"instances": [row]}, ensure_ascii=False).encode())) is None


def test_leaves_a_row_that_names_a_column_twice(fast: Any) -> None:
    row = '{"age":1,"age":2,"pain":null,"thal":null,"smokes":null,"since":null}'

    assert fast.handle(request(f'{{"instances":[{row}]}}'.encode())) is None


def test_leaves_every_beginning_and_every_second_request(fast: Any) -> None:
    whole = request(headers=HOST + TYPE + b"X-Request-Id: 7\r\n")

    assert all(fast.handle(whole[:size]) is None for size in range(len(whole)))
    assert fast.handle(whole + whole) is None


def test_leaves_more_rows_and_bytes_than_its_limits(folded: dict[str, Any]) -> None:
    model = folded["forest"]
    body = json.dumps({"instances": [ROW] * 3}).encode()
    table = native.table(model.data)

    few = native.fast(table, "heart", "3", model.schema, rows_limit=2)
    short = native.fast(table, "heart", "3", model.schema, bytes_limit=100)
    assert few is not None
    assert short is not None
    assert few.handle(request(body)) is None
    assert few.handle(request()) is not None
    assert short.handle(request()) is None


def test_echoes_the_request_id_and_carries_the_given_headers(folded: dict[str, Any]) -> None:
    model = folded["forest"]
    lines = b"content-type: application/json\r\nx-content-type-options: nosniff\r\n"
    fast = native.fast(native.table(model.data), "heart", None, model.schema, headers=lines)
    assert fast is not None

    answer = fast.handle(request(headers=HOST + TYPE + b"x-ReQuest-iD:  abc-1 \r\n"))

    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n" + lines + b"date: ")
    assert (undated(answer) or b"").startswith(
        b"HTTP/1.1 200 OK\r\n" + lines + b"x-request-id: abc-1\r\ncontent-length: "
    )


def test_leaves_every_nth_request_to_be_logged(folded: dict[str, Any]) -> None:
    model = folded["forest"]
    fast = native.fast(native.table(model.data), "heart", "3", model.schema, sample=3)
    assert fast is not None

    answered = [fast.handle(request()) is not None for _ in range(6)]

    assert answered == [True, True, False, True, True, False]
    assert fast.counters()["requests"]["v1"] == 4


def test_counts_rows_in_the_bins_of_the_reference(fast: Any) -> None:
    rows = [
        [40, 1, "nobody", 3, True, None],
        [54.2, 2, None, 4, False, "1960-01-01"],
        [61, 3, "none", None, None, None],
    ]
    assert fast.handle(request(json.dumps({"instances": rows}).encode())) is not None

    counters = fast.counters()

    assert counters["rows"] == 3
    assert counters["requests"] == {"v1": 1, "v2": 0, "grpc": 0}
    assert sum(counters["seconds"]["counts"]) == 1
    assert sum(counters["predictions"]) == 3
    assert sum(counters["scores"]) == 3
    assert counters["columns"] == [
        {"counts": [0, 1, 1, 1], "missing": 0, "unseen": 0},
        {"counts": [3], "missing": 0, "unseen": 0},
        {"counts": [0, 0, 1], "missing": 1, "unseen": 1},
        {"counts": [1, 0, 0], "missing": 1, "unseen": 1},
        {"counts": [2], "missing": 1, "unseen": 0},
        {"counts": [1, 0], "missing": 2, "unseen": 0},
    ]


def test_observes_what_other_paths_scored(fast: Any, folded: dict[str, Any]) -> None:
    model = folded["forest"]
    outputs = native.table(model.data).score(model.rows, len(model.rows))

    fast.observe(model.rows, outputs, len(model.rows))

    counters = fast.counters()
    probabilities = array("d", outputs)
    assert counters["rows"] == len(model.rows)
    positive = sum(yes > no for no, yes in zip(probabilities[::2], probabilities[1::2], strict=True))
    assert counters["predictions"][1] == positive
    assert counters["requests"] == {"v1": 0, "v2": 0, "grpc": 0}
    with pytest.raises(ValueError, match="float64"):
        fast.observe(model.rows, outputs, 1)


def test_regression_is_counted_by_value(folded: dict[str, Any]) -> None:
    model = folded["regression"]
    table = native.table(model.data)
    fast = native.fast(table, "heart", "3", model.schema, {"predictions": {"edges": [0.0, 6.0]}})
    assert fast is not None

    fast.observe(model.rows, table.score(model.rows, len(model.rows)), len(model.rows))

    assert len(fast.counters()["predictions"]) == 3
    assert sum(fast.counters()["predictions"]) == len(model.rows)
    assert fast.counters()["scores"] == []


def test_a_schema_of_another_width_is_an_error(folded: dict[str, Any], echo: Any) -> None:
    table = native.table(folded["forest"].data)

    with pytest.raises(ValueError, match="columns"):
        native.fast(table, "heart", "3", echo.schema)
    with pytest.raises(ValueError, match="classes"):
        native.fast(table, "heart", "3", Schema(folded["forest"].schema.columns, Target("t", "regression")))


def test_a_function_may_score_in_place_of_a_table(folded: dict[str, Any], fast: Any) -> None:
    model = folded["forest"]
    table = native.table(model.data)
    called = native.fast(table.score, "heart", "3", model.schema, REFERENCE)
    assert called is not None

    assert undated(called.handle(request())) == undated(fast.handle(request()))
    assert called.counters()["predictions"] == fast.counters()["predictions"]


@pytest.mark.parametrize("outcome", [b"", bytes(8), bytes(24), "text", None])
def test_leaves_requests_whose_scorer_fails(outcome: Any, folded: dict[str, Any]) -> None:
    def score(features: bytes, rows: int) -> Any:
        if outcome is None:
            raise RuntimeError("no session")
        return outcome

    failing = native.fast(score, "heart", "3", folded["forest"].schema)
    assert failing is not None

    assert failing.handle(request()) is None
    assert failing.counters()["rows"] == 0


def test_a_scorer_that_asks_again_is_not_entered_twice(folded: dict[str, Any]) -> None:
    table = native.table(folded["forest"].data)
    answers: list[bytes | None] = []

    def score(features: bytes, rows: int) -> bytes:
        answers.append(outer.handle(request()))
        return table.score(features, rows)

    outer = native.fast(score, "heart", "3", folded["forest"].schema)
    assert outer is not None

    assert outer.handle(request()) is not None
    assert answers == [None]


def test_classes_of_mixed_types_have_no_hot_path(folded: dict[str, Any]) -> None:
    schema = Schema((Column("x", "number"),), Target("t", "binary", (0, "one")))

    assert native.fast(native.table(folded["forest"].data), "heart", "3", schema) is None
