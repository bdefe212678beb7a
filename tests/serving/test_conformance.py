"""KServe's own clients find here what they find at any KServe predictor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serving.bundle import Bundle

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
kserve = pytest.importorskip("kserve")
infer_type = pytest.importorskip("kserve.protocol.infer_type")


def _tensors(row: dict[str, Any], kinds: dict[str, str]) -> list[Any]:
    tensors = []
    for name, value in row.items():
        tensor = kserve.InferInput(name, [1], kinds[name])
        dtype = {"FP64": np.float64, "BOOL": np.bool_, "BYTES": np.object_}[kinds[name]]
        tensor.set_data_from_numpy(np.array([value], dtype=dtype), binary_data=False)
        tensors.append(tensor)
    return tensors


KINDS = {"age": "FP64", "income": "FP64", "city": "BYTES", "grade": "FP64", "member": "BOOL", "since": "BYTES"}


def test_the_v1_client_predicts_and_sees_the_model(server: Any, mixed: Bundle, golden: Callable[..., Any]) -> None:
    wanted = golden(mixed)

    async def talk() -> tuple[Any, ...]:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v1")) as client:
            return (
                await client.infer(server.url, {"instances": wanted["instances"]}, model_name="m"),
                await client.is_server_live(server.url),
                await client.is_model_ready(server.url, "m"),
                await client.explain(server.url, "m", {"instances": wanted["instances"]}),
            )

    answer, live, ready, explained = asyncio.run(talk())

    assert answer == {"predictions": wanted["predictions"]}
    assert live
    assert ready
    assert set(explained["explanations"][0]["contributions"]) == set(mixed.schema.names)


@pytest.mark.parametrize("binary", [False, True])
def test_the_v2_client_predicts_and_sees_the_model(
    server: Any, mixed: Bundle, golden: Callable[..., Any], binary: bool
) -> None:
    wanted = golden(mixed)
    tensors = _tensors(wanted["instances"][0], KINDS)
    for tensor in tensors:
        tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=binary)
    outputs = [infer_type.RequestedOutput(name, {"binary_data": binary}) for name in ("prediction", "probabilities")]
    request = kserve.InferRequest("m", tensors, "an-id", request_outputs=outputs)

    async def talk() -> tuple[Any, ...]:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2")) as client:
            return (
                await client.infer(server.url, request, model_name="m"),
                await client.is_server_live(server.url),
                await client.is_server_ready(server.url),
                await client.is_model_ready(server.url, "m"),
            )

    answer, *states = asyncio.run(talk())

    assert states == [True, True, True]
    assert (answer.id, answer.model_name) == ("an-id", "m")
    labels, probabilities = (output.as_numpy() for output in answer.outputs)
    assert _text(labels[0]) == wanted["predictions"][0]
    assert probabilities.tolist() == wanted["probabilities"]


@pytest.mark.parametrize("raw", [False, True])
def test_the_grpc_client_predicts_and_sees_the_model(
    server: Any, mixed: Bundle, golden: Callable[..., Any], raw: bool
) -> None:
    wanted = golden(mixed)
    tensors = _tensors(wanted["instances"][0], KINDS)
    for tensor in tensors:
        tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=raw)
    outputs = [infer_type.RequestedOutput(name) for name in ("prediction", "probabilities")]
    request = kserve.InferRequest("m", tensors, "an-id", request_outputs=outputs)

    async def talk() -> tuple[Any, ...]:
        async with kserve.InferenceGRPCClient(f"127.0.0.1:{server.grpc_port}") as client:
            return (
                await client.infer(request),
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready("m"),
            )

    answer, *states = asyncio.run(talk())

    assert states == [True, True, True]
    assert (answer.id, answer.model_name) == ("an-id", "m")
    labels, probabilities = (output.as_numpy() for output in answer.outputs)
    assert _text(labels.flatten()[0]) == wanted["predictions"][0]
    assert probabilities.flatten().tolist() == wanted["probabilities"][0]


def test_an_unknown_model_is_not_ready_for_either_client(server: Any) -> None:
    import grpc

    async def talk() -> bool:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2")) as client:
            return bool(await client.is_model_ready(server.url, "other"))

    async def call() -> None:
        async with kserve.InferenceGRPCClient(f"127.0.0.1:{server.grpc_port}") as client:
            await client.is_model_ready("other")

    assert asyncio.run(talk()) is False
    with pytest.raises(grpc.RpcError, match="unknown model 'other'"):
        asyncio.run(call())


def _text(label: Any) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)
