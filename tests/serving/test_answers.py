"""V1, V2 and gRPC give the same numbers, whichever evaluator and path computes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from serving.bundle import GOLDEN, Bundle

KINDS = {"age": "FP64", "income": "FP64", "city": "BYTES", "grade": "INT32", "member": "BOOL", "since": "BYTES"}


def _columns(rows: list[dict[str, Any]], kinds: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": kind, "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name, kind in kinds.items()
    ]


def _v1(running: Any, rows: list[Any]) -> dict[str, Any]:
    body = {"instances": rows, "parameters": {"probabilities": True}}
    answer = httpx.post(f"{running.url}/v1/models/m:predict", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _v2(running: Any, rows: list[dict[str, Any]], kinds: dict[str, str]) -> dict[str, Any]:
    body = {"inputs": _columns(rows, kinds), "outputs": [{"name": "prediction"}, {"name": "probabilities"}]}
    answer = httpx.post(f"{running.url}/v2/models/m/infer", json=body)
    assert answer.status_code == 200, answer.text
    labels, probabilities = answer.json()["outputs"]
    matrix = np.reshape(probabilities["data"], probabilities["shape"]).tolist()
    return {"predictions": labels["data"], "probabilities": matrix}


def _golden_rows(bundle: Bundle) -> list[dict[str, Any]]:
    return [row for request in bundle.json(GOLDEN)["requests"] for row in request["instances"]]


@pytest.mark.parametrize("evaluator", ["table", "onnx"])
def test_rows_tensors_and_goldens_agree(run_server: Callable[..., Any], mixed: Bundle, evaluator: str) -> None:
    rows = _golden_rows(mixed)
    wanted = mixed.json(GOLDEN)["requests"]
    with run_server(mixed.folder, "--evaluator", evaluator) as running:
        by_name = _v1(running, rows)
        in_order = _v1(running, [[row[name] for name in mixed.schema.names] for row in rows])
        tensors = _v2(running, rows, KINDS)

    assert by_name == in_order == tensors
    assert by_name["predictions"] == [label for request in wanted for label in request["predictions"]]
    recorded = [row for request in wanted for row in request["probabilities"]]
    np.testing.assert_allclose(by_name["probabilities"], recorded, rtol=0, atol=1e-6)


def test_many_rows_give_what_each_gives_alone(server: Any, mixed: Bundle) -> None:
    rows = (_golden_rows(mixed) * 80)[:1500]

    together = _v1(server, rows)
    alone = _v1(server, rows[-1:])

    assert len(together["predictions"]) == 1500
    assert together["probabilities"][-1] == alone["probabilities"][0]


def test_grpc_raw_and_typed_contents_give_what_v1_gives(server: Any, mixed: Bundle) -> None:
    row = next(row for row in _golden_rows(mixed) if None not in row.values())
    typed = _message(row, mixed, raw=False)
    raw = _message(row, mixed, raw=True)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answers = [infer(message, timeout=20) for message in (typed, raw)]

    wanted = _v1(server, [row])
    for answer in answers:
        label = wanted["predictions"][0].encode()
        assert label in answer
        assert struct.pack("<2d", *wanted["probabilities"][0]) in answer


def _message(row: dict[str, Any], bundle: Bundle, raw: bool) -> bytes:
    """Write a ModelInferRequest by hand: what the protocol's published field numbers say, not what our code does."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + _varint(len(content)) + content

    message = field(1, b"m")
    contents = b""
    for name in bundle.schema.names:
        value = row[name]
        datatype = "BYTES" if isinstance(value, str) else "BOOL" if isinstance(value, bool) else "FP64"
        tensor = field(1, name.encode()) + field(2, datatype.encode()) + field(3, b"\x01")
        text = value.encode() if isinstance(value, str) else b""
        plain = {"BYTES": struct.pack("<I", len(text)) + text, "BOOL": bytes([value is True])}
        packed = plain.get(datatype) or struct.pack("<d", value)
        if raw:
            contents += field(7, packed)
        else:
            number = {"BYTES": 8, "BOOL": 1, "FP64": 7}[datatype]
            tensor += field(5, field(number, text if datatype == "BYTES" else packed))
        message += field(5, tensor)
    return message + field(6, field(1, b"prediction")) + field(6, field(1, b"probabilities")) + contents


def _varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low]) if number < 0x80 else bytes([low | 0x80]) + _varint(number >> 7)


def test_binary_tensors_give_what_json_gives_in_every_datatype(run_server: Callable[..., Any], flowers: Bundle) -> None:
    values = [5, 3, 1, 0]
    codes = {"INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I"}
    codes |= {"UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d"}
    with run_server(flowers.folder) as running:
        wanted = _v1(running, [values])
        for datatype, code in codes.items():
            raw = struct.pack(f"<4{code}", *values)
            size = {"binary_data_size": len(raw)}
            tensor = {"name": "x", "datatype": datatype, "shape": [1, 4], "parameters": size}
            head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            answer = httpx.post(f"{running.url}/v2/models/m/infer", content=head + raw, headers=headers)
            length = int(answer.headers["inference-header-content-length"])
            output = json.loads(answer.content[:length])["outputs"][0]

            assert (output["name"], output["datatype"], output["shape"]) == ("prediction", "INT64", [1])
            assert answer.content[length:] == struct.pack("<q", wanted["predictions"][0])


def test_one_matrix_gives_what_columns_give(run_server: Callable[..., Any], flowers: Bundle) -> None:
    rows = _golden_rows(flowers)
    complete = [list(row.values()) for row in rows if None not in row.values()]
    nested = {"name": "input-0", "datatype": "FP64", "shape": [len(complete), 4], "data": complete}
    flat = {**nested, "data": [value for row in complete for value in row]}
    with run_server(flowers.folder) as running:
        bodies = [{"inputs": [tensor], "outputs": [{"name": "probabilities"}]} for tensor in (nested, flat)]
        answers = [httpx.post(f"{running.url}/v2/models/m/infer", json=body).json()["outputs"][0] for body in bodies]
        wanted = _v1(running, complete)["probabilities"]

    assert answers[0] == answers[1]
    assert np.reshape(answers[0]["data"], answers[0]["shape"]).tolist() == wanted


def test_regression_gives_numbers_and_knows_no_probabilities(run_server: Callable[..., Any], prices: Bundle) -> None:
    row = {"area": 80.5, "rooms": 3}
    with run_server(prices.folder) as running:
        v1 = httpx.post(f"{running.url}/v1/models/m:predict", json={"instances": [row]}).json()["predictions"]
        body = {"inputs": _columns([row], {"area": "FP64", "rooms": "INT64"})}
        v2 = httpx.post(f"{running.url}/v2/models/m/infer", json=body).json()
        asked = {"instances": [row], "parameters": {"probabilities": True}}
        refused = httpx.post(f"{running.url}/v1/models/m:predict", json=asked)
        version = httpx.get(f"{running.url}/v2/models/m/versions/1")

    assert v2["outputs"] == [{"name": "prediction", "shape": [1], "datatype": "FP64", "data": v1}]
    assert "model_version" not in v2
    assert refused.status_code == 400
    assert "has no probabilities" in refused.json()["error"]
    assert version.status_code == 404
    assert "unregistered" in version.json()["error"]
