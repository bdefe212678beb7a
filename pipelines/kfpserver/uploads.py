"""Pipelines on a KFP server: one for all use cases, with one version per content, named after its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import ir
from pipelines.kfpserver.connection import Server, absent, create_once, items, named

DIGITS = 12
"""Of the digest in a version's name: 48 bits, for a handful of versions."""


@dataclass(frozen=True)
class Uploaded:
    """A version of a pipeline on a server.

    Attributes:
        fresh: Whether it was not there before.
    """

    pipeline: str
    version: str
    name: str
    fresh: bool


def version_name(path: Path) -> str:
    """Return the name of a compiled file's version: the same content has the same name, on every server."""
    return f"{ir.load(path).name}-{_digest(path)[:DIGITS]}"


def ensure(server: Server, path: Path) -> Uploaded:
    """Return the version with the content of a compiled file, uploaded when it is not there yet."""
    compiled = ir.load(path)
    name = version_name(path)
    pipeline = _pipeline(server, compiled.name, compiled.spec.pipeline_info.description)
    found = find_version(server, pipeline, name)
    if found is not None:
        return Uploaded(pipeline, found.pipeline_version_id, name, fresh=False)
    created = create_once(
        lambda: server.service("PipelineUpload").upload_pipeline_version(
            str(path), name=name, pipelineid=pipeline, description=f"{path.name}, SHA-256 {_digest(path)}"
        ),
        lambda: find_version(server, pipeline, name),
    )
    return Uploaded(pipeline, created.pipeline_version_id, name, fresh=True)


def find_version(server: Server, pipeline: str, name: str) -> Any:
    """Return the version of a name, None when there is none."""
    fetch = server.service("Pipeline").pipeline_service_list_pipeline_versions
    found = items(lambda **query: fetch(pipeline, **query), "pipeline_versions", filter=named(name))
    return next((version for version in found if name in (version.name, version.display_name)), None)


def find_pipeline(server: Server, name: str) -> Any:
    """Return the pipeline of a name, None when there is none."""
    service = server.service("Pipeline")
    extra: dict[str, Any] = {"namespace": server.namespace} if server.namespace else {}
    return absent(lambda: service.pipeline_service_get_pipeline_by_name(name, **extra))


def _pipeline(server: Server, name: str, description: str) -> str:
    found = find_pipeline(server, name)
    if found is None:
        import kfp_server_api  # type: ignore[import-untyped]

        body = kfp_server_api.V2beta1Pipeline(
            name=name, display_name=name, description=description, namespace=server.namespace
        )
        found = create_once(
            lambda: server.service("Pipeline").pipeline_service_create_pipeline(body),
            lambda: find_pipeline(server, name),
        )
    return str(found.pipeline_id)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
