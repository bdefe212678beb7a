"""V1, the protocol of TensorFlow Serving and KServe: rows in, labels out."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import orjson

from serving.errors import invalid
from serving.inference import Engine, Job
from serving.message import Request, Response
from serving.options import Options
from serving.predictor import Answer, Predictor


class Instances:
    """The rows of a V1 request."""

    def __init__(self, predictor: Predictor, instances: Sequence[Any]) -> None:
        self.count = len(instances)
        self._instances = instances
        self._encode = predictor.encoder.encode

    def encode(self, start: int, stop: int) -> array[float]:
        return self._encode(self._instances[start:stop], start)


class V1:
    """Handlers of the V1 paths of one predictor."""

    def __init__(self, predictor: Predictor, options: Options, engine: Engine) -> None:
        self.predictor = predictor
        self.options = options
        self.engine = engine

    def predict(self, request: Request) -> Response | Awaitable[Response]:
        """Answer `:predict`."""
        return self.engine.run(self.predictor, len(request.body), lambda: self._read(request))

    def _read(self, request: Request) -> Job[Response]:
        document = parse_object(request.body)
        instances = read_instances(document, self.options)
        wanted = read_flag(document.get("parameters"), "probabilities", self.options)
        if wanted and not self.predictor.classes:
            raise invalid("parameters.probabilities: this model predicts a number and has no probabilities")
        return Job(
            Instances(self.predictor, instances),
            lambda answer: self._render(answer, wanted),
            request.log_id,
            request.trace[0],
        )

    def _render(self, answer: Answer, wanted: bool) -> Response:
        document: dict[str, Any] = {"predictions": answer.labels}
        if wanted:
            document["probabilities"] = self.predictor.rows_of(answer.scores)
        return Response(200, orjson.dumps(document))


def parse_object(body: bytes | memoryview) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        Refused: It is not JSON, or not an object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise invalid("the body: expected a JSON object")
    return document


def read_instances(document: Mapping[str, Any], options: Options) -> Sequence[Any]:
    """Return the rows of a V1 document.

    Raises:
        Refused: There are none, too many, or a field is unknown.
    """
    refuse_unknown(document, ("instances", "parameters"), "", options)
    instances = document.get("instances")
    if not isinstance(instances, list):
        raise invalid('instances: expected a list of rows, such as {"instances": [[…], …]}')
    if not instances:
        raise invalid("instances: expected at least one row")
    if len(instances) > options.max_rows:
        raise invalid(f"instances: {len(instances)} rows, at most {options.max_rows} per request")
    return instances


def read_flag(parameters: Any, name: str, options: Options) -> bool:
    """Return a true/false parameter of a V1 document; false when it is not there."""
    if parameters is None:
        return False
    if not isinstance(parameters, dict):
        raise invalid("parameters: expected an object")
    refuse_unknown(parameters, (name,), "parameters.", options)
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"parameters.{name}: expected true or false")
    return value


def refuse_unknown(document: Mapping[str, Any], known: Sequence[str], prefix: str, options: Options) -> None:
    """Raise Refused when an object has a field that nothing reads."""
    if options.ignore_unknown:
        return
    for name in document:
        if name not in known:
            raise invalid(f"{prefix}{name[:80]}: unknown field; expected {' and '.join(known)}")
