"""The application: what is served now, who may ask, and what has been counted.

Transports (connections, gRPC) bring requests here; loading, swapping and stopping live in lifecycle.py.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from serving.access import Access
from serving.budget import default_limit
from serving.errors import Headers, Refused, busy
from serving.inference import INLINE_BYTES, Engine
from serving.logs import AccessLog
from serving.message import JSON, Request, Response, fixed_headers
from serving.metrics import Metrics
from serving.options import Options
from serving.predictionlog import PredictionLog
from serving.predictor import Predictor
from serving.routes import Endpoint, Handler, build_routes, not_found
from serving.unpacking import COMPRESSIONS, unpack
from serving.wire import Gate

if TYPE_CHECKING:
    from serving.connection import Connection

log = logging.getLogger(__name__)

LATE_TICKS = 3
UNKNOWN = Endpoint({}, "other")
PREDICTIONS = (":predict", ":explain", "/infer", "/ModelInfer")


class App:
    """The state of one server process.

    Attributes:
        gate: What the connections share. Its `fast` is the hot path in C: None when absent, while draining, or where a
            feature needs to see every request. Its `clock` is in whole seconds, moved on by lifecycle.
    """

    def __init__(self, options: Options, predictor: Predictor) -> None:
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.metrics = Metrics(options.model_name)
        self.access = Access(options.api_keys, options.rate_limit)
        self.access_log = AccessLog(options)
        self.predictions = (
            PredictionLog(Path(options.prediction_log), options.model_name) if options.prediction_log else None
        )
        self.engine = Engine(options, self.metrics, self.predictions)
        self.fixed_headers = fixed_headers(options)
        self.connections: set[Connection] = set()
        self.gate = Gate(options.access_log_sample)
        self.gate.limit = options.max_in_flight_bytes or default_limit()
        self.metrics.account = self.gate
        self._late_ticks = 0
        self.draining = False
        self.started = False
        self._origins = tuple(part.strip().encode() for part in options.cors_origins.split(",") if part.strip())
        self._ids = itertools.count(1)
        self._prefix = os.urandom(4).hex()
        self.serve(predictor)

    def serve(self, predictor: Predictor) -> None:
        """Answer from this predictor from now on; requests in progress finish with the one they began with."""
        self.routes: Mapping[str, Endpoint] = build_routes(self, predictor)
        self.predictor = predictor
        self._choose_path()

    def drain(self) -> None:
        """Stop being ready; every further answer closes its connection."""
        self.draining = True
        self._choose_path()

    def become_ready(self) -> None:
        """Tell probes that requests may come."""
        self.started = True
        self._choose_path()

    @property
    def ready(self) -> bool:
        return self.started and not self.draining

    def _choose_path(self) -> None:
        """Use the hot path only where nothing has to look at each request."""
        generic = self.draining or self.access.enabled or self._origins or self.predictions is not None
        self.gate.fast = None if generic else self.predictor.fast
        self.metrics.ready = self.ready

    # Connections.

    def has_room(self, beginning: int) -> bool:
        """Return whether one more may be accepted beside those that are open and so many that begin."""
        if len(self.connections) + beginning < self.options.max_connections:
            return True
        self.metrics.rejected_connections += 1
        return False

    def add(self, connection: Connection) -> bool:
        """Return whether the connection may stay."""
        if not self.has_room(0):
            return False
        self.connections.add(connection)
        self.metrics.connections = len(self.connections)
        return True

    def remove(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.metrics.connections = len(self.connections)

    # Requests.

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Return the answer, or something to await for it. Never raises."""
        began = perf_counter()
        endpoint = self.routes.get(request.path, UNKNOWN)
        try:
            answer = self._answer(endpoint, request)
        except Exception as error:
            answer = self._failed(request, error)
        if isinstance(answer, Response):
            return self._finish(endpoint, request, answer, began)
        self.metrics.in_flight += 1
        return self._await(endpoint, request, answer, began)

    async def _await(self, endpoint: Endpoint, request: Request, answer: Awaitable[Response], began: float) -> Response:
        try:
            response = await answer
        except Exception as error:
            response = self._failed(request, error)
        finally:
            self.metrics.in_flight -= 1
        return self._finish(endpoint, request, response, began)

    def _answer(self, endpoint: Endpoint, request: Request) -> Response | Awaitable[Response]:
        if request.target == b"*" and request.method == b"OPTIONS":
            return Response(204, b"", JSON, ((b"allow", b"GET, HEAD, POST, OPTIONS"),))
        if endpoint is UNKNOWN:
            raise not_found(request.path, self)
        method = b"GET" if request.method == b"HEAD" else request.method
        handler = endpoint.methods.get(method)
        if handler is None:
            return self._other_method(endpoint, request)
        if endpoint.guarded and self.access.enabled:
            request.key = self.access.admit(request.headers)
        if endpoint.predicts:
            if self.predictions is not None and request.request_id is None:
                request.made_id = self.make_id()
            self.admit()
            encoding = request.headers.get(b"content-encoding", b"identity").strip().lower()
            if encoding != b"identity":
                return self._unpacked(handler, request, encoding)
        return handler(request)

    def _unpacked(self, handler: Handler, request: Request, encoding: bytes) -> Response | Awaitable[Response]:
        """Answer a request whose body is compressed; a large one is unpacked in a thread and counted as it is then."""
        if encoding not in COMPRESSIONS:
            raise Refused(
                415, "content-encoding: gzip, deflate, or none", ((b"accept-encoding", b"gzip, deflate, identity"),)
            )
        small = unpack(request.body, encoding, INLINE_BYTES)
        if isinstance(small, bytes):
            request.body = small
            return handler(request)
        if small[0] != 413:
            raise Refused(small[0], small[1].replace("the message", "the body"))
        return self._unpacked_aside(handler, request, encoding)

    async def _unpacked_aside(self, handler: Handler, request: Request, encoding: bytes) -> Response:
        limit = self.options.max_body_size
        found = await self.loop.run_in_executor(None, unpack, request.body, encoding, limit)
        if isinstance(found, tuple):
            raise Refused(found[0], found[1].replace("the message", "the body"))
        if request.held is not None and not request.held.grow(len(found)):
            self.metrics.shed += 1
            raise busy()
        request.body = found
        answer = handler(request)
        return answer if isinstance(answer, Response) else await answer

    def note_delay(self, seconds: float) -> None:
        """Take how late the loop just ran; several times in a row is overload, once may be anything."""
        self.metrics.delay = seconds
        self._late_ticks = self._late_ticks + 1 if seconds > self.options.max_delay else 0

    def admit(self) -> None:
        """Raise Refused when a prediction must not be started now."""
        if self._late_ticks >= LATE_TICKS:
            self.metrics.shed += 1
            raise busy(round(self.metrics.delay))

    def _other_method(self, endpoint: Endpoint, request: Request) -> Response:
        allow: Headers = ((b"allow", endpoint.allow),)
        if request.method != b"OPTIONS":
            raise Refused(405, f"{request.method.decode('latin-1')} is not possible here", allow)
        if self._allowed_origin(request) and b"access-control-request-method" in request.headers:
            allow += (
                (b"access-control-allow-methods", endpoint.allow),
                (b"access-control-allow-headers", b"authorization, content-type, x-api-key, x-request-id, traceparent"),
                (b"access-control-max-age", b"600"),
            )
        return Response(204, b"", JSON, allow)

    def refuse(self, refusal: Refused, request: Request | None = None) -> Response:
        """Return the answer of a refused request, and count it when it never became one."""
        if request is None:
            self.metrics.observe_other("other", str(refusal.status))
        return Response(refusal.status, refusal.body(), JSON, refusal.headers)

    def _failed(self, request: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            return self.refuse(error, request)
        self.log_failure(request.method.decode("latin-1"), request.path, error)
        return Response(500, b'{"error":"the server failed; its log says more under this x-request-id"}')

    def _finish(self, endpoint: Endpoint, request: Request, response: Response, began: float) -> Response:
        """Count, log and label an answer."""
        identity = request.request_id
        if identity is None and (response.status >= 400 or request.sampled):
            identity = self.make_id()
        if identity is not None:
            response.headers = (*response.headers, (b"x-request-id", identity))
        if self._origins:
            response.headers = (*response.headers, *self._cors_headers(request))
        self.record(endpoint.protocol, request, response, perf_counter() - began)
        return response

    def record(self, protocol: str, request: Request, response: Response, seconds: float) -> None:
        """Count a finished request and log it when it is its turn."""
        version = self.predictor.version or ""
        if protocol != UNKNOWN.protocol and request.path.endswith(PREDICTIONS):
            self.metrics.observe_request(protocol, str(response.status), version, seconds)
        else:
            self.metrics.observe_other(protocol, str(response.status))
        if request.sampled or response.status >= 500:
            self.access_log.write(protocol, request, response, seconds, version)

    def log_failure(self, method: str, path: str, error: Exception) -> None:
        """Keep what a caller is not told."""
        log.error("unexpected failure in %s %s", method, path, exc_info=error)

    def make_id(self) -> bytes:
        """Return a new request id, unique to this process and its count."""
        return b"%s-%x" % (self._prefix.encode(), next(self._ids))

    def _allowed_origin(self, request: Request) -> bytes | None:
        origin = request.headers.get(b"origin")
        if origin is None or not self._origins:
            return None
        if b"*" in self._origins:
            return b"*"
        return origin if origin in self._origins else None

    def _cors_headers(self, request: Request) -> tuple[tuple[bytes, bytes], ...]:
        origin = self._allowed_origin(request)
        if origin is None:
            return ((b"vary", b"origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"x-request-id, inference-header-content-length"),
            (b"vary", b"origin"),
        )
