"""Checks objects against the schemas of CustomResourceDefinitions: closed structures, types, defaults, CEL rules.

Why not an existing validator: those for core kinds let custom resources through unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cel
import yaml
from jsonschema import Draft7Validator

CRDS = Path(__file__).resolve().parents[3] / "shared" / "crds"
"""Where they are, if they are."""
Key = tuple[str, str]
DROPPED = ("nullable", "format", "example", "description", "default", "title")


@cache
def definitions(folder: Path) -> tuple[dict[str, Any], ...]:
    """Return the CustomResourceDefinitions in a folder; they are not to be changed."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*.yaml")):
        with path.open() as stream:
            found += yaml.load_all(stream, yaml.CSafeLoader)
    return tuple(found)


@cache
def load(folder: Path) -> dict[Key, dict[str, Any]]:
    """Return the schema of every (apiVersion, kind) that a folder of CRDs defines."""
    found = {}
    for crd in definitions(folder):
        for version in crd["spec"]["versions"]:
            key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
            found[key] = version["schema"]["openAPIV3Schema"]
    return found


@cache
def _validator(folder: Path, key: Key) -> Draft7Validator:
    return Draft7Validator(_closed(load(folder)[key], root=True))


def errors(folder: Path, item: dict[str, Any]) -> list[str]:
    """Return what is wrong with a custom resource; core kinds are not known here and have no errors."""
    key = item["apiVersion"], item["kind"]
    if key not in load(folder):
        return []
    found = []
    for error in _validator(folder, key).iter_errors(item):
        where = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            unknown = sorted(set(error.instance) - set(error.schema.get("properties", {})))
            found += [f'unknown field "{where}.{name}"' for name in unknown]
        else:
            found.append(f"{where}: {error.message[:200]}")
    return found or list(_broken_rules(load(folder)[key], _with_defaults(load(folder)[key], item), ""))


def _with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """Return a copy with the schema's defaults, which rules are evaluated on."""
    if isinstance(value, list):
        return [_with_defaults(schema.get("items", {}), inner) for inner in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    filled = {name: below["default"] for name, below in known.items() if "default" in below} | value
    shared = schema.get("additionalProperties")
    below = shared if isinstance(shared, dict) else {}
    return {name: _with_defaults(known.get(name, below), inner) for name, inner in filled.items()}


def _closed(schema: Any, *, root: bool = False) -> Any:
    """Return the JSON schema that a structural schema stands for: objects without unknown fields."""
    if not isinstance(schema, dict):
        return schema
    out = {key: value for key, value in schema.items() if key not in DROPPED and not key.startswith("x-")}
    open_ended = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if "items" in out:
        out["items"] = _closed(out["items"])
    if isinstance(out.get("additionalProperties"), dict):
        out["additionalProperties"] = _closed(out["additionalProperties"])
    if "properties" in out:
        out["properties"] = {name: _closed(value) for name, value in out["properties"].items()}
    if root:
        out["properties"]["metadata"] = {"type": "object"}
    if out.get("type") == "object" and not open_ended and "additionalProperties" not in out:
        embedded = schema.get("x-kubernetes-embedded-resource") or (root and "properties" not in out)
        out["additionalProperties"] = bool(embedded)
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("anyOf", None)
        out["type"] = ["integer", "string"]
    if schema.get("nullable") and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    return out


def _broken_rules(schema: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and cel.evaluate(rule["rule"], {"self": value}) is not True:
            yield f"{where or '.'}: {rule.get('message') or rule['rule']}"
    if isinstance(value, dict):
        shared = schema.get("additionalProperties")
        for name, inner in value.items():
            below = schema.get("properties", {}).get(name) or (shared if isinstance(shared, dict) else None)
            if below:
                yield from _broken_rules(below, inner, f"{where}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _broken_rules(schema.get("items", {}), inner, f"{where}[{number}]")
