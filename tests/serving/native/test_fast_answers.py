"""The hot path answers, to the byte, what encoding, scoring and rendering one after the other give, or it does not."""

from __future__ import annotations

import json
from array import array
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import native
from serving.schema import FLOAT32_MAX, InvalidValue, Schema, encode_row
from tests.serving.undated import undated

RELAXED = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
V1 = "/v1/models/heart:predict"
V2 = "/v2/models/heart/infer"


def request(document: Any, path: str = V1, headers: str = "", **options: Any) -> bytes:
    options = {"ensure_ascii": False, **options}
    return raw_request(json.dumps(document, **options).encode("utf-8", "surrogatepass"), path, headers)


def raw_request(body: bytes, path: str = V1, headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def response(document: Any, headers: str = "") -> bytes:
    body = orjson.dumps(document)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def labels(schema: Schema, data: bytes, rows: list[list[Any]]) -> list[Any] | None:
    """Return the predictions by way of serving.schema; None when a value does not fit."""
    try:
        encoded = array("d", [number for row in rows for number in encode_row(schema, row, "row")])
    except InvalidValue:
        return None
    scores = array("d", native.table(data).score(encoded, len(rows)))
    width = schema.width
    chunks = [scores[start : start + width].tolist() for start in range(0, len(scores), width)]
    classes = schema.target.classes
    return [classes[chunk.index(max(chunk))] if classes else chunk[0] for chunk in chunks]


def handle(fast: Any, data: bytes) -> bytes | None:
    return undated(fast.handle(data))


def make_fast(model: Any, **options: Any) -> Any:
    return native.fast(native.table(model.data), "heart", "3", model.schema, **options)


NUMBERS = st.one_of(
    st.none(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.integers(-(2**70), 2**70),
)
VALUES = (
    NUMBERS,
    NUMBERS,
    st.one_of(st.none(), st.sampled_from(["typical", "ätypisch", "none"]), st.text(max_size=6)),
    st.one_of(st.none(), st.sampled_from([3, 6.5, 7, 7.0, 3.0]), st.integers(-5, 9), st.integers(2**53, 2**54)),
    st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1, 0.0, 1.0, 2])),
    st.one_of(st.none(), st.dates().map(str), st.datetimes().map(str)),
)
ROWS = st.lists(st.tuples(*VALUES).map(list), min_size=1, max_size=5)
DATATYPES = ("FP64", "FP32", "INT64", "INT32")
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")])


@pytest.mark.parametrize("name", ["logistic", "forest", "voting", "svm", "boosting"])
@RELAXED
@given(rows=ROWS, by_name=st.booleans(), spaces=SPACES, ascii_only=st.booleans())
def test_equals_encoding_scoring_and_rendering(
    name: str, rows: list[list[Any]], by_name: bool, spaces: Any, ascii_only: bool, folded: dict[str, Any]
) -> None:
    model = folded[name]
    instances = [dict(zip(model.schema.names, row, strict=True)) for row in rows] if by_name else rows
    expected = labels(model.schema, model.data, rows)

    answer = handle(make_fast(model), request({"instances": instances}, separators=spaces, ensure_ascii=ascii_only))

    assert answer is None or answer == response({"predictions": expected})


@pytest.mark.parametrize("name", ["forest", "svm", "regression"])
@RELAXED
@given(
    ages=st.lists(st.floats(-1e4, 1e4, allow_nan=False).filter(lambda x: repr(x) != "-0.0"), min_size=1, max_size=4),
    pain=st.sampled_from([None, "typical", "ätypisch", "none", "unknown"]),
    smokes=st.sampled_from([None, True, False, 0, 1]),
    since=st.one_of(st.none(), st.dates().map(str)),
)
def test_answers_every_ordinary_row(
    name: str, ages: list[float], pain: Any, smokes: Any, since: Any, folded: dict[str, Any]
) -> None:
    model = folded[name]
    rows = [[age, 180, pain, 6.5, smokes, since] for age in ages]
    expected = labels(model.schema, model.data, rows)

    assert handle(make_fast(model), request({"instances": rows})) == response({"predictions": expected})


@RELAXED
@given(rows=ROWS, nested=st.booleans(), tagged=st.booleans(), datatype=st.sampled_from(DATATYPES))
def test_tensors_by_column_equal_rows(
    rows: list[list[Any]], nested: bool, tagged: bool, datatype: str, folded: dict[str, Any]
) -> None:
    model = folded["svm"]
    kinds = (datatype, datatype, "BYTES", "FP64", "BOOL", "BYTES")
    count = len(rows)
    inputs = [
        {
            "name": column,
            "shape": [count, 1] if nested else [count],
            "datatype": kind,
            "data": [[row[position]] if nested else row[position] for row in rows],
        }
        for position, (column, kind) in enumerate(zip(model.schema.names, kinds, strict=True))
    ]
    document = {**({"id": "a-1"} if tagged else {}), "inputs": inputs}
    output = {"name": "prediction", "shape": [count], "datatype": "INT64"}
    head = {"model_name": "heart", "model_version": "3", **({"id": "a-1"} if tagged else {})}

    answer = handle(make_fast(model), request(document, V2))

    expected = labels(model.schema, model.data, rows)
    assert answer is None or answer == response({**head, "outputs": [{**output, "data": expected}]})


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("path", [V2, "/v2/models/heart/versions/3/infer"])
def test_answers_a_matrix(path: str, flat: bool, echo: Any) -> None:
    data: list[Any] = [1.5, 2] if flat else [[1.5], [2]]
    tensor = {"name": "input-0", "shape": [2, 1], "datatype": "FP32", "data": data}
    expected = {"name": "prediction", "shape": [2], "datatype": "FP64", "data": [1.5, 2.0]}

    answer = handle(make_fast(echo), request({"inputs": [tensor]}, path))

    assert answer == response({"model_name": "heart", "model_version": "3", "outputs": [expected]})


NUMERALS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@settings(RELAXED, max_examples=1_000)
@given(numeral=st.one_of(NUMERALS, st.floats(allow_nan=False, allow_infinity=False).map(repr)))
def test_numbers_are_read_as_python_reads_them(numeral: str, echo: Any) -> None:
    value = float(numeral)

    answer = handle(make_fast(echo), raw_request(b'{"instances":[[%s]]}' % numeral.encode()))

    ordinary = 1e-4 <= abs(value) < 1e16 and len(numeral) <= 63
    assert answer == response({"predictions": [value]}) or (answer is None and not ordinary)


@pytest.mark.parametrize(
    "numeral",
    ["01", "+1", ".5", "5.", "1e", "0x10", "NaN", "Infinity", "-", "1_0", "--1", "1.2.3", "١", "1e400", "3.5e38"],
)
def test_leaves_what_is_no_number(numeral: str, echo: Any) -> None:
    assert handle(make_fast(echo), raw_request(f'{{"instances":[[{numeral}]]}}'.encode())) is None


def test_the_largest_float32_is_a_number(echo: Any) -> None:
    assert handle(make_fast(echo), request({"instances": [[1], [FLOAT32_MAX]]})) is None  # 3.4e38 is rendered elsewhere
    fast = make_fast(echo)

    assert handle(fast, request({"instances": [[9e15]]})) == response({"predictions": [9e15]})


def test_dates_count_days_like_python(echo: Any, folded: dict[str, Any]) -> None:
    model = folded["regression"]
    fast = make_fast(model)
    for date in ("0001-01-01", "1600-02-29", "1899-12-31", "1969-12-31", "1970-01-01", "2000-02-29", "9999-12-31"):
        row = [50.0, 180, "none", 7, True, date]
        assert handle(fast, request({"instances": [row]})) == response(
            {"predictions": labels(model.schema, model.data, [row])}
        )
    for date in ("2023-02-29", "1900-02-29", "2000-13-01", "2000-00-10", "2000-01-00", "0000-01-01", "20000101"):
        assert handle(fast, request({"instances": [[50.0, 180, "none", 7, True, date]]})) is None
