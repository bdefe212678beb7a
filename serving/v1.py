"""V1, the protocol of TensorFlow Serving and KServe: rows in, labels out."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import orjson

from serving.errors import invalid
from serving.inference import INLINE_BYTES, Engine, Job
from serving.message import Request, Response
from serving.options import Options
from serving.outline import Outline, StreamedInstances, check, head, loads, outline
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
        if len(request.body) <= INLINE_BYTES:
            return self.engine.run(self.predictor, len(request.body), lambda: self._read(request, None))
        looked = Looked(request.body, self.predictor, self.options, self.engine.budget)
        return self.engine.run(
            self.predictor, len(request.body), lambda: self._read(request, looked.found), looked.look
        )

    def _read(self, request: Request, found: Outline | None) -> Job[Response]:
        streamed = found is not None and found.elements > 0
        document = parse_object(head(request.body, found) if found is not None and streamed else request.body)
        if streamed and document.get("instances") != []:  # the name is there again, written otherwise
            streamed, document = False, parse_object(request.body)
        if found is not None and streamed:
            instances: Any = StreamedInstances(self.predictor, request.body, found)
            refuse_unknown(document, ("instances", "parameters"), "", self.options)
            check_count(found.elements, self.options)
        else:
            instances = Instances(self.predictor, read_instances(document, self.options))
        wanted = read_flag(document.get("parameters"), "probabilities", self.options)
        if wanted and not self.predictor.classes:
            raise invalid("parameters.probabilities: this model predicts a number and has no probabilities")
        return Job(
            instances,
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
        document = loads(body) if len(body) > INLINE_BYTES else orjson.loads(body)
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
    check_count(len(instances), options)
    return instances


def check_count(rows: int, options: Options) -> None:
    """Raise Refused for more rows than a request may have."""
    if rows > options.max_rows:
        raise invalid(f"instances: {rows} rows, at most {options.max_rows} per request")


class Looked:
    """A large body and what is known of it before it is parsed."""

    def __init__(self, body: bytes, predictor: Predictor, options: Options, budget: int) -> None:
        self.found: Outline | None = None
        self._what = (body, predictor, options, budget)

    def look(self) -> None:
        """Measure the body; to be called in a thread.

        Raises:
            Refused: It holds more than its rows could.
        """
        body, predictor, options, budget = self._what
        self.found = outline(body, predictor.scorer.step_rows)
        check(self.found, len(body), predictor, options, budget, streamed=self.found.elements > 0)


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
