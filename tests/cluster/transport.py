"""HTTP in front of the emulated API: bodies in JSON, YAML or protobuf, answers in JSON, streams of watches."""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import discovery
import protobuf
import watch
import yaml
from resources import PATH, Object
from watch import Watched

if TYPE_CHECKING:
    from apiserver import ApiServer


class Server(ThreadingHTTPServer):
    """A server that does not mind clients that hang up, as watchers do."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell errors but those."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    """Return the request handler class of a server."""
    from apiserver import Refused

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            api.requests.append((self.command, parts.path))
            match = PATH.match(parts.path)
            if fault := api.fault(self.command, parts.path):
                if not fault[0]:
                    self.close_connection = True
                    return
                self._answer(fault[0], json.dumps({"message": "injected", "reason": "Injected"}).encode(), fault[1])
            elif match and match["sub"] == "proxy":
                self._answer(*api.proxy(match, self.command, raw))
            elif match and match["sub"] == "log":
                self._answer(200, api.log(match["name"]), {"Content-Type": "text/plain"})
            else:
                self._rest(parts.path, match, query, raw)
                if self.command != "GET" and match:
                    api.after(self.command, match["plural"])

        def _rest(self, path: str, match: re.Match[str] | None, query: dict[str, str], raw: bytes) -> None:
            try:
                known = discovery.answer(path, api.kinds) if self.command == "GET" else None
                if known is not None:
                    self._say(200, known)
                elif match is None:
                    raise Refused(404, "NotFound", "the server could not find the requested resource")
                elif query.get("watch") in ("true", "1"):
                    self._watch(match, query)
                else:
                    found = api.handle(self.command, match, query, _parsed(raw), self.headers.get("Content-Type", ""))
                    self._say(201 if self.command == "POST" else 200, found)
            except Refused as refused:
                self._say(refused.code, refused.body)

        def _watch(self, match: re.Match[str], query: dict[str, str]) -> None:
            kind = api.find_kind(match)
            wanted = Watched(kind, match["namespace"], query.get("labelSelector", ""), query.get("fieldSelector", ""))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            try:
                for event in watch.events(api.state, wanted, query):
                    if api.closed:
                        break
                    if event is not None:
                        line = json.dumps(event).encode() + b"\n"
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                        self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def _say(self, status: int, item: Object) -> None:
            self._answer(status, json.dumps(item).encode(), {"Content-Type": "application/json"})

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


def _parsed(raw: bytes) -> Any:
    if raw.startswith(protobuf.MAGIC):
        return protobuf.decode(raw)
    if not raw or raw[:1] in b"{[":
        return json.loads(raw or b"{}")
    return yaml.load(raw, yaml.CSafeLoader)
