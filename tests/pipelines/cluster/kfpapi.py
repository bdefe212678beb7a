"""An emulator of a KFP API server: pipelines, versions, experiments, runs, recurring runs, pod logs, over HTTP.

It is no Kubeflow Pipelines: nothing is executed; runs go through the states that a test writes down, one look at a
time. Shapes and statuses follow KFP 2.17's API server as far as its generated client and our code can tell.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from pipelines.kfpserver.connection import Pace

PACE = Pace(tries=3, first_wait=0.01, longest_wait=0.02, connect=2.0, read=2.0, poll=0.01, outage=0.2)
"""For a server that is next door and a test that has no time."""
NEVER = "1970-01-01T00:00:00Z"
Item = dict[str, Any]


class Answer(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str) -> None:
        """Keep what goes over the wire."""
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """Something that goes wrong, `times` times, with requests that a pattern fits.

    Attributes:
        request: Found in `METHOD /path`.
        after: Whether the server does what was asked before it fails.
        drop: Close the connection instead of answering.
    """

    request: str
    status: int = 503
    times: int = 1
    after: bool = False
    drop: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"message": "not now"}'


@dataclass
class Kfp:
    """The state of the emulated server.

    Attributes:
        steps: What the looks at a new run find, one after the other; the last one stays.
        logs: Pod -> log.
        requests: `METHOD /path` of everything that was asked.
    """

    multi_user: bool = False
    version: str = "2.17.0"
    token: str = ""
    steps: list[Item] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    pipelines: dict[str, Item] = field(default_factory=dict)
    versions: dict[str, Item] = field(default_factory=dict)
    experiments: dict[str, Item] = field(default_factory=dict)
    runs: dict[str, Item] = field(default_factory=dict)
    schedules: dict[str, Item] = field(default_factory=dict)
    url: str = ""
    clock: int = 0

    def asked(self, pattern: str) -> int:
        """Return how many requests a pattern fits."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def moment(self) -> str:
        """Return a time later than all before."""
        self.clock += 1
        return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.clock)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def handle(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> Any:
        """Return the answer to a request: JSON, or text."""
        for pattern, action in ROUTES:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                return action(
                    self, found.groupdict(), query, body if kind.startswith("multipart") else _json(body), kind
                )
        raise Answer(404, "Not Found")


def _json(body: bytes) -> Item:
    return dict(json.loads(body)) if body else {}


def _listed(found: list[Item], query: dict[str, str], key: str) -> Item:
    """Return one page, filtered by display name and sorted by age as asked."""
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        assert predicate["operation"] in ("EQUALS", 1), predicate
        found = [item for item in found if item.get(predicate["key"]) == predicate["stringValue"]]
    found = sorted(found, key=lambda item: item["created_at"], reverse=query.get("sort_by", "").endswith("desc"))
    start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
    more = {"next_page_token": str(start + size)} if start + size < len(found) else {}
    return {key: found[start : start + size], "total_size": len(found), **more}


def _get(items: dict[str, Item], identifier: str, kind: str) -> Item:
    if identifier not in items:
        raise Answer(404, f"{kind} {identifier} not found")
    return items[identifier]


def _healthz(kfp: Kfp, names: Item, query: dict[str, str], body: Any, kind: str) -> Item:
    return {"commit_sha": "0", "tag_name": kfp.version, "multi_user": kfp.multi_user, "pipeline_store": "database"}


def _create_pipeline(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    if any(item["name"] == body["name"] for item in kfp.pipelines.values()):
        raise Answer(409, "the pipeline exists already")
    if kfp.multi_user and not body.get("namespace"):
        raise Answer(400, "a namespace is needed")
    made = {**body, "pipeline_id": str(uuid.uuid4()), "created_at": kfp.moment()}
    kfp.pipelines[made["pipeline_id"]] = made
    return made


def _pipeline_of_name(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    found = [item for item in kfp.pipelines.values() if item["name"] == names["name"]]
    if not found or (kfp.multi_user and found[0]["namespace"] != query.get("namespace")):
        raise Answer(404, f"no pipeline {names['name']}")
    return found[0]


def _upload(kfp: Kfp, names: Item, query: dict[str, str], body: bytes, kind: str) -> Item:
    made = _create_pipeline(kfp, names, {}, {"name": query["name"], "display_name": query["name"]}, "")
    _upload_version(kfp, names, {"name": query["name"], "pipelineid": made["pipeline_id"]}, body, kind)
    return made


def _upload_version(kfp: Kfp, names: Item, query: dict[str, str], body: bytes, kind: str) -> Item:
    _get(kfp.pipelines, query["pipelineid"], "pipeline")
    if any(item["name"] == query["name"] for item in kfp.versions.values()):
        raise Answer(500, "Failed to create a pipeline version")  # as the real one, which means 409
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    part = next(iter(message.iter_parts()))
    documents = list(yaml.load_all(part.get_payload(decode=True), Loader=yaml.CSafeLoader))
    content = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    made = {
        "pipeline_id": query["pipelineid"],
        "pipeline_version_id": str(uuid.uuid4()),
        "name": query["name"],
        "display_name": query["name"],
        "description": query.get("description", ""),
        "created_at": kfp.moment(),
        "pipeline_spec": content,
    }
    kfp.versions[made["pipeline_version_id"]] = made
    return made


def _create_experiment(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    if any(item["display_name"] == body["display_name"] for item in kfp.experiments.values()):
        raise Answer(409, "the experiment exists already")
    made = {**body, "experiment_id": str(uuid.uuid4()), "created_at": kfp.moment()}
    kfp.experiments[made["experiment_id"]] = made
    return made


def _create_run(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    _check(kfp, body)
    made = {**body, "run_id": str(uuid.uuid4()), "created_at": kfp.moment(), "finished_at": NEVER, "state": "PENDING"}
    made["script"] = list(kfp.steps)
    kfp.runs[made["run_id"]] = made
    return _shown(kfp, made)


def _check(kfp: Kfp, body: Item) -> None:
    """Refuse what KFP refuses: unknown references and parameters, and values outside a parameter's list."""
    _get(kfp.experiments, body["experiment_id"], "experiment")
    where = body.get("pipeline_version_reference")
    if where is None:
        assert body["pipeline_spec"]
        return
    spec = _get(kfp.versions, where["pipeline_version_id"], "pipeline version")["pipeline_spec"]
    declared = spec.get("pipeline_spec", spec)["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in body.get("runtime_config", {}).get("parameters", {}).items():
        if name not in declared:
            raise Answer(400, f"parameter {name} is not declared")
        literals = declared[name].get("literals")
        if literals and value not in literals:
            raise Answer(400, f"parameter {name} value {value} does not match any of the allowed literal values")


def _shown(kfp: Kfp, run: Item) -> Item:
    return {key: value for key, value in run.items() if key != "script"}


def _get_run(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    run = _get(kfp.runs, names["id"], "run")
    if run["script"]:
        run.update(run["script"][0] if len(run["script"]) == 1 else run["script"].pop(0))
    return _shown(kfp, run)


def _list_runs(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    if kfp.multi_user and not (query.get("namespace") or query.get("experiment_id")):
        raise Answer(400, "a namespace is needed")
    wanted = query.get("experiment_id")
    return _listed(
        [_shown(kfp, run) for run in kfp.runs.values() if wanted in (None, run["experiment_id"])], query, "runs"
    )


def _terminate(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    _get(kfp.runs, names["id"], "run").update(state="CANCELED", script=[])
    return {}


def _create_schedule(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    _check(kfp, body)
    if not 1 <= int(body["max_concurrency"]) <= 10 or not body.get("trigger"):
        raise Answer(400, "max_concurrency is 1 to 10 and a trigger is needed")
    made = {**body, "recurring_run_id": str(uuid.uuid4()), "created_at": kfp.moment()}
    made["status"] = "ENABLED" if made.pop("mode") == "ENABLE" else "DISABLED"
    made.setdefault("service_account", "pipeline-runner")
    kfp.schedules[made["recurring_run_id"]] = made
    return made


def _delete_schedule(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    _get(kfp.schedules, names["id"], "recurring run")
    del kfp.schedules[names["id"]]
    if query.get("propagation_policy") != "ORPHAN":  # the garbage collector takes the workflows along
        for run in kfp.runs.values():
            if run.get("recurring_run_id") == names["id"] and run["state"] == "RUNNING":
                run.update(state="FAILED", script=[])
    return {}


def _switch(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
    _get(kfp.schedules, names["id"], "recurring run")["status"] = f"{names['state'].upper()}D"
    return {}


def _log(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> str:
    """Answer 200 in any case, as the real one."""
    pod = names["pod"]
    return kfp.logs.get(pod) or json.dumps({"error_message": f"no pod {pod}", "error_details": f"no pod {pod}"})


def _lister(items: str, key: str, parent: str = "") -> Callable[..., Item]:
    def act(kfp: Kfp, names: Item, query: dict[str, str], body: Item, kind: str) -> Item:
        found = [item for item in getattr(kfp, items).values() if not parent or item[parent] == names["id"]]
        return _listed(found, query, key)

    return act


def _getter(items: str, group: str = "id") -> Callable[..., Item]:
    return lambda kfp, names, query, body, kind: _get(getattr(kfp, items), names[group], items[:-1])


API = "/apis/v2beta1"
ROUTES: list[tuple[str, Callable[..., Any]]] = [
    (f"GET {API}/healthz", _healthz),
    (f"POST {API}/pipelines", _create_pipeline),
    (f"GET {API}/pipelines", _lister("pipelines", "pipelines")),
    (f"POST {API}/pipelines/upload", _upload),
    (f"POST {API}/pipelines/upload_version", _upload_version),
    (f"GET {API}/pipelines/names/(?P<name>[^/]+)", _pipeline_of_name),
    (f"GET {API}/pipelines/(?P<id>[^/]+)", _getter("pipelines")),
    (f"GET {API}/pipelines/(?P<id>[^/]+)/versions", _lister("versions", "pipeline_versions", "pipeline_id")),
    (f"GET {API}/pipelines/[^/]+/versions/(?P<id>[^/]+)", _getter("versions")),
    (f"POST {API}/experiments", _create_experiment),
    (f"GET {API}/experiments", _lister("experiments", "experiments")),
    (f"GET {API}/experiments/(?P<id>[^/]+)", _getter("experiments")),
    (f"POST {API}/runs", _create_run),
    (f"GET {API}/runs", _list_runs),
    (f"GET {API}/runs/(?P<id>[^/:]+)", _get_run),
    (f"POST {API}/runs/(?P<id>[^/:]+):terminate", _terminate),
    (f"POST {API}/recurringruns", _create_schedule),
    (f"GET {API}/recurringruns", _lister("schedules", "recurringRuns")),
    (f"GET {API}/recurringruns/(?P<id>[^/:]+)", _getter("schedules")),
    (f"DELETE {API}/recurringruns/(?P<id>[^/:]+)", _delete_schedule),
    (f"POST {API}/recurringruns/(?P<id>[^/:]+):(?P<state>enable|disable)", _switch),
    ("GET /apis/v1alpha1/runs/(?P<id>[^/]+)/nodes/(?P<pod>[^/]+)/log", _log),
]


def serve(kfp: Kfp, tls: ssl.SSLContext | None = None) -> Iterator[Kfp]:
    """Yield the state while the server runs on a free port of the loopback."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            where = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            with lock:
                kfp.requests.append(f"{self.command} {where.path}")
                kfp.queries.append(query)
                status, content, headers = self.result(where.path, query, body)
            if status == 0:
                self.close_connection = True
                return
            raw = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(raw)), "Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def result(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
            if kfp.token and self.headers.get("authorization") != f"Bearer {kfp.token}":
                return 401, {"message": "who are you?"}, {}
            fault = next((f for f in kfp.faults if f.times and re.search(f.request, f"{self.command} {path}")), None)
            if fault is not None:
                fault.times -= 1
                if not fault.after:
                    return (0 if fault.drop else fault.status), fault.body, fault.headers
            try:
                content = kfp.handle(self.command, path, query, body, self.headers.get("Content-Type", ""))
            except Answer as error:
                return error.status, {"error": str(error), "message": str(error), "code": 5}, {}
            if fault is not None:
                return (0 if fault.drop else fault.status), fault.body, fault.headers
            return 200, content, {}

        do_GET = answer  # noqa: N815 - the standard library's names
        do_POST = answer  # noqa: N815
        do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    kfp.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield kfp
    finally:
        server.shutdown()
        server.server_close()
