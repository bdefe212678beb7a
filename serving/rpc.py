"""The Open Inference Protocol over gRPC: the same engine behind another transport.

Imported after HTTP answers, because importing gRPC takes longer than everything else at start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from serving.errors import Refused, invalid
from serving.inference import Job
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
from serving.v2 import Wanted, check_model, make_rows, model_metadata, output_tensor, read_outputs, server_metadata

if TYPE_CHECKING:
    from serving.app import App

SERVICE = "inference.GRPCInferenceService"
METADATA_SIZE = 16 * 1024
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
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
Method = Callable[[Any], Any]


async def start_grpc(app: App) -> tuple[int, Callable[[float], Awaitable[None]]]:
    """Return the port gRPC listens on and how to stop it.

    Raises:
        OSError: The port is taken.
    """
    options = app.options
    server = grpc.aio.server(
        maximum_concurrent_rpcs=4 * options.max_waiting,
        options=[
            ("grpc.max_receive_message_length", options.max_body_size),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", METADATA_SIZE),
            ("grpc.so_reuseport", 0),
        ],
    )
    server.add_generic_rpc_handlers((Service(app).handlers(),))
    host = f"[{options.host}]" if ":" in options.host else options.host
    try:
        port = _listen(server, f"{host}:{options.grpc_port}", app)
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {host}:{options.grpc_port}: choose another --grpc_port") from error
    await server.start()
    return port, server.stop


def _listen(server: Any, address: str, app: App) -> int:
    options = app.options
    if not options.tls_certificate:
        return int(server.add_insecure_port(address))

    def read() -> Any:
        with open(options.tls_key, "rb") as key, open(options.tls_certificate, "rb") as chain:  # noqa: PTH123
            return grpc.ssl_server_certificate_configuration([(key.read(), chain.read())])

    credentials = grpc.dynamic_ssl_server_credentials(read(), read)
    return int(server.add_secure_port(address, credentials))


class Service:
    """The calls of GRPCInferenceService; requests arrive as bytes so that broken ones are the caller's error."""

    def __init__(self, app: App) -> None:
        self.app = app

    def handlers(self) -> Any:
        """Return what a gRPC server registers."""
        calls: dict[str, tuple[Any, Method, bool]] = {
            "ServerLive": (oip.ServerLiveRequest, lambda _: oip.ServerLiveResponse(live=True), False),
            "ServerReady": (oip.ServerReadyRequest, self._server_ready, False),
            "ModelReady": (oip.ModelReadyRequest, self._model_ready, False),
            "ServerMetadata": (oip.ServerMetadataRequest, self._server_metadata, False),
            "ModelMetadata": (oip.ModelMetadataRequest, self._model_metadata, False),
            "ModelInfer": (oip.ModelInferRequest, self._infer, True),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {name: grpc.unary_unary_rpc_method_handler(self._answerer(*call)) for name, call in calls.items()},
        )

    def _answerer(self, kind: Any, method: Method, guarded: bool) -> Callable[[bytes, Any], Awaitable[bytes]]:
        app = self.app
        target = f"/{SERVICE}/{kind.DESCRIPTOR.name.removesuffix('Request')}".encode()

        async def answer(data: bytes, context: Any) -> bytes:
            began = perf_counter()
            app.metrics.in_flight += 1
            sampled = app.gate.due()
            headers = _headers(context) if sampled or app.access.enabled else {}
            peer = context.peer() if sampled else ""
            request = Request(b"RPC", target, headers, data, peer=peer, sampled=sampled)
            try:
                if guarded:
                    request.key = app.access.admit(headers) if app.access.enabled else ""
                    app.admit()
                reply = method((kind, data))
                if hasattr(reply, "__await__"):
                    reply = await reply
                body: bytes = reply.SerializeToString()
            except Refused as refusal:
                self._finish(request, Response(refusal.status, b""), began)
                await context.abort(STATUS.get(refusal.status, grpc.StatusCode.INTERNAL), refusal.message)
                raise AssertionError("abort does not return") from refusal
            except Exception as error:
                app.log_failure("gRPC", kind.DESCRIPTOR.name, error)
                self._finish(request, Response(500, b""), began)
                await context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says more")
                raise
            finally:
                app.metrics.in_flight -= 1
            self._finish(request, Response(200, body), began)
            return body

        return answer

    def _finish(self, request: Request, response: Response, began: float) -> None:
        if request.sampled:
            response.headers = ((b"x-request-id", request.request_id or self.app.make_id()),)
        self.app.record("grpc", request, response, perf_counter() - began)

    # The calls.

    def _server_ready(self, _: tuple[Any, bytes]) -> Any:
        return oip.ServerReadyResponse(ready=self.app.ready)

    def _model_ready(self, call: tuple[Any, bytes]) -> Any:
        request = _parsed(*call)
        self._check_model(request.name, request.version)
        return oip.ModelReadyResponse(ready=self.app.ready)

    def _server_metadata(self, _: tuple[Any, bytes]) -> Any:
        return oip.ServerMetadataResponse(**server_metadata())

    def _model_metadata(self, call: tuple[Any, bytes]) -> Any:
        request = _parsed(*call)
        self._check_model(request.name, request.version)
        return oip.ModelMetadataResponse(**model_metadata(self.app.predictor, self.app.options.model_name))

    def _check_model(self, name: str, version: str) -> None:
        check_model(name, version, self.app.predictor, self.app.options)

    def _infer(self, call: tuple[Any, bytes]) -> Any:
        predictor = self.app.predictor
        return self.app.engine.run(predictor, len(call[1]), lambda: self._read(predictor, call))

    def _read(self, predictor: Predictor, call: tuple[Any, bytes]) -> Job[Any]:
        request = _parsed(*call)
        check_model(request.model_name, request.model_version, predictor, self.app.options)
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            raise invalid(f"raw_input_contents: expected one per input ({len(request.inputs)}), got {len(raw)}")
        tensors = [
            _tensor(tensor, raw[position] if raw else None, f"inputs[{position}]")
            for position, tensor in enumerate(request.inputs)
        ]
        if not tensors:
            raise invalid("inputs: expected a list of tensors")
        wanted = read_outputs([Wanted(output.name) for output in request.outputs], predictor)
        rows = make_rows(predictor, tensors, self.app.options)
        identity, as_raw = request.id, bool(raw)
        return Job(rows, lambda answer: self._render(predictor, answer, identity, wanted, rows.count, as_raw))

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


def _headers(context: Any) -> dict[bytes, bytes]:
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in context.invocation_metadata() or ()
    }


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except Exception as error:  # protobuf's DecodeError; its text says nothing a caller could use
        raise invalid(f"the message is not a {kind.DESCRIPTOR.name} of the Open Inference Protocol") from error


def _tensor(tensor: Any, raw: bytes | None, path: str) -> Tensor:
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
