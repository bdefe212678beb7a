"""Every path of the server and what answers it, as one dictionary that is built anew for each bundle.

One process serves one model in one version, so a path is looked up, never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from serving import trying
from serving.errors import Refused
from serving.explain import Explainer
from serving.message import BINARY, HTML, JSON, MARKDOWN, PAGE_HEADERS, Request, Response
from serving.openapi import openapi
from serving.pages import ORIGIN, card_markdown, card_page, docs_page, schema_document
from serving.v1 import V1
from serving.v2 import V2, model_metadata, server_metadata

if TYPE_CHECKING:
    from serving.app import App
    from serving.predictor import Predictor

HOST = re.compile(rb"[A-Za-z0-9.:\[\]_-]+")
Handler = Callable[[Request], Response | Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one path answers.

    Attributes:
        protocol: The label its requests are counted under.
        guarded: Whether it needs an API key where there are keys.
        predicts: Whether it is shed under overload.
    """

    methods: Mapping[bytes, Handler]
    protocol: str
    guarded: bool = False
    predicts: bool = False

    @property
    def allow(self) -> bytes:
        extra = [b"HEAD"] if b"GET" in self.methods else []
        return b", ".join(sorted([*self.methods, *extra, b"OPTIONS"]))


def build_routes(app: App, predictor: Predictor) -> Mapping[str, Endpoint]:
    """Return the endpoints of a server that serves this predictor."""
    return {**_server(app), **_v1(app, predictor), **_v2(app, predictor), **_pages(app, predictor)}


def _server(app: App) -> Mapping[str, Endpoint]:
    name = app.options.model_name
    landing = {"status": "alive", "model": name, "docs": "/docs", "openapi": "/openapi.json", "metrics": "/metrics"}

    def front(request: Request) -> Response:
        """Lead a browser to the page for people, a program to what there is."""
        if b"text/html" in request.headers.get(b"accept", b""):
            return Response(303, b"", JSON, ((b"location", b"/docs"), (b"vary", b"accept")))
        return Response(200, orjson.dumps(landing), JSON, ((b"vary", b"accept"),))

    def metrics(_: Request) -> Response:
        return Response(200, app.metrics.render(app.predictor), b"text/plain; version=0.0.4; charset=utf-8")

    def protoset(_: Request) -> Response:
        """Return what grpcurl and others need to call the gRPC port without reflection."""
        from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

        from serving.oip import inference_pb2

        described = FileDescriptorProto()
        inference_pb2.DESCRIPTOR.CopyToProto(described)
        return Response(200, FileDescriptorSet(file=[described]).SerializeToString(), BINARY)

    return {
        "/": _get(front, "other"),
        "/metrics": _get(metrics, "other"),
        "/inference.protoset": _get(protoset, "other"),
        "/v2": _get(_fixed(server_metadata()), "v2"),
        "/v2/": _get(_fixed(server_metadata()), "v2"),
        "/v2/health/live": _get(_fixed({"live": True}), "v2"),
        "/v2/health/ready": _get(_readiness(app, {}), "v2"),
    }


def _v1(app: App, predictor: Predictor) -> Mapping[str, Endpoint]:
    name = app.options.model_name
    handlers = V1(predictor, app.options, app.engine)
    explainer = Explainer(predictor, app.options, app.engine)
    return {
        "/v1/models": _get(_fixed({"models": [name]}), "v1"),
        f"/v1/models/{name}": _get(_readiness(app, {"name": name}), "v1"),
        f"/v1/models/{name}:predict": _post(handlers.predict, "v1"),
        f"/v1/models/{name}:explain": _post(explainer.explain, "v1"),
    }


def _v2(app: App, predictor: Predictor) -> Mapping[str, Endpoint]:
    name = app.options.model_name
    handlers = V2(predictor, app.options, app.engine)
    metadata = _get(_fixed(model_metadata(predictor, name)), "v2")
    ready = _get(_readiness(app, {"name": name}), "v2")
    infer = _post(handlers.infer, "v2")
    bases = [f"/v2/models/{name}"]
    if predictor.version is not None:
        bases.append(f"/v2/models/{name}/versions/{predictor.version}")
    routes = {"/v2/models": _get(_fixed({"models": [name]}), "v2")}
    for base in bases:
        routes |= {base: metadata, f"{base}/ready": ready, f"{base}/infer": infer}
    return routes


def _pages(app: App, predictor: Predictor) -> Mapping[str, Endpoint]:
    name = app.options.model_name
    document = orjson.dumps(openapi(predictor, app.options), option=orjson.OPT_INDENT_2)
    docs = docs_page(predictor, name, guarded=app.access.enabled)
    card = card_markdown(predictor, name)
    page = card_page(predictor, name, card)

    def show_docs(request: Request) -> Response:
        host = request.headers.get(b"host", b"")
        scheme = b"https" if app.options.tls_certificate else b"http"
        origin = b"%s://%s" % (scheme, host) if HOST.fullmatch(host) else ORIGIN.encode()
        return Response(200, docs.replace(ORIGIN.encode(), origin), HTML, trying.HEADERS)

    def show_card(request: Request) -> Response:
        if _prefers_html(request.headers.get(b"accept", b"")):
            return Response(200, page, HTML, PAGE_HEADERS)
        return Response(200, card, MARKDOWN, ((b"vary", b"accept"),))

    return {
        "/openapi.json": _get(_constant(document, JSON), "other"),
        "/docs": _get(show_docs, "other"),
        f"/v1/models/{name}/schema": _get(_fixed(schema_document(predictor, name)), "v1"),
        f"/v1/models/{name}/card": _get(show_card, "v1"),
    }


def not_found(path: str, app: App) -> Refused:
    """Return why nothing answers a path."""
    name = app.options.model_name
    parts = path.split("/")
    if len(parts) > 3 and parts[1] in ("v1", "v2") and parts[2] == "models":
        model = parts[3].partition(":")[0]
        if model != name:
            return Refused(404, f"unknown model {model[:80]!r}: this server has {name!r}")
        if len(parts) > 5 and parts[4] == "versions" and parts[5] != app.predictor.version:
            known = repr(app.predictor.version) if app.predictor.version is not None else "none, it is unregistered"
            return Refused(404, f"unknown version {parts[5][:80]!r} of model {name!r}: the version served is {known}")
    return Refused(404, f"nothing is at {path[:200]!r}; /docs lists what is")


def _prefers_html(accept: bytes) -> bool:
    return b"text/html" in accept and b"text/markdown" not in accept.partition(b"text/html")[0]


def _get(handler: Handler, protocol: str) -> Endpoint:
    return Endpoint({b"GET": handler}, protocol)


def _post(handler: Handler, protocol: str) -> Endpoint:
    return Endpoint({b"POST": handler}, protocol, guarded=True, predicts=True)


def _fixed(document: Any) -> Handler:
    return _constant(orjson.dumps(document), JSON)


def _constant(body: bytes, content_type: bytes) -> Handler:
    return lambda _: Response(200, body, content_type)


def _readiness(app: App, identity: Mapping[str, Any]) -> Handler:
    def answer(_: Request) -> Response:
        ready = app.ready
        return Response(200 if ready else 503, orjson.dumps({**identity, "ready": ready}))

    return answer
