"""Every V2 answer has the shape the Open Inference Protocol's REST specification gives it."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.bundle import Bundle

DATATYPES = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
DATATYPES += ["BYTES"]
TEXT = {"type": "string"}
PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
TENSOR_METADATA = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": TEXT,
        "datatype": {"enum": DATATYPES},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    },
}
OUTPUT = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": DATATYPES},
        "parameters": PARAMETERS,
        "data": {"type": "array"},
    },
    "additionalProperties": False,
}
RESPONSE = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": TEXT,
        "model_version": TEXT,
        "id": TEXT,
        "parameters": PARAMETERS,
        "outputs": {"type": "array", "minItems": 1, "items": OUTPUT},
    },
    "additionalProperties": False,
}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": TEXT}, "additionalProperties": False}
SERVER = {
    "type": "object",
    "required": ["name", "version", "extensions"],
    "properties": {"name": TEXT, "version": TEXT, "extensions": {"type": "array", "items": TEXT}},
}
MODEL = {
    "type": "object",
    "required": ["name", "platform", "inputs", "outputs"],
    "properties": {
        "name": TEXT,
        "versions": {"type": "array", "items": TEXT},
        "platform": TEXT,
        "inputs": {"type": "array", "items": TENSOR_METADATA},
        "outputs": {"type": "array", "items": TENSOR_METADATA},
    },
}
VALUES = {
    "age": ("FP64", st.floats(-100, 100)),
    "income": ("FP32", st.floats(-100, 100, width=32) | st.none()),
    "city": ("BYTES", st.text(max_size=5)),
    "grade": ("INT8", st.integers(-128, 127)),
    "member": ("BOOL", st.booleans()),
    "since": ("BYTES", st.dates().map(str)),
}


def test_metadata_has_the_protocol_s_shape(server: Any) -> None:
    jsonschema.validate(httpx.get(f"{server.url}/v2").json(), SERVER)
    jsonschema.validate(httpx.get(f"{server.url}/v2/models/m").json(), MODEL)
    jsonschema.validate(httpx.get(f"{server.url}/v2/models/m/versions/3").json(), MODEL)


def test_the_platform_of_a_model_tells_what_evaluates_it(run_server: Any, mixed: Bundle) -> None:
    asked = {}
    for evaluator in ("table", "onnx"):
        with run_server(mixed.folder, "--evaluator", evaluator) as running:
            asked[evaluator] = httpx.get(f"{running.url}/v2/models/m").json()["platform"]
            running.stop()

    assert asked == {"table": "headrace_table", "onnx": "headrace_onnx"}


@pytest.fixture(scope="module")
def client() -> Any:
    with httpx.Client() as one:
        yield one


@given(data=st.data())
@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_answer_has_the_protocol_s_shape(server: Any, client: httpx.Client, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 4))
    document: dict[str, Any] = {
        "inputs": [
            {
                "name": name,
                "datatype": kind,
                "shape": data.draw(st.sampled_from([[rows], [rows, 1]])),
                "data": data.draw(st.lists(values, min_size=rows, max_size=rows)),
            }
            for name, (kind, values) in VALUES.items()
        ]
    }
    names = data.draw(st.lists(st.sampled_from(["prediction", "probabilities"]), max_size=2, unique=True))
    if data.draw(st.booleans()):
        document["outputs"] = [{"name": name} for name in names]
    if data.draw(st.booleans()):
        document["id"] = data.draw(st.text(max_size=10))
    if data.draw(st.booleans()):
        document["parameters"] = {"a": "b", "binary_data_output": False}

    answer = client.post(f"{server.url}/v2/models/m/infer", json=document)

    assert answer.status_code == 200, answer.text
    body = answer.json()
    jsonschema.validate(body, RESPONSE)
    assert body.get("id") == document.get("id")
    assert [output["name"] for output in body["outputs"]] == (names if document.get("outputs") else ["prediction"])
    for output in body["outputs"]:
        size = 1
        for part in output["shape"]:
            size *= part
        assert len(output["data"]) == size


@given(
    st.dictionaries(st.sampled_from(["id", "inputs", "outputs", "parameters"]), st.integers() | st.text() | st.none())
)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_refusal_has_the_protocol_s_shape(server: Any, client: httpx.Client, document: dict[str, Any]) -> None:
    answer = client.post(f"{server.url}/v2/models/m/infer", json=document)

    assert answer.status_code == 400
    jsonschema.validate(answer.json(), ERROR)
