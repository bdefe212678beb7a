"""Model servers and a Prometheus that behave as a test says, in threads of the test process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

GOLDEN = {"requests": [{"instances": [{"age": 60}], "predictions": ["yes"]}], "tolerance": 1e-6}


@dataclass
class Model:
    """How pods of one version behave.

    Attributes:
        answer: What they predict.
        state: Replaces the pods' state, to be never ready with a reason.
        errors: Share of requests that fail, as Prometheus tells it.
        slow: Share of slow requests, as Prometheus tells it.
    """

    answer: list[Any] = field(default_factory=lambda: ["yes"])
    state: dict[str, Any] | None = None
    errors: float = 0.001
    slow: float = 0.005


def serve(answer: Callable[[str, str, bytes], tuple[int, bytes]]) -> ThreadingHTTPServer:
    """Return a running server on a free port; `answer` maps method, path and body to status and body."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answer(self.command, self.path, raw)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _serve  # noqa: N815 (names of http.server)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class StandIns:
    """A `Workload` of stand-in servers: one per version, and one for the gateway.

    Attributes:
        models: Version -> behaviour; others behave well.
        weights: Of the gateway, as last routed.
        trial: The HTTPRoute over it, None when there is none.
        history: Every different routing there was.
        lost: Shares of the traffic that led to a Service that was gone, as they were noticed.
    """

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.weights: dict[str, int] = {}
        self.history: list[dict[str, int]] = []
        self.lost: list[str] = []
        self.trial: dict[str, Any] | None = None
        self._versions: dict[str, str] = {}
        self._server = serve(self._gateway)
        self._pods: dict[str, ThreadingHTTPServer] = {}

    @property
    def gateway(self) -> str:
        """Where the endpoint is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self, deployment: str, model_name: str, predictor: dict[str, Any], replicas: int) -> dict[str, Any]:
        """Start, or say how the pods are."""
        version = predictor["annotations"].get("headrace/version", "").removeprefix("v")
        model = self.models.setdefault(version, Model())
        if model.state is not None:
            return {**model.state, "old": deployment in self._versions}
        self._versions[deployment] = version
        if deployment not in self._pods:
            self._pods[deployment] = serve(lambda method, path, body: self._predict(deployment))
        return {"ready": True, "port": self._pods[deployment].server_address[1]}

    def stop(self, deployment: str) -> None:
        """End the pods."""
        self._versions.pop(deployment, None)
        if server := self._pods.pop(deployment, None):
            server.shutdown()
            server.server_close()

    def route(self, model_name: str, weights: dict[str, int], gone: frozenset[str]) -> None:
        """Remember the weights, and what they lose."""
        self.lost += [f"{share} % to {name}" for name, share in weights.items() if name in gone]
        if weights != self.weights:
            self.weights = dict(weights)
            self.history.append(self.weights)

    def overlay(self, model_name: str, http_route: dict[str, Any] | None, gone: frozenset[str]) -> None:
        """Remember the route, and what it loses."""
        self.lost += [f"a trial's share to {name}" for name in sorted(gone)]
        self.trial = http_route

    def served(self) -> str:
        """Return the version with the most traffic."""
        return self._versions[max(self.weights, key=lambda name: self.weights[name])]

    def close(self) -> None:
        """Stop everything."""
        for deployment in list(self._pods):
            self.stop(deployment)
        self._server.shutdown()
        self._server.server_close()

    def _predict(self, deployment: str) -> tuple[int, bytes]:
        version = self._versions.get(deployment)
        if version is None:
            return 503, b"no pod"
        return 200, json.dumps({"predictions": self.models[version].answer}).encode()

    def _gateway(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        return self._predict(max(self.weights, key=lambda name: self.weights[name]))


class Prometheus:
    """Answers the two queries of a release with counters that grow as the models' behaviour says."""

    def __init__(self, workload: StandIns, per_second: float = 20_000.0) -> None:
        self._workload, self._rate, self._since = workload, per_second, time.monotonic()
        self._server = serve(self._answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        expression = parse_qs(urlsplit(path).query)["query"][0]
        total = (time.monotonic() - self._since) * self._rate
        result = []
        for version, model in self._workload.models.items():
            labels = {"version": version, "model_name": "heart"}
            if expression.startswith("headrace_requests_total"):
                name = "headrace_requests_total"
                result += [({**labels, "code": "200"}, total * (1 - model.errors), name)]
                result += [({**labels, "code": "500"}, total * model.errors, name)]
            elif expression.startswith("headrace_request_seconds_bucket"):
                name = "headrace_request_seconds_bucket"
                result += [({**labels, "le": "0.2"}, total * (1 - model.slow), name)]
                result += [({**labels, "le": "+Inf"}, total, name)]
        series = [{"metric": {**labels, "__name__": name}, "value": [0, str(value)]} for labels, value, name in result]
        return 200, json.dumps({"status": "success", "data": {"result": series}}).encode()
