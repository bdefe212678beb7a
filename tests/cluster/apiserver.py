"""A small stateful Kubernetes API over HTTP, for the tests of releases. It is not Kubernetes: no admission, no watches.

It keeps what releases rely on true to the API conventions: resourceVersion conflicts, generation, server-side apply
that removes what a manager no longer applies, strict field validation, status apart from spec, label selectors, the
service proxy. Faults can be injected before a request is handled.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import crds

PATH = re.compile(r"/(?:api/v1|apis/([^/]+)/[^/]+)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?(?:/(log|proxy)(/.*)?)?$")
KNOWN = (
    "inferenceservices configmaps events pods deployments leases horizontalpodautoscalers poddisruptionbudgets "
    "services httproutes"
)
Object = dict[str, Any]
Reply = tuple[int, dict[str, str]]


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str, name: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
        if name:
            self.body["details"] = {"name": name}


class ApiServer:
    """Objects by (plural, name) of one namespace.

    Attributes:
        fault: Asked before each request is handled; a returned (status, headers) is answered instead, and status 0
            closes the connection without an answer.
        after: Called after each write, with method and plural.
        ports: Service name -> port on loopback, for the service proxy.
        crds: Folder of CRDs to validate against, None validates nothing.
        absent: Plurals this cluster does not know.
    """

    def __init__(self, crd_folder: Path | None = None) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.changed = threading.Condition()
        self.fault: Callable[[str, str], Reply | None] = lambda method, path: None
        self.after: Callable[[str, str], None] = lambda method, plural: None
        self.ports: dict[str, int] = {}
        self.absent: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self._crds = crd_folder
        if crd_folder:
            crds.load(crd_folder)
        self._applied: dict[tuple[str, str, str], set[tuple[str, ...]]] = {}
        self._version = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def get(self, plural: str, name: str) -> Object | None:
        """Return a copy of an object."""
        with self.changed:
            return copy.deepcopy(self.objects.get((plural, name)))

    def list(self, plural: str) -> list[Object]:
        """Return copies of all objects of a type."""
        with self.changed:
            return [copy.deepcopy(item) for (kind, _), item in self.objects.items() if kind == plural]

    def put(self, plural: str, item: Object) -> Object:
        """Write an object as a controller would: generation follows the spec, nothing is checked."""
        with self.changed:
            name = item["metadata"]["name"]
            old = self.objects.get((plural, name))
            if old is not None and _content(old) == _content(item):
                return old
            metadata = item["metadata"]
            metadata.setdefault("uid", str(uuid.uuid4()))
            grown = old is not None and old.get("spec") != item.get("spec")
            metadata["generation"] = (old["metadata"]["generation"] if old else 0) + (1 if grown or not old else 0)
            self._version += 1
            metadata["resourceVersion"] = str(self._version)
            self.objects[plural, name] = item
            self.changed.notify_all()
            return item

    def remove(self, plural: str, name: str) -> None:
        """Delete an object, if it is there."""
        with self.changed:
            if self.objects.pop((plural, name), None) is not None:
                self.changed.notify_all()

    def handle(self, method: str, path: str, query: dict[str, str], body: Object) -> Object:
        """Perform a request and return the answer.

        Raises:
            Refused: As a real API server would.
        """
        match = PATH.match(path)
        if match is None or match[3] not in KNOWN.split() or match[3] in self.absent:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        plural, name = match[3], match[4] or ""
        with self.changed:
            found = self.objects.get((plural, name))
            if method == "GET" and not name:
                return {
                    "items": [item for item in self.list(plural) if _selected(item, query.get("labelSelector", ""))]
                }
            if method == "POST":
                return self._create(plural, body)
            if method == "PATCH":
                return self._apply(plural, name, body, query)
            if found is None:
                raise Refused(404, "NotFound", f'{plural} "{name}" not found', name)
            if method == "PUT":
                if body["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
                    raise Refused(409, "Conflict", f'{plural} "{name}": the object has been modified', name)
                return copy.deepcopy(self.put(plural, body))
            if method == "DELETE":
                self.remove(plural, name)
            return copy.deepcopy(found)

    def _create(self, plural: str, body: Object) -> Object:
        metadata = body["metadata"]
        metadata.setdefault("name", metadata.get("generateName", "") + uuid.uuid4().hex[:5])
        if (plural, metadata["name"]) in self.objects:
            raise Refused(409, "AlreadyExists", f'{plural} "{metadata["name"]}" already exists', metadata["name"])
        return copy.deepcopy(self.put(plural, body))

    def _apply(self, plural: str, name: str, body: Object, query: dict[str, str]) -> Object:
        """Server-side apply: what this manager applied before and does not apply now goes away; lists are atomic."""
        self._validate(body, strict=query.get("fieldValidation") == "Strict")
        key = (plural, name, query["fieldManager"])
        before, now = self._applied.get(key, set()), set(_leaves(body))
        old = copy.deepcopy(self.objects.get((plural, name), {"metadata": {"name": name}}))
        for path in sorted(before - now, key=len, reverse=True):
            _forget(old, path)
        self._applied[key] = now
        return copy.deepcopy(self.put(plural, _merged(old, body)))

    def _validate(self, body: Object, *, strict: bool) -> None:
        found = crds.errors(self._crds, body) if self._crds else []
        unknown = [error for error in found if error.startswith("unknown field")]
        if unknown and strict:
            raise Refused(400, "BadRequest", f"strict decoding error: {unknown[0]}")
        if wrong := [error for error in found if error not in unknown]:
            raise Refused(422, "Invalid", f"{body['kind']} is invalid: {'; '.join(wrong)}")

    def proxy(self, match: re.Match[str], method: str, raw: bytes) -> tuple[int, bytes]:
        """Forward to a pod of a Service."""
        port = self.ports.get(match[4].split(":")[0])
        if port is None:
            return 503, b"no endpoints available for service"
        url = f"http://127.0.0.1:{port}{match[6] or '/'}"
        request = urllib.request.Request(url, raw or None, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError as error:
            return 502, str(error).encode()


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            api.requests.append((self.command, parts.path))
            match = PATH.match(parts.path)
            if fault := api.fault(self.command, parts.path):
                if not fault[0]:
                    self.close_connection = True
                    return
                self._answer(fault[0], json.dumps({"message": "injected", "reason": "Injected"}).encode(), fault[1])
            elif match and match[5] == "proxy":
                self._answer(*api.proxy(match, self.command, raw))
            elif match and match[5] == "log":
                pod = api.get("pods", match[4]) or {}
                self._answer(200, pod.get("log", "").encode())
            else:
                self._rest(parts.path, {key: value[0] for key, value in parse_qs(parts.query).items()}, raw)
                if self.command != "GET" and match:
                    api.after(self.command, match[3])

        def _rest(self, path: str, query: dict[str, str], raw: bytes) -> None:
            try:
                self._answer(200, json.dumps(api.handle(self.command, path, query, json.loads(raw or b"{}"))).encode())
            except Refused as refused:
                self._answer(refused.code, json.dumps(refused.body).encode())

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 (names of http.server)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _content(item: Object) -> Object:
    metadata = {k: v for k, v in item["metadata"].items() if k not in ("resourceVersion", "generation", "uid")}
    return {**item, "metadata": metadata}


def _selected(item: Object, selector: str) -> bool:
    labels = item["metadata"].get("labels", {})
    return all(labels.get(pair.split("=")[0]) == pair.split("=")[1] for pair in selector.split(",") if pair)


def _leaves(item: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(item, dict) and item:
        return [leaf for key, value in item.items() for leaf in _leaves(value, (*path, key))]
    return [path]


def _forget(item: Object, path: tuple[str, ...]) -> None:
    """Remove a leaf, and what it leaves empty."""
    for depth in range(len(path), 0, -1):
        parent = item
        for key in path[: depth - 1]:
            parent = parent.get(key, {})
        if depth == len(path) or parent.get(path[depth - 1]) == {}:
            parent.pop(path[depth - 1], None)


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return copy.deepcopy(new)
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
