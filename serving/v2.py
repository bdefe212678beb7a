"""V2 over REST: the Open Inference Protocol with JSON, and its extension for tensors in binary form."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving import __version__, native
from serving.errors import Refused, invalid
from serving.inference import Engine, Job, Rows
from serving.message import BINARY, JSON, Request, Response
from serving.options import Options
from serving.outline import check, outline
from serving.predictor import Answer, Predictor
from serving.tensors import (
    ColumnRows,
    MatrixRows,
    Tensor,
    check_datatype,
    check_shape,
    check_values,
    pack,
    unpack,
)
from serving.v1 import parse_object, refuse_unknown

PLATFORM = "headrace"
EXTENSIONS = ("model_metadata", "binary_tensor_data")
FIELDS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")
LENGTH_HEADER = b"inference-header-content-length"
PREDICTION = native.OUTPUT
PROBABILITIES = "probabilities"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output the caller asked for."""

    name: str
    binary: bool = False


def server_metadata() -> dict[str, Any]:
    """Return what `/v2` and gRPC ServerMetadata tell."""
    return {"name": PLATFORM, "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(predictor: Predictor, name: str) -> dict[str, Any]:
    """Return what `/v2/models/<name>` and gRPC ModelMetadata tell: one tensor per column."""
    datatypes = {"boolean": "BOOL", "date": "BYTES"}
    inputs = []
    for column in predictor.schema.columns:
        datatype = datatypes.get(column.kind, "FP64")
        if column.kind == "category" and (not column.categories or isinstance(column.categories[0], str)):
            datatype = "BYTES"
        inputs.append({"name": column.name, "datatype": datatype, "shape": [-1]})
    outputs = [{"name": PREDICTION, "datatype": label_datatype(predictor), "shape": [-1]}]
    if predictor.classes:
        outputs.append({"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, predictor.width]})
    versions = [predictor.version] if predictor.version is not None else []
    platform = f"{PLATFORM}_{predictor.scorer.name}"  # as the protocol has it: who runs it, and in which form
    return {"name": name, "versions": versions, "platform": platform, "inputs": inputs, "outputs": outputs}


def label_datatype(predictor: Predictor) -> str:
    """Return the datatype of the predictions: by the type of the classes, FP64 for regression."""
    kinds = {type(label) for label in predictor.classes}
    if not kinds:
        return "FP64"
    if kinds <= {bool, int, float} and len(kinds) == 1:
        return {bool: "BOOL", int: "INT64", float: "FP64"}[kinds.pop()]
    return "FP64" if kinds == {int, float} else "BYTES"


def check_model(name: Any, version: Any, predictor: Predictor, options: Options) -> None:
    """Raise Refused when a message names another model or version; nothing and "" name whatever is served."""
    if name is not None and name != options.model_name:
        raise Refused(404, f"unknown model {str(name)[:80]!r}: this server has {options.model_name!r}")
    if version is not None and version not in ("", predictor.version):
        served = repr(predictor.version) if predictor.version is not None else "none, it is unregistered"
        raise Refused(404, f"unknown version {str(version)[:80]!r}: the version served is {served}")


def read_outputs(names: Sequence[Wanted], predictor: Predictor) -> Sequence[Wanted]:
    """Return the outputs to give: those asked for, else only the prediction.

    Raises:
        Refused: The model has no output of that name, or one is named twice: the answer would have no bound.
    """
    known = [PREDICTION, PROBABILITIES] if predictor.classes else [PREDICTION]
    seen: set[str] = set()
    for position, wanted in enumerate(names):
        if wanted.name not in known:
            raise invalid(f"outputs[{position}].name: expected {' or '.join(known)}, got {wanted.name[:80]!r}")
        if wanted.name in seen:
            raise invalid(f"outputs[{position}].name: {wanted.name!r} is named twice; ask for each output once")
        seen.add(wanted.name)
    return names or [Wanted(PREDICTION)]


def make_rows(predictor: Predictor, tensors: Sequence[Tensor], options: Options) -> Rows:
    """Return the rows of the input tensors: one matrix [rows, columns], or one tensor per column.

    Raises:
        Refused: A tensor is unknown, missing, given twice or of another shape.
    """
    matrix = _matrix(predictor, tensors)
    if matrix is not None:
        return MatrixRows(predictor, matrix, _count(matrix, options))
    by_name: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name not in predictor.schema.names:
            if options.ignore_unknown:
                continue
            raise invalid(_unknown_input(predictor, tensor))
        if tensor.name in by_name:
            raise invalid(f"{tensor.path}.name: {tensor.name!r} is given twice")
        by_name[tensor.name] = tensor
    absent = [name for name in predictor.schema.names if name not in by_name]
    if absent:
        raise invalid(f"inputs: lacks {', '.join(absent[:30])}; give one tensor per column, or one [rows, columns]")
    ordered = [by_name[name] for name in predictor.schema.names]
    count = _count(ordered[0], options)
    for tensor in ordered:
        if list(tensor.shape) not in ([count], [count, 1]):
            raise invalid(f"{tensor.path}.shape: expected [{count}] or [{count}, 1], got {list(tensor.shape)}")
    return ColumnRows(predictor, ordered, count)


def _matrix(predictor: Predictor, tensors: Sequence[Tensor]) -> Tensor | None:
    if len(tensors) != 1 or len(tensors[0].shape) != 2 or tensors[0].shape[1] != predictor.columns:
        return None
    return tensors[0] if predictor.columns > 1 or tensors[0].name not in predictor.schema.names else None


def _unknown_input(predictor: Predictor, tensor: Tensor) -> str:
    return (
        f"{tensor.path}.name: unknown input {tensor.name[:80]!r} of shape {list(tensor.shape)}; expected one tensor "
        f"[rows, {predictor.columns}], or one [rows] for each of {', '.join(predictor.schema.names[:30])}"
    )


def _count(tensor: Tensor, options: Options) -> int:
    count = tensor.shape[0] if tensor.shape else 0
    if not 1 <= count <= options.max_rows:
        raise invalid(f"{tensor.path}.shape: expected 1 to {options.max_rows} rows, got {count}")
    return count


class V2:
    """Handlers of the V2 paths of one predictor."""

    def __init__(self, predictor: Predictor, options: Options, engine: Engine) -> None:
        self.predictor = predictor
        self.options = options
        self.engine = engine

    def infer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer `/infer`."""
        return self.engine.run(
            self.predictor, len(request.body), lambda: self._read(request), lambda: self._look(request)
        )

    def _look(self, request: Request) -> None:
        """Bound a large body before it is parsed; to be called in a thread."""
        text, _ = _split(request)
        check(outline(bytes(text), 1), len(text), self.predictor, self.options, self.engine.budget)

    def _read(self, request: Request) -> Job[Response]:
        text, binary = _split(request)
        document = parse_object(text)
        refuse_unknown(document, FIELDS, "", self.options)
        check_model(document.get("model_name"), document.get("model_version"), self.predictor, self.options)
        identity = document.get("id")
        if identity is not None and not isinstance(identity, str):
            raise invalid("id: expected text")
        parameters = read_parameters(document.get("parameters"), "parameters")
        tensors = self._read_inputs(document.get("inputs"), binary)
        wanted = self._read_wanted(document.get("outputs"), parameters)
        rows = make_rows(self.predictor, tensors, self.options)
        return Job(
            rows, lambda answer: self._render(answer, identity, wanted, rows.count), request.log_id, request.trace[0]
        )

    def _read_inputs(self, inputs: Any, binary: memoryview) -> Sequence[Tensor]:
        if not isinstance(inputs, list) or not inputs:
            raise invalid("inputs: expected a list of tensors")
        reader = _TensorReader(binary, self.options)
        tensors = [reader.read(tensor, f"inputs[{position}]") for position, tensor in enumerate(inputs)]
        if reader.rest:
            raise invalid(f"the body: {reader.rest} bytes of binary data belong to no input")
        return tensors

    def _read_wanted(self, outputs: Any, parameters: Mapping[str, Any]) -> Sequence[Wanted]:
        binary = read_switch(parameters, "binary_data_output", "parameters")
        if outputs is None:
            return [Wanted(PREDICTION, binary)]
        if not isinstance(outputs, list):
            raise invalid("outputs: expected a list")
        wanted = []
        for position, output in enumerate(outputs):
            path = f"outputs[{position}]"
            if not isinstance(output, dict) or not isinstance(output.get("name"), str):
                raise invalid(f"{path}: expected an object with a name")
            refuse_unknown(output, ("name", "parameters"), f"{path}.", self.options)
            own = read_parameters(output.get("parameters"), f"{path}.parameters")
            chosen = read_switch(own, "binary_data", f"{path}.parameters") if "binary_data" in own else binary
            wanted.append(Wanted(output["name"], chosen))
        return read_outputs(wanted, self.predictor) if wanted else [Wanted(PREDICTION, binary)]

    def _render(self, answer: Answer, identity: str | None, wanted: Sequence[Wanted], rows: int) -> Response:
        document: dict[str, Any] = {"model_name": self.options.model_name}
        if self.predictor.version is not None:
            document["model_version"] = self.predictor.version
        if identity is not None:
            document["id"] = identity
        tail = []
        outputs = []
        for want in wanted:
            name, shape, datatype, values = output_tensor(self.predictor, answer, want.name, rows)
            tensor: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
            if want.binary:
                tail.append(pack(datatype, values))
                tensor["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                tensor["data"] = values
            outputs.append(tensor)
        document["outputs"] = outputs
        text = orjson.dumps(document)
        if not any(want.binary for want in wanted):
            return Response(200, text, JSON)
        return Response(200, b"".join([text, *tail]), BINARY, ((LENGTH_HEADER, b"%d" % len(text)),))


def output_tensor(
    predictor: Predictor, answer: Answer, name: str, rows: int
) -> tuple[str, list[int], str, Sequence[Any]]:
    """Return name, shape, datatype and flat values of one output."""
    if name == PROBABILITIES:
        return name, [rows, predictor.width], "FP64", answer.scores
    datatype = label_datatype(predictor)
    labels = [str(label) for label in answer.labels] if datatype == "BYTES" else answer.labels
    return name, [rows], datatype, labels


def read_parameters(parameters: Any, path: str) -> Mapping[str, Any]:
    """Return the parameters of a request or tensor: an object of text, numbers, true and false."""
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise invalid(f"{path}: expected an object")
    for name, value in parameters.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            raise invalid(f"{path}.{name[:80]}: expected text, a number, true or false")
    refuse_meaning(parameters, path)
    return parameters


def refuse_meaning(parameters: Iterable[str], path: str) -> None:
    """Raise Refused for a parameter that would change what the answer means, and that this server does not have.

    Others may be ignored, as the protocol says; these two of Triton's extensions leave the caller with something else
    than it reads: a region that nobody wrote, labels that are no labels.
    """
    for name in parameters:
        if name.startswith("shared_memory_"):
            raise invalid(f"{path}.{name}: this server has no shared memory; send and ask for the data itself")
        if name == "classification":
            raise invalid(f"{path}.{name}: this server has no classification extension; ask for probabilities")


def read_switch(parameters: Mapping[str, Any], name: str, path: str) -> bool:
    """Return a true/false parameter; false when it is not there."""
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"{path}.{name}: expected true or false")
    return value


def _split(request: Request) -> tuple[bytes, memoryview]:
    """Return the JSON part and the binary part of a body."""
    length = request.headers.get(LENGTH_HEADER)
    if length is None:
        return request.body, memoryview(b"")
    if not length.isdigit() or len(length) > 12 or int(length) > len(request.body):
        raise invalid("Inference-Header-Content-Length: expected a number of bytes within the body")
    return request.body[: int(length)], memoryview(request.body)[int(length) :]


class _TensorReader:
    """Reads input tensors; binary ones take their bytes from the body's tail in order."""

    def __init__(self, binary: memoryview, options: Options) -> None:
        self._binary = binary
        self._options = options

    @property
    def rest(self) -> int:
        return len(self._binary)

    def read(self, tensor: Any, path: str) -> Tensor:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise invalid(f"{path}: expected an object with name, datatype, shape and data")
        refuse_unknown(tensor, ("name", "datatype", "shape", "parameters", "data"), f"{path}.", self._options)
        datatype = check_datatype(tensor.get("datatype"), path)
        elements = check_shape(tensor.get("shape"), path)
        parameters = read_parameters(tensor.get("parameters"), f"{path}.parameters")
        size = parameters.get("binary_data_size")
        if size is not None:
            if "data" in tensor:
                raise invalid(f"{path}: has data and binary_data_size; send one of them")
            raw = self._take(size, path)
            return Tensor(tensor["name"], datatype, tensor["shape"], unpack(datatype, raw, elements, path), path, True)
        values = _flat(tensor.get("data"), tensor["shape"], f"{path}.data")
        if len(values) != elements:
            raise invalid(f"{path}.data: expected {elements} values for its shape, got {len(values)}")
        check_values(datatype, values, path)
        return Tensor(tensor["name"], datatype, tensor["shape"], values, path)

    def _take(self, size: Any, path: str) -> memoryview:
        if type(size) is not int or not 0 <= size <= len(self._binary):
            raise invalid(f"{path}.parameters.binary_data_size: expected at most the {self.rest} bytes that are left")
        raw, self._binary = self._binary[:size], self._binary[size:]
        return raw


def _flat(data: Any, shape: Sequence[int], path: str) -> Sequence[Any]:
    """Return the values of a flat or nested list."""
    if not isinstance(data, list):
        raise invalid(f"{path}: expected a list")
    if len(shape) < 2 or not data or not isinstance(data[0], list):
        return data
    flat: list[Any] = []
    for position, part in enumerate(data):
        inner = _flat(part, shape[1:], f"{path}[{position}]")
        if len(data) != shape[0] or len(inner) * shape[0] != _product(shape):
            raise invalid(f"{path}[{position}]: expected the lists to follow the shape {list(shape)}")
        flat += inner
    return flat


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
