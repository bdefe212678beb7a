"""The calls of inference.GRPCInferenceService: the same engine behind gRPC, whichever transport brings the messages.

Imported when the first call comes that the hot path does not answer: protobuf takes longer to import than everything
else at start, and memory that most servers never need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from google.protobuf import wrappers_pb2

from serving.errors import Refused, invalid
from serving.inference import INLINE_BYTES, Job
from serving.message import Request, Response
from serving.oip import inference_pb2 as oip
from serving.predictor import Answer, Predictor
from serving.tensors import (
    Tensor,
    check_datatype,
    check_shape,
    decode_text,
    pack,
    unpack,
)
from serving.v2 import (
    Wanted,
    check_model,
    make_rows,
    model_metadata,
    output_tensor,
    read_outputs,
    refuse_meaning,
    server_metadata,
)

if TYPE_CHECKING:
    from serving.app import App

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
METADATA_SIZE = 16 * 1024
INFER = "/inference.GRPCInferenceService/ModelInfer"
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of InferTensorContents that carries each datatype; FP16 travels raw only."""
OK, UNIMPLEMENTED, INTERNAL = 0, 12, 13
STATUS = {400: 3, 401: 16, 404: 5, 413: 8, 415: 3, 429: 8, 501: 12, 503: 14}
"""gRPC's status codes by HTTP's; all others are INTERNAL."""
CLIENT_CLOSED = 499
Method = Callable[[Any, Request], Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: a status of gRPC with its message, or OK with the bytes of the answer."""

    status: int
    body: bytes = b""
    message: str = ""


class Service:
    """Answers calls; messages arrive as bytes so that broken ones are the caller's error."""

    def __init__(self, app: App) -> None:
        self.app = app
        calls: dict[str, tuple[Any, Method, bool]] = {
            "ServerLive": (oip.ServerLiveRequest, lambda *_: oip.ServerLiveResponse(live=True), False),
            "ServerReady": (oip.ServerReadyRequest, self._server_ready, False),
            "ModelReady": (oip.ModelReadyRequest, self._model_ready, False),
            "ServerMetadata": (oip.ServerMetadataRequest, self._server_metadata, False),
            "ModelMetadata": (oip.ModelMetadataRequest, self._model_metadata, False),
            "ModelInfer": (oip.ModelInferRequest, self._infer, True),
        }
        self.calls = {f"/{SERVICE}/{name}": call for name, call in calls.items()}
        # The wrappers have the wire format of health.proto's two messages: a text, and a number, as field 1.
        self.calls[f"/{HEALTH}/Check"] = (wrappers_pb2.StringValue, self._health, False)

    def answer(self, request: Request) -> Outcome | Awaitable[Outcome]:
        """Return how a call ends, or something to await for it. Never raises.

        Args:
            request: Its target is the path of the method, its headers the metadata, its body the message.
        """
        began = perf_counter()
        call = self.calls.get(request.path)
        if call is None:
            self._finish(request, Response(404, b""), began)
            return Outcome(UNIMPLEMENTED, message=f"unknown method {request.path[:120]}: this is {SERVICE}")
        kind, method, guarded = call
        app = self.app
        try:
            if guarded:
                request.key = app.access.admit(request.headers) if app.access.enabled else ""
                app.admit()
                if app.predictions is not None and request.request_id is None:
                    request.made_id = app.make_id()
            reply = method(kind, request)
            if not hasattr(reply, "__await__"):
                return self._done(request, reply, began)
        except Exception as error:
            return self._failed(request, error, began)
        return self._wait(request, reply, began)

    def refuse(self, request: Request, status: int, message: str) -> Outcome:
        """Return the end of a call that never became one, by HTTP's status."""
        return self._failed(request, Refused(status, message), perf_counter())

    async def _wait(self, request: Request, reply: Awaitable[Any], began: float) -> Outcome:
        self.app.metrics.in_flight += 1
        try:
            return self._done(request, await reply, began)
        except asyncio.CancelledError:
            self._finish(request, Response(CLIENT_CLOSED, b""), began)
            raise
        except Exception as error:
            return self._failed(request, error, began)
        finally:
            self.app.metrics.in_flight -= 1

    def _done(self, request: Request, reply: Any, began: float) -> Outcome:
        body: bytes = reply.SerializeToString()
        self._finish(request, Response(200, body), began)
        return Outcome(OK, body)

    def _failed(self, request: Request, error: Exception, began: float) -> Outcome:
        if isinstance(error, Refused):
            self._finish(request, Response(error.status, b""), began)
            return Outcome(STATUS.get(error.status, INTERNAL), message=error.message)
        self.app.log_failure("gRPC", request.path, error)
        self._finish(request, Response(500, b""), began)
        return Outcome(INTERNAL, message="the server failed; its log says more")

    def _finish(self, request: Request, response: Response, began: float) -> None:
        if request.sampled:
            response.headers = ((b"x-request-id", request.request_id or self.app.make_id()),)
        self.app.record("grpc", request, response, perf_counter() - began)

    # The calls.

    def _server_ready(self, _: Any, __: Request) -> Any:
        return oip.ServerReadyResponse(ready=self.app.ready)

    def _model_ready(self, kind: Any, request: Request) -> Any:
        message = _parsed(kind, request.body)
        self._check_model(message.name, message.version)
        return oip.ModelReadyResponse(ready=self.app.ready)

    def _health(self, kind: Any, request: Request) -> Any:
        """The health checking protocol of gRPC, which kubelets, grpc_health_probe and Envoy speak."""
        service = _parsed(kind, request.body).value
        if service not in ("", SERVICE, self.app.options.model_name):
            raise Refused(404, f"unknown service {service[:80]!r}: ask for {SERVICE}, the model's name, or nothing")
        return wrappers_pb2.Int32Value(value=SERVING if self.app.ready else NOT_SERVING)

    def _server_metadata(self, _: Any, __: Request) -> Any:
        return oip.ServerMetadataResponse(**server_metadata())

    def _model_metadata(self, kind: Any, request: Request) -> Any:
        message = _parsed(kind, request.body)
        self._check_model(message.name, message.version)
        return oip.ModelMetadataResponse(**model_metadata(self.app.predictor, self.app.options.model_name))

    def _check_model(self, name: str, version: str) -> None:
        check_model(name, version, self.app.predictor, self.app.options)

    def _infer(self, kind: Any, request: Request) -> Any:
        predictor = self.app.predictor
        unpack = request.unpack
        prepare = None if unpack is None else lambda: unpack(request)
        size = len(request.body) if unpack is None else self.app.options.max_body_size + INLINE_BYTES
        return self.app.engine.run(predictor, size, lambda: self._read(predictor, kind, request), prepare)

    def _read(self, predictor: Predictor, kind: Any, request: Request) -> Job[Any]:
        message = _parsed(kind, request.body)
        check_model(message.model_name, message.model_version, predictor, self.app.options)
        raw = message.raw_input_contents
        if raw and len(raw) != len(message.inputs):
            raise invalid(f"raw_input_contents: expected one per input ({len(message.inputs)}), got {len(raw)}")
        refuse_meaning(message.parameters, "parameters")
        for position, asked in enumerate(message.outputs):
            refuse_meaning(asked.parameters, f"outputs[{position}].parameters")
        tensors = [
            _tensor(tensor, raw[position] if raw else None, f"inputs[{position}]")
            for position, tensor in enumerate(message.inputs)
        ]
        if not tensors:
            raise invalid("inputs: expected a list of tensors")
        wanted = read_outputs([Wanted(output.name) for output in message.outputs], predictor)
        rows = make_rows(predictor, tensors, self.app.options)
        identity, as_raw = message.id, bool(raw)
        return Job(
            rows,
            lambda answer: self._render(predictor, answer, identity, wanted, rows.count, as_raw),
            request.log_id,
            request.trace[0],
        )

    def _render(
        self,
        predictor: Predictor,
        answer: Answer,
        identity: str,
        wanted: Sequence[Wanted],
        rows: int,
        as_raw: bool,
    ) -> Any:
        """Return the reply; in raw form when the request was."""
        response = oip.ModelInferResponse(
            model_name=self.app.options.model_name, model_version=predictor.version or "", id=identity
        )
        for want in wanted:
            name, shape, datatype, values = output_tensor(predictor, answer, want.name, rows)
            tensor = response.outputs.add(name=name, datatype=datatype, shape=shape)
            if as_raw:
                response.raw_output_contents.append(pack(datatype, values))
            else:
                encoded = [text.encode() for text in values] if datatype == "BYTES" else values
                getattr(tensor.contents, CONTENTS[datatype]).extend(encoded)
        return response


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except Exception as error:  # protobuf's DecodeError; its text says nothing a caller could use
        raise invalid(f"the message is not a {kind.DESCRIPTOR.name} of the Open Inference Protocol") from error


def _tensor(tensor: Any, raw: bytes | None, path: str) -> Tensor:
    refuse_meaning(tensor.parameters, f"{path}.parameters")
    datatype = check_datatype(tensor.datatype, path)
    shape = list(tensor.shape)
    elements = check_shape(shape, path)
    if raw is not None:
        if tensor.HasField("contents"):
            raise invalid(f"{path}: has contents and raw_input_contents; send one of them")
        return Tensor(tensor.name, datatype, shape, unpack(datatype, raw, elements, path), path, True)
    if datatype not in CONTENTS:
        raise invalid(f"{path}.datatype: {datatype} travels in raw_input_contents only")
    values: Sequence[Any] = list(getattr(tensor.contents, CONTENTS[datatype]))
    if len(values) != elements:
        raise invalid(f"{path}.contents.{CONTENTS[datatype]}: expected {elements} values, got {len(values)}")
    if datatype == "BYTES":
        values = [decode_text(value, f"{path}.data[{position}]") for position, value in enumerate(values)]
    return Tensor(tensor.name, datatype, shape, values, path, True)
