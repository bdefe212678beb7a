"""The objects of the emulated cluster, every change of them in order, and what a deletion takes along.

True to the API conventions: resourceVersion, generation that follows the spec only, writes that change nothing are
none, finalizers hold an object back, owned objects go with their owner, and a namespace takes everything in it.
"""

from __future__ import annotations

import copy
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from resources import Kind, Object

Key = tuple[str, str, str]
"""Plural, namespace (empty without), name."""
OWN = ("uid", "creationTimestamp", "generation", "deletionTimestamp")
"""Metadata that clients cannot write."""


@dataclass(frozen=True)
class Change:
    """One write, as watches tell it: ADDED, MODIFIED or DELETED."""

    version: int
    type: str
    plural: str
    item: Object


class State:
    """All objects.

    Attributes:
        changed: Held during every read and write, and notified after every write.
        log: Every change since the start.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.objects: dict[Key, Object] = {}
        self.log: list[Change] = []
        self.version = 0

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        """Return an object, not a copy."""
        return self.objects.get((plural, namespace, name))

    def list(self, plural: str, namespace: str | None = None) -> list[Object]:
        """Return the objects of a type, not copies; None is all namespaces."""
        return [
            item
            for (kind, where, _), item in sorted(self.objects.items())
            if kind == plural and namespace in (None, where)
        ]

    def write(self, kind: Kind, namespace: str, item: Object, *, dry: bool = False) -> Object:
        """Store an object and return it as stored."""
        metadata = item["metadata"]
        key = kind.plural, namespace, metadata["name"]
        with self.changed:
            old = self.objects.get(key)
            item = {"apiVersion": kind.api_version, "kind": kind.kind, **item, "metadata": metadata}
            if kind.namespaced:
                metadata["namespace"] = namespace
            known = old["metadata"] if old else {}
            metadata |= {name: known[name] for name in OWN if name in known}
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", moment())
            if old is not None and content(old) == content(item):
                return old
            grown = old is None or wanted(old) != wanted(item)
            metadata["generation"] = known.get("generation", 0) + (1 if grown else 0)
            if dry:
                return item
            self.version += 1
            metadata["resourceVersion"] = str(self.version)
            if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
                self._drop(key, item)
            else:
                self.objects[key] = item
                self._tell("MODIFIED" if old else "ADDED", kind.plural, item)
            return item

    def remove(self, plural: str, namespace: str, name: str, *, orphan: bool = False) -> None:
        """Delete an object, once its finalizers are gone; with `orphan`, what it owns stays."""
        with self.changed:
            item = self.objects.get((plural, namespace, name))
            if item is None:
                return
            self.version += 1
            item = copy.deepcopy(item)
            item["metadata"]["resourceVersion"] = str(self.version)
            if orphan:
                for owned in self._owned(item):
                    owned["metadata"].pop("ownerReferences")
            if item["metadata"].get("finalizers"):
                item["metadata"].setdefault("deletionTimestamp", moment())
                self.objects[plural, namespace, name] = item
                self._tell("MODIFIED", plural, item)
            else:
                self._drop((plural, namespace, name), item)

    def _drop(self, key: Key, item: Object) -> None:
        del self.objects[key]
        self._tell("DELETED", key[0], item)
        for owned in self._owned(item):
            metadata = owned["metadata"]
            self.remove(_plural_of(self.objects, owned), metadata.get("namespace", ""), metadata["name"])
        if key[0] == "namespaces":
            for plural, namespace, name in list(self.objects):
                if namespace == key[2]:
                    self.remove(plural, namespace, name)

    def _owned(self, owner: Object) -> list[Object]:
        return [
            item
            for item in self.objects.values()
            if any(known["uid"] == owner["metadata"]["uid"] for known in item["metadata"].get("ownerReferences", []))
        ]

    def _tell(self, kind: str, plural: str, item: Object) -> None:
        self.log.append(Change(self.version, kind, plural, copy.deepcopy(item)))
        self.changed.notify_all()


def moment() -> str:
    """Return the time, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def content(item: Object) -> Object:
    """Return what a write would have to change."""
    own = (*OWN[:3], "resourceVersion", "managedFields", "namespace")
    metadata = {key: value for key, value in item["metadata"].items() if key not in own}
    return {**item, "metadata": metadata}


def wanted(item: Object) -> dict[str, Any]:
    """Return what a change of raises the generation."""
    return {key: value for key, value in item.items() if key not in ("metadata", "status", "apiVersion", "log")}


def _plural_of(objects: dict[Key, Object], wanted: Object) -> str:
    return next(plural for (plural, _, _), item in objects.items() if item is wanted)
