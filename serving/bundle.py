"""THE contract between training and serving: a fitted candidate on disk.

A bundle is a folder. `bundle.json` names every other file with its size and SHA-256 and is written last, so a folder
without it is not a bundle, and one changed byte anywhere is found on load. The digest of a bundle is the SHA-256 of its
`bundle.json`.

    bundle.json       format, model, candidate, schema, provenance, files
    model.onnx        input `features` float64 [rows, columns], encoded by serving.schema; output `probabilities`
                      float64 [rows, classes], or `prediction` float64 [rows, 1] for regression
    model.table       the same model folded for the C evaluator; absent when it does not fold
    golden.json       requests with the predictions of the fitted scikit-learn pipeline
    reference.json    histograms of features and predictions on the training rows, for drift
    metrics.json      validation scores; after evaluation also test scores with intervals
    card.md           the model card
    MLmodel           how MLflow reads the bundle as a model of its own, see serving.pyfunc
    origin.json       which runs made it and what was timed there; no two runs share that: it is no part of the digest

The same data, code and seed make the same bundle, byte for byte, wherever they run; only origin.json tells them apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serving.schema import Schema, schema_from_json, schema_to_json

FORMAT = 1
MANIFEST = "bundle.json"
MODEL = "model.onnx"
TABLE = "model.table"
GOLDEN = "golden.json"
REFERENCE = "reference.json"
METRICS = "metrics.json"
CARD = "card.md"
ORIGIN = "origin.json"
OF_A_RUN = ("run", "mlflow_run", "latency_ms")
"""Provenance that no two runs share: it stands in origin.json."""
REQUIRED = (MODEL, GOLDEN, REFERENCE, METRICS)


class BundleError(Exception):
    """A folder is not a bundle this version may serve; the message says why and what to do."""


@dataclass(frozen=True)
class File:
    """Size in bytes and hex SHA-256 of one file of a bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files have been checked against their digests.

    Attributes:
        model: The name it is served under; equals the use case unless renamed.
        version: The registered version, None before registration.
        provenance: Dataset hash, run, code version, library versions, times; for people and lineage.
        digest: SHA-256 of bundle.json.
    """

    folder: Path
    model: str
    use_case: str
    candidate: str
    schema: Schema
    version: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    digest: str = ""

    def json(self, name: str) -> dict[str, Any]:
        """Return the parsed content of one of the bundle's JSON files, an object.

        Raises:
            BundleError: It is none; the digests only tell that nobody changed it after it was sealed.
        """
        try:
            content = json.loads((self.folder / name).read_bytes())
        except ValueError as error:
            raise self.unreadable(name, error) from error
        if not isinstance(content, dict):
            raise self.unreadable(name, f"expected an object, found {type(content).__name__}")
        return content

    def unreadable(self, name: str, reason: object) -> BundleError:
        """Return the refusal of a bundle for what one of its files holds."""
        return BundleError(f"bundle {self.folder}: {name} is not readable ({reason}): publish it again")

    def path(self, name: str) -> Path | None:
        """Return the path of one of the bundle's files, None when this bundle has no such file."""
        return self.folder / name if name in self.files else None


def seal(bundle: Bundle) -> Bundle:
    """Write `bundle.json` for the files now in the folder, atomically, and return the sealed bundle.

    Raises:
        BundleError: A required file is absent.
    """
    present = sorted(
        path.relative_to(bundle.folder).as_posix()
        for path in bundle.folder.rglob("*")
        if path.is_file() and path.name not in (MANIFEST, ORIGIN) and not path.name.endswith(".partial")
    )
    absent = sorted(set(REQUIRED) - set(present))
    if absent:
        raise BundleError(f"bundle {bundle.folder} lacks {', '.join(absent)}: write them before sealing it")
    files = {name: _measure(bundle.folder / name) for name in present}
    document = {
        "format": FORMAT,
        "model": bundle.model,
        "use_case": bundle.use_case,
        "candidate": bundle.candidate,
        "version": bundle.version,
        "schema": schema_to_json(bundle.schema),
        "provenance": {name: value for name, value in bundle.provenance.items() if name not in OF_A_RUN},
        "files": {name: vars(file) for name, file in files.items()},
    }
    origin = {name: value for name, value in bundle.provenance.items() if name in OF_A_RUN}
    _write(bundle.folder / ORIGIN, origin)
    content = _write(bundle.folder / MANIFEST, document)
    return replace(bundle, files=files, digest=hashlib.sha256(content).hexdigest())


def _write(path: Path, document: Mapping[str, Any]) -> bytes:
    """Write a JSON file, whole or not at all, and return its content."""
    content = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True).encode()
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
    return content


def load(folder: Path, expected_digest: str | None = None) -> Bundle:
    """Return the bundle of a folder after every file has been checked.

    Raises:
        BundleError: No bundle.json, a newer format, a missing, changed or undeclared model file, or another digest.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; publish it again or name another folder"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if expected_digest is not None and digest != expected_digest:
        raise BundleError(
            f"bundle {folder} does not match its digest (expected {expected_digest[:12]}…, found {digest[:12]}…): "
            "it was changed after publishing; publish it again"
        )
    bundle = replace(_parse(folder, content), digest=digest)
    for name, file in bundle.files.items():
        _check(bundle, name, file)
    return bundle


def _parse(folder: Path, content: bytes) -> Bundle:
    try:
        document = json.loads(content)
        if document["format"] > FORMAT:
            raise BundleError(
                f"bundle {folder} has format {document['format']}, this server reads up to {FORMAT}: upgrade the server"
            )
        return Bundle(
            folder=folder,
            model=document["model"],
            use_case=document["use_case"],
            candidate=document["candidate"],
            version=document["version"],
            schema=schema_from_json(document["schema"]),
            provenance={**document["provenance"], **_origin(folder)},
            files={name: File(**fields) for name, fields in document["files"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} is not readable ({error}): publish it again") from error


def _origin(folder: Path) -> dict[str, Any]:
    """Return what origin.json says, empty where it is absent or unreadable: nothing that serves depends on it."""
    try:
        found = json.loads((folder / ORIGIN).read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: found[name] for name in OF_A_RUN if name in found} if isinstance(found, dict) else {}


def _check(bundle: Bundle, name: str, file: File) -> None:
    path = bundle.folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"bundle {bundle.folder}: file name {name!r} leaves the folder; publish it again")
    if not path.is_file():
        raise BundleError(f"bundle {bundle.folder} lacks {name}: publish it again")
    found = _measure(path)
    if found != file:
        raise BundleError(
            f"bundle {bundle.folder}: {name} does not match its digest (expected {file.sha256[:12]}…, "
            f"found {found.sha256[:12]}…): it was changed after publishing; publish it again"
        )


def _measure(path: Path) -> File:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return File(path.stat().st_size, digest.hexdigest())
