"""Checks objects of the core kinds against Kubernetes' own schemas; each shape once, because a check takes 15 ms."""

from __future__ import annotations

from typing import Any

import kubernetes_validate

SCHEMAS = "1.34"
_checked: dict[tuple[object, bool], list[str]] = {}


def errors(item: dict[str, Any], *, strict: bool) -> list[str]:
    """Return what is wrong with an object, `unknown field` first; other kinds are not known here and have no errors.

    Args:
        strict: Whether unknown fields count.
    """
    key = (_shape(item), item["apiVersion"], item["kind"]), strict
    if key not in _checked:
        _checked[key] = _errors(item, strict)
    return _checked[key]


def _errors(item: dict[str, Any], strict: bool) -> list[str]:
    try:
        kubernetes_validate.validate(item, SCHEMAS, strict=strict)
    except kubernetes_validate.SchemaNotFoundError:
        return []
    except kubernetes_validate.ValidationError as error:
        where = ".".join(str(part) for part in error.path)
        unknown = "unknown field at " if "Additional properties" in error.message else ""
        return [f"{unknown}{where or '.'}: {error.message}"]
    return []


def _shape(value: Any) -> object:
    if isinstance(value, dict):
        return tuple((name, _shape(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(_shape(inner) for inner in value)
    return type(value)
