"""A small stateful Kubernetes API over HTTP, for tests: the real kubectl, helm and Python client talk to it.

It is not Kubernetes: of admission there are KServe's webhooks only, and there is no scheduler, no kubelet, no right
that could be missing. What it keeps true to the API conventions is what releases and charts rely on: resourceVersion
conflicts, generation, server-side apply with field owners, strict validation against the CRDs' schemas and CEL rules
and those of the core kinds, status apart from spec, selectors, watches, finalizers, owners, dry runs, the service
proxy. Faults can be injected before a
request is handled. The parts: `state` (objects), `patches`, `discovery`, `watch`, `protobuf`, `transport` (HTTP).
"""

from __future__ import annotations

import copy
import re
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import admission
import corekinds
import crds
import jsonpatch
import patches
import resources
import transport
from patches import Clash, Owners
from resources import Kind, Object, selected
from state import Key, State, moment

Reply = tuple[int, dict[str, str]]
NAMESPACES = ("default", "kube-system", "kserve", "kubeflow")
DEFINITIONS = "customresourcedefinitions"


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str, name: str = "", causes: tuple[Object, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.body: Object = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        self.body["message"] = message
        if name:
            self.body["details"] = {"name": name}
        if causes:
            self.body["details"] = {"name": name, "causes": list(causes)}


class ApiServer:
    """An API server.

    Attributes:
        namespace: That `get`, `list`, `put` and `remove` are about.
        fault: Asked before each request is handled; a returned (status, headers) is answered instead, and status 0
            closes the connection without an answer.
        after: Called after each write, with method and plural.
        ports: Service name -> port on loopback, for the service proxy.
        logs: Pod name -> file with its log, for pods without one in their object.
        absent: Plurals this cluster does not know.
    """

    def __init__(self, crd_folder: Path | None = None, namespace: str = "default") -> None:
        self.state = State()
        self.changed = self.state.changed
        self.namespace = namespace
        self.fault: Callable[[str, str], Reply | None] = lambda method, path: None
        self.after: Callable[[str, str], None] = lambda method, plural: None
        self.ports: dict[str, int] = {}
        self.logs: dict[str, Path] = {}
        self.absent: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.closed = False
        self._crds = crd_folder
        self._kinds = list(resources.known(resources.CORE, defined=False))
        self._owners: dict[Key, Owners] = {}
        self._install(crd_folder)
        corekinds.errors({"apiVersion": "v1", "kind": "Node", "metadata": {}}, strict=True)  # reads the schemas
        self._server = transport.Server(("127.0.0.1", 0), transport.handler(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def kinds(self) -> list[Kind]:
        """The types this cluster knows."""
        return [kind for kind in self._kinds if kind.plural not in self.absent]

    def close(self) -> None:
        """Stop listening."""
        self.closed = True
        self._server.shutdown()
        self._server.server_close()

    def get(self, plural: str, name: str) -> Object | None:
        """Return a copy of an object."""
        with self.changed:
            return copy.deepcopy(self.state.find(plural, self.namespace, name))

    def list(self, plural: str) -> list[Object]:
        """Return copies of all objects of a type."""
        with self.changed:
            return copy.deepcopy(self.state.list(plural, self.namespace))

    def put(self, plural: str, item: Object) -> Object:
        """Write an object as a controller would: generation follows the spec, nothing is checked."""
        return self.state.write(self._kind(plural), self.namespace, item)

    def set_status(self, plural: str, name: str, status: Object) -> None:
        """Write the status of an object, if it is still there."""
        with self.changed:
            if found := self.state.find(plural, self.namespace, name):
                self.put(plural, {**copy.deepcopy(found), "status": status})

    def remove(self, plural: str, name: str) -> None:
        """Delete an object, if it is there."""
        self.state.remove(plural, self.namespace, name)

    def find_kind(self, match: re.Match[str]) -> Kind:
        """Return the type that a path names.

        Raises:
            Refused: There is none.
        """
        for kind in self.kinds:
            named = (kind.group, kind.plural) == (match["group"] or "", match["plural"])
            if named and kind.version == (match["core"] or match["version"]):
                return kind
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def handle(self, method: str, match: re.Match[str], query: dict[str, str], body: Any, patch: str = "") -> Object:
        """Perform a request and return the answer.

        Args:
            patch: The content type of a PATCH.

        Raises:
            Refused: As a real API server would.
        """
        kind = self.find_kind(match)
        namespace, name = match["namespace"] or "", match["name"] or ""
        with self.changed:
            if not name:
                return self._collection(method, kind, match["namespace"], query, body)
            found = self.state.find(kind.plural, namespace, name)
            if method == "PATCH" and patch.startswith("application/apply-patch"):
                return self._apply(kind, namespace, name, body, query, match["sub"] == "status")
            if found is None:
                raise Refused(404, "NotFound", f'{_named(kind)} "{name}" not found', name)
            if method == "GET":
                return self._shown(kind, found)
            if method == "DELETE":
                return self._delete(kind, found, {**query, **(body or {})})
            new = _patched(found, body, patch) if method == "PATCH" else body
            return self._update(kind, found, new, query, match["sub"] == "status")

    def _collection(self, method: str, kind: Kind, namespace: str | None, query: dict[str, str], body: Any) -> Object:
        if method == "POST":
            return self._create(kind, namespace or "", body, query)
        wanted = query.get("labelSelector", ""), query.get("fieldSelector", "")
        items = [item for item in self.state.list(kind.plural, namespace) if selected(item, *wanted)]
        if method == "DELETE":
            for item in items:
                self._delete(kind, item, query)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        metadata = {"resourceVersion": str(self.state.version)}
        shown = [self._shown(kind, item) for item in items]
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": shown}

    def _create(self, kind: Kind, namespace: str, body: Object, query: dict[str, str]) -> Object:
        metadata = body["metadata"]
        metadata.setdefault("name", metadata.get("generateName", "") + uuid.uuid4().hex[:5])
        name = metadata["name"]
        if self.state.find(kind.plural, namespace, name) is not None:
            raise Refused(409, "AlreadyExists", f'{_named(kind)} "{name}" already exists', name)
        owners: Owners = {}
        patches.update({"metadata": {}}, body, query.get("fieldManager") or "client", owners)
        return self._store(kind, namespace, {k: v for k, v in body.items() if k != "status"}, query, owners)

    def _update(self, kind: Kind, found: Object, new: Object, query: dict[str, str], status: bool) -> Object:
        namespace, name = found["metadata"].get("namespace", ""), found["metadata"]["name"]
        given = new["metadata"].get("resourceVersion")
        if given and given != found["metadata"]["resourceVersion"]:
            message = f'Operation cannot be fulfilled on {_named(kind)} "{name}": the object has been modified'
            raise Refused(409, "Conflict", f"{message}; please apply your changes to the latest version", name)
        item = {**found, "status": new.get("status")} if status else {**new, "status": found.get("status")}
        item = copy.deepcopy({key: value for key, value in item.items() if value is not None})
        owners = self._owners.setdefault((kind.plural, namespace, name), {})
        if not status:
            patches.update(found, item, query.get("fieldManager") or "client", owners)
        return self._store(kind, namespace, item, query, owners, admitted=status)

    def _apply(
        self, kind: Kind, namespace: str, name: str, body: Object, query: dict[str, str], status: bool
    ) -> Object:
        found = self.state.find(kind.plural, namespace, name)
        if status:
            return self._update(kind, found or {}, {**(found or {}), "status": body.get("status")}, query, True)
        manager = query.get("fieldManager")
        if not manager:
            raise Refused(400, "BadRequest", "PatchOptions is invalid: fieldManager: Required value")
        self._validate(body, strict=query.get("fieldValidation") == "Strict")
        owners = copy.deepcopy(self._owners.get((kind.plural, namespace, name), {}))
        old = found or {"metadata": {"name": name}}
        body = {key: value for key, value in body.items() if key != "status"}
        try:
            item = patches.apply(old, body, manager, owners, force=query.get("force") == "true")
        except Clash as clash:
            causes = tuple({"reason": "FieldManagerConflict", "field": field} for field in clash.fields)
            raise Refused(409, "Conflict", str(clash), name, causes) from clash
        return self._store(kind, namespace, item, query, owners, checked=True)

    def _store(
        self,
        kind: Kind,
        namespace: str,
        item: Object,
        query: dict[str, str],
        owners: Owners,
        *,
        checked: bool = False,
        admitted: bool = False,
    ) -> Object:
        item = copy.deepcopy(item)
        if not checked:
            self._validate(
                {"apiVersion": kind.api_version, "kind": kind.kind, **item},
                strict=query.get("fieldValidation") == "Strict",
            )
        if kind.namespaced and self.state.find("namespaces", "", namespace) is None:
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found', namespace)
        if kind.plural == "secrets" and "stringData" in item:
            item = patches.with_encoded(item)
        if kind.plural == "inferenceservices" and not admitted:  # no webhook is asked about a status
            item = self._admitted(namespace, item)
        item["metadata"]["managedFields"] = patches.managed(owners, kind.api_version, moment())
        dry = "dryRun" in query
        stored = self.state.write(kind, namespace, item, dry=dry)
        if not dry:
            self._owners[kind.plural, namespace, item["metadata"]["name"]] = owners
            if kind.plural == DEFINITIONS:
                self._define(stored)
        return self._shown(kind, stored)

    def _admitted(self, namespace: str, item: Object) -> Object:
        """Return an InferenceService as KServe's webhooks let it pass."""
        item = admission.defaulted(item)
        name = item["metadata"]["name"]
        if reason := admission.refusal(item, self.state.find("inferenceservices", namespace, name)):
            raise Refused(403, "Forbidden", admission.DENIED + reason, name)
        return item

    def _delete(self, kind: Kind, found: Object, options: Object) -> Object:
        namespace, name = found["metadata"].get("namespace", ""), found["metadata"]["name"]
        for field, wanted in (options.get("preconditions") or {}).items():
            if wanted and found["metadata"].get(field) != wanted:
                raise Refused(409, "Conflict", f'{_named(kind)} "{name}": precondition failed: {field}', name)
        if not options.get("dryRun"):
            self.state.remove(kind.plural, namespace, name, orphan=options.get("propagationPolicy") == "Orphan")
            if self.state.find(kind.plural, namespace, name) is None:
                self._owners.pop((kind.plural, namespace, name), None)
                if kind.plural == DEFINITIONS:
                    self._kinds = [one for one in self._kinds if f"{one.plural}.{one.group}" != name]
        details = {"name": name, "kind": kind.plural, "uid": found["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _validate(self, body: Object, *, strict: bool) -> None:
        """Check a written object: unknown fields when the client wants to know, types and rules always."""
        found = crds.errors(self._crds, body) if self._crds else []
        found = found + corekinds.errors(body, strict=strict)
        unknown = [error for error in found if error.startswith("unknown field")]
        if unknown and strict:
            raise Refused(400, "BadRequest", f"strict decoding error: {unknown[0]}")
        if wrong := [error for error in found if error not in unknown]:
            raise Refused(422, "Invalid", f"{body['kind']} is invalid: {'; '.join(wrong)}"[:2000])

    def _install(self, folder: Path | None) -> None:
        for namespace in NAMESPACES:
            self.state.write(
                self._kind("namespaces"), "", {"metadata": {"name": namespace}, "status": {"phase": "Active"}}
            )
        for definition in crds.definitions(folder) if folder else ():
            metadata = {**definition["metadata"], "uid": str(uuid.uuid4()), "resourceVersion": "1", "generation": 1}
            known = {**definition, "metadata": {**metadata, "creationTimestamp": moment()}}
            self.state.objects[DEFINITIONS, "", metadata["name"]] = known  # too large to be logged and copied for each
            self._define(known)
        names = {(kind.group, kind.plural) for kind in self._kinds}
        extra = resources.known(resources.INSTALLED, defined=True)
        self._kinds += [kind for kind in extra if (kind.group, kind.plural) not in names]

    def _define(self, definition: Object) -> None:
        """Serve what a CustomResourceDefinition defines."""
        names = {kind.plural for kind in resources.of_definition(definition)}
        self._kinds = [kind for kind in self._kinds if kind.plural not in names]
        self._kinds += resources.of_definition(definition)
        established = [{"type": name, "status": "True"} for name in ("Established", "NamesAccepted")]
        definition["status"] = {"conditions": established}

    def _kind(self, plural: str) -> Kind:
        return next(kind for kind in self._kinds if kind.plural == plural)

    def _shown(self, kind: Kind, item: Object) -> Object:
        """Return a copy, in the version that was asked for."""
        return {**copy.deepcopy(item), "apiVersion": kind.api_version}

    def proxy(self, match: re.Match[str], method: str, raw: bytes) -> tuple[int, bytes]:
        """Forward to a pod of a Service."""
        port = self.ports.get(match["name"].split(":")[0])
        if port is None:
            return 503, b"no endpoints available for service"
        url = f"http://127.0.0.1:{port}{match['rest'] or '/'}"
        request = urllib.request.Request(url, raw or None, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError as error:
            return 502, str(error).encode()

    def log(self, pod: str) -> bytes:
        """Return what a pod has logged."""
        if pod in self.logs:
            return self.logs[pod].read_bytes()
        return str((self.get("pods", pod) or {}).get("log", "")).encode()


def _patched(found: Object, body: Any, patch: str) -> Object:
    found = copy.deepcopy(found)
    if patch.startswith("application/json-patch"):
        return dict(jsonpatch.apply_patch(found, body))
    new = patches.strategic(found, body) if "strategic" in patch else patches.merged(found, body)
    if "resourceVersion" not in body.get("metadata", {}):
        new["metadata"].pop("resourceVersion", None)
    return dict(new)


def _named(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural
