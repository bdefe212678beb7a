"""What clients ask before anything else: versions, groups, resources, and which query parameters a server takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from resources import Kind, Object

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0-emulated",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def answer(path: str, kinds: Sequence[Kind]) -> Object | None:
    """Return what a path of discovery holds, None when it is none of those."""
    fixed: Mapping[str, Object] = {
        "/version": VERSION,
        "/healthz": {},
        "/livez": {},
        "/readyz": {},
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    }
    if path in fixed:
        return fixed[path]
    if path == "/apis":
        return _groups(kinds)
    if path == "/openapi/v3":
        return {"paths": {root.strip("/"): {"serverRelativeURL": f"/openapi/v3{root}"} for root in _roots(kinds)}}
    root = path.removeprefix("/openapi/v3")
    here = [kind for kind in kinds if kind.root == root]
    if not here:
        return None
    return _resources(here) if root == path else _parameters(here)


def _roots(kinds: Iterable[Kind]) -> list[str]:
    return list(dict.fromkeys(kind.root for kind in kinds))


def _groups(kinds: Iterable[Kind]) -> Object:
    """Return the groups; the version that was registered first is preferred."""
    versions: dict[str, list[Object]] = {}
    for kind in kinds:
        entry = {"groupVersion": kind.api_version, "version": kind.version}
        if kind.group and entry not in versions.setdefault(kind.group, []):
            versions[kind.group].append(entry)
    groups = [
        {"name": name, "versions": found, "preferredVersion": found[0]} for name, found in versions.items() if found
    ]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resources(kinds: Sequence[Kind]) -> Object:
    entries: list[Object] = []
    for kind in kinds:
        common = {"namespaced": kind.namespaced, "kind": kind.kind}
        short = {"shortNames": [kind.short]} if kind.short else {}
        entries.append({"name": kind.plural, "singularName": kind.kind.lower(), "verbs": VERBS, **common, **short})
        entries.append(
            {"name": f"{kind.plural}/status", "singularName": "", "verbs": ["get", "patch", "update"], **common}
        )
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": kinds[0].api_version,
        "resources": entries,
    }


def _parameters(kinds: Sequence[Kind]) -> Object:
    """Return the part of OpenAPI v3 by which clients learn that dry runs and field validation are done here."""
    taken = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    paths = {}
    for kind in kinds:
        where = "/namespaces/{namespace}" if kind.namespaced else ""
        named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        patch = {"parameters": taken, "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": named}
        paths[f"{kind.root}{where}/{kind.plural}/{{name}}"] = {"patch": {**patch, "responses": {}}}
    info = {"title": "emulator", "version": "1"}
    return {"openapi": "3.0.0", "info": info, "components": {"schemas": {}}, "paths": paths}
