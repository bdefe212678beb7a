"""Whatever a client sends, the answer says what is wrong and where, with a 4xx and no name of an exception."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

ROW = {"age": 40, "income": 1.5, "city": "Lyon", "grade": 2, "member": True, "since": "2020-01-31"}
V1 = "/v1/models/m:predict"
V2 = "/v2/models/m/infer"


def _tensors(**changed: Any) -> list[dict[str, Any]]:
    kinds = {"age": "INT64", "income": "FP64", "city": "BYTES", "grade": "INT64", "member": "BOOL", "since": "BYTES"}
    return [
        {"name": name, "datatype": kind, "shape": [1], "data": [changed.get(name, ROW[name])]}
        for name, kind in kinds.items()
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": [ROW, ROW, ROW, {**ROW, "age": "abc"}]}, 'instances[3].age: expected a number, got "abc"'),
        (
            {"instances": [[*ROW.values()][:-1]]},
            "instances[0]: expected 6 values (age, income, city, grade, member, si",
        ),
        ({"instances": [["x", 1, "Lyon", 2, True, None]]}, 'instances[0][0]: expected a number, got "x"'),
        ({"instances": [{**ROW, "since": "2020-02-30"}]}, "instances[0].since: expected an ISO 8601 date"),
        ({"instances": [{**ROW, "member": "yes"}]}, "instances[0].member: expected true or false"),
        ({"instances": [{**ROW, "city": 5}]}, "instances[0].city: expected text, got 5"),
        ({"instances": [{**ROW, "grade": True}]}, "instances[0].grade: expected a number, got true"),
        ({"instances": [{**ROW, "age": 1e39}]}, "instances[0].age: expected a finite number within float32"),
        ({"instances": [{**ROW, "age": [1]}]}, "instances[0].age: expected a number, got a list"),
        ({"instances": [{**ROW, "tail": 1}]}, "instances[0]: unknown field 'tail'"),
        (
            {"instances": [{"age": 1}]},
            "instances[0]: lacks 'income', 'city', 'grade', 'member', 'since'; send null if its value is missing",
        ),
        (
            {"instances": [{"agee": 1, "income": 1, "city": None, "grade": 1, "member": True, "since": None}]},
            "instances[0]: lacks 'age'; send null if its value is missing; unknown are 'agee'",
        ),
        ({"instances": [7]}, "instances[0]: expected a list of 6 values or an object by column name"),
        ({"instances": []}, "instances: expected at least one row"),
        ({"instances": {}}, "instances: expected a list of rows"),
        ({}, "instances: expected a list of rows"),
        ({"instances": [ROW], "extra": 1}, "extra: unknown field"),
        ({"instances": [ROW], "parameters": {"probabilities": 1}}, "parameters.probabilities: expected true or false"),
        ({"instances": [ROW], "parameters": []}, "parameters: expected an object"),
        ([], "the body: expected a JSON object"),
    ],
)
def test_a_v1_error_names_the_field(server: Any, body: Any, message: str) -> None:
    answer = httpx.post(server.url + V1, json=body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": _tensors(age="abc")}, 'inputs[0].data[0]: expected INT64, got "abc"'),
        ({"inputs": _tensors(age=1.5)}, "inputs[0].data[0]: expected INT64, got 1.5"),
        ({"inputs": _tensors(since="soon")}, 'inputs[5].data[0]: expected an ISO 8601 date, got "soon" (column \'sinc'),
        ({"inputs": _tensors()[:-1]}, "inputs: lacks since"),
        ({"inputs": [*_tensors(), *_tensors()]}, "inputs[6].name: 'age' is given twice"),
        ({"inputs": [{"name": "other", "datatype": "FP64", "shape": [1], "data": [1]}]}, "inputs[0].name: unknown inp"),
        ({"inputs": [{"name": "age", "datatype": "FP8", "shape": [1], "data": [1]}]}, "inputs[0].datatype: expected"),
        ({"inputs": [{"name": "age", "datatype": "FP64", "shape": [2], "data": [1]}]}, "inputs[0].data: expected 2 va"),
        ({"inputs": [{"name": "age", "datatype": "FP64", "shape": [-1], "data": []}]}, "inputs[0].shape: expected a l"),
        ({"inputs": [{"name": "age", "datatype": "FP64", "shape": [2**40], "data": []}]}, "inputs[0].shape: expected"),
        ({"inputs": [{"name": "age", "datatype": "FP64", "shape": [0], "data": []}]}, "inputs: lacks"),
        ({"inputs": [{"name": "age", "datatype": "FP64", "shape": [1]}]}, "inputs[0].data: expected a list"),
        ({"inputs": [{"name": "age", "datatype": "UINT8", "shape": [1], "data": [-1]}]}, "inputs[0].data[0]: expected"),
        ({"inputs": _tensors(), "outputs": [{"name": "x"}]}, "outputs[0].name: expected prediction or probabilities"),
        ({"inputs": _tensors(), "outputs": [{}]}, "outputs[0]: expected an object with a name"),
        (
            {"inputs": _tensors(), "outputs": [{"name": "probabilities"}] * 9_000},
            "outputs[1].name: 'probabilities' is named twice; ask for each output once",
        ),
        ({"inputs": _tensors(), "parameters": {"a": {}}}, "parameters.a: expected text, a number, true or false"),
        ({"inputs": _tensors(), "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: expected tr"),
        ({"inputs": _tensors(), "id": 5}, "id: expected text"),
        ({"inputs": _tensors(), "more": 5}, "more: unknown field"),
        ({"inputs": []}, "inputs: expected a list of tensors"),
        ({"inputs": [5]}, "inputs[0]: expected an object with name"),
    ],
)
def test_a_v2_error_names_the_field(server: Any, body: Any, message: str) -> None:
    answer = httpx.post(server.url + V2, json=body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"instances": NaN}', b"[" * 5000, b'{"instances":["\\ud800"]}']
)
def test_what_is_not_json_is_refused_as_such(server: Any, body: bytes) -> None:
    answer = httpx.post(server.url + V1, content=body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the body is not JSON")


@pytest.mark.parametrize(
    ("length", "status"), [("-1", 400), ("abc", 400), ("99999999", 400), ("9" * 40, 400), ("0", 400), ("²", 400)]
)
def test_a_wrong_binary_header_is_refused(server: Any, length: str, status: int) -> None:
    headers = {"Inference-Header-Content-Length": length.encode()}

    answer = httpx.post(server.url + V2, content=json.dumps({"inputs": _tensors()}), headers=headers)  # type: ignore[arg-type]

    assert answer.status_code == status


def test_binary_data_must_fit_its_tensor(server: Any) -> None:
    def send(size: Any, tail: bytes, datatype: str = "FP64") -> str:
        tensor = {"name": "age", "datatype": datatype, "shape": [1], "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answer = httpx.post(server.url + V2, content=head + tail, headers=headers)
        assert answer.status_code == 400
        return str(answer.json()["error"])

    assert send(8, b"1234").startswith("inputs[0].parameters.binary_data_size: expected at most the 4 bytes")
    assert send(4, b"1234").startswith("inputs[0]: expected 8 bytes of FP64")
    assert send(8, b"12345678901").startswith("the body: 3 bytes of binary data belong to no input")
    assert send(4, b"\xff\xff\xff\xff", "BYTES").startswith("inputs[0].data[0]: 4294967295 bytes announced")
    assert send(6, b"\x02\x00\x00\x00\xff\xff", "BYTES").startswith("inputs[0].data[0]: expected UTF-8")
    assert send(True, b"").startswith("inputs[0].parameters.binary_data_size")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/models/other", "unknown model 'other': this server has 'm'"),
        ("/v1/models/other:predict", "unknown model 'other'"),
        ("/v2/models/m/versions/99", "unknown version '99' of model 'm': the version served is '3'"),
        ("/v2/models/m/versions/99/infer", "unknown version '99'"),
        ("/nowhere", "nothing is at '/nowhere'"),
        ("/v1/models/m:fly", "nothing is at '/v1/models/m:fly'"),
    ],
)
def test_an_unknown_path_is_404_with_the_reason(server: Any, path: str, message: str) -> None:
    answer = httpx.get(server.url + path)

    assert answer.status_code == 404
    assert answer.json()["error"].startswith(message)


def test_unknown_fields_are_dropped_when_asked(run_server: Any, mixed: Any) -> None:
    with run_server(mixed.folder, "--ignore_unknown", "true") as running:
        v1 = httpx.post(running.url + V1, json={"instances": [{**ROW, "more": 1}], "signature_name": "x"})
        more = {"name": "more", "datatype": "FP64", "shape": [1], "data": [1]}
        v2 = httpx.post(running.url + V2, json={"inputs": [*_tensors(), more]})

    assert v1.status_code == 200
    assert v2.json()["outputs"][0]["data"] == v1.json()["predictions"]


def test_more_rows_than_allowed_are_refused(run_server: Any, mixed: Any) -> None:
    with run_server(mixed.folder, "--max_rows", "2") as running:
        v1 = httpx.post(running.url + V1, json={"instances": [ROW] * 3})
        tensors = [{**tensor, "shape": [3], "data": tensor["data"] * 3} for tensor in _tensors()]
        v2 = httpx.post(running.url + V2, json={"inputs": tensors})

    assert v1.json()["error"] == "instances: 3 rows, at most 2 per request"
    assert v2.json()["error"].startswith("inputs[0].shape: expected 1 to 2 rows, got 3")
