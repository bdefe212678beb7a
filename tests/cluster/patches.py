"""How a patch changes an object: merge and strategic merge patches, and server-side apply with its field owners."""

from __future__ import annotations

import base64
import copy
from typing import Any

from resources import Object

Path = tuple[str, ...]
Owners = dict[tuple[str, str], set[Path]]
"""(manager, operation) -> the fields it owns."""
NAMED = ("name", "containerPort", "port", "mountPath", "type")
"""Keys by which a strategic merge finds the same entry of a list."""


class Clash(Exception):
    """Another manager owns a field that is applied with another value."""

    def __init__(self, manager: str, fields: list[str]) -> None:
        super().__init__(f'Apply failed with {len(fields)} conflict: conflict with "{manager}": {fields[0]}')
        self.fields = fields


def apply(old: Object, body: Object, manager: str, owners: Owners, *, force: bool) -> Object:
    """Return what server-side apply makes of an object: what this manager applied before and does not now goes away.

    Lists are atomic, which they are in most of the schemas here.

    Args:
        owners: Brought up to date.

    Raises:
        Clash: Without `force`.
    """
    mine, now = (manager, "Apply"), set(_owned(body))
    for other, fields in owners.items():
        differing = [path for path in sorted(fields & now) if other != mine and _at(old, path) != _at(body, path)]
        if differing and not force:
            raise Clash(other[0], ["." + ".".join(path) for path in differing])
        fields.difference_update(differing)
    new, before = copy.deepcopy(old), owners.get(mine, set())
    kept = set().union(*(fields for other, fields in owners.items() if other != mine))
    for path in sorted(before - now - kept, key=len, reverse=True):
        _forget(new, path)
    owners[mine] = now
    return dict(merged(new, body))


def update(old: Object, new: Object, manager: str, owners: Owners) -> None:
    """Give the fields that an update changed to its manager."""
    changed = {path for path in _owned(new) if _at(old, path) != _at(new, path)}
    for fields in owners.values():
        fields -= changed
    if changed:
        owners.setdefault((manager, "Update"), set()).update(changed)


def managed(owners: Owners, api_version: str, time: str) -> list[Object]:
    """Return `metadata.managedFields`."""
    entries = []
    for (manager, operation), paths in owners.items():
        tree: Object = {}
        for path in sorted(paths):
            node = tree
            for key in path:
                node = node.setdefault(f"f:{key}", {})
        facts = {"manager": manager, "operation": operation, "apiVersion": api_version, "time": time}
        entries.append({**facts, "fieldsType": "FieldsV1", "fieldsV1": tree})
    return [entry for entry in entries if entry["fieldsV1"]]


def with_encoded(secret: Object) -> Object:
    """Return a Secret whose `stringData` is where it is kept."""
    plain = secret.get("stringData") or {}
    data = {name: base64.b64encode(value.encode()).decode() for name, value in plain.items()}
    kept = {key: value for key, value in secret.items() if key != "stringData"}
    return {**kept, "data": {**(secret.get("data") or {}), **data}}


def merged(old: Any, new: Any) -> Any:
    """Merge dicts; everything else is replaced, and None takes away."""
    if not isinstance(new, dict):
        return copy.deepcopy(new)
    out = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def strategic(old: Any, new: Any) -> Any:
    """Merge as `merged`, and lists of named entries entry by entry."""
    if isinstance(old, list) and isinstance(new, list) and new and all(isinstance(entry, dict) for entry in new):
        key = next((name for name in NAMED if all(name in entry for entry in new)), None)
        if key is None:
            return copy.deepcopy(new)
        out = list(old)
        for entry in new:
            place = next((i for i, known in enumerate(out) if known.get(key) == entry[key]), None)
            if entry.get("$patch") == "delete":
                out = [known for known in out if known.get(key) != entry[key]]
            elif place is None:
                out.append(copy.deepcopy(entry))
            else:
                out[place] = strategic(out[place], entry)
        return out
    if not isinstance(new, dict):
        return copy.deepcopy(new)
    out = dict(old) if isinstance(old, dict) else {}
    for name, value in new.items():
        if name.startswith("$"):
            continue
        if value is None:
            out.pop(name, None)
        else:
            out[name] = strategic(out.get(name), value)
    return out


def _owned(item: Object) -> list[Path]:
    """Return the leaves that somebody can own."""
    metadata = {key: item["metadata"][key] for key in ("labels", "annotations") if item["metadata"].get(key)}
    rest = {key: value for key, value in item.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    return _leaves(rest | ({"metadata": metadata} if metadata else {}), ())


def _leaves(item: Any, path: Path) -> list[Path]:
    if isinstance(item, dict) and item:
        return [leaf for key, value in item.items() for leaf in _leaves(value, (*path, key))]
    return [path] if path else []


def _at(item: Any, path: Path) -> Any:
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _forget(item: Object, path: Path) -> None:
    """Remove a leaf, and what it leaves empty."""
    for depth in range(len(path), 0, -1):
        parent = item
        for key in path[: depth - 1]:
            parent = parent.get(key, {})
        if depth == len(path) or parent.get(path[depth - 1]) == {}:
            parent.pop(path[depth - 1], None)
