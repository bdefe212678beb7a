"""What servers answered, by request id or trace id: read from their access logs, which carry id, version and payload.

The servers write them when the chart's `runtime.args` has `--access_log_sample=1` and `--access_log_payloads=true`; a
cluster's are read from its pods, others from a folder, a file or an S3 prefix that a log collector fills. Payloads are
kept up to 4,096 bytes, so answers longer than that are counted and left out. Answers in binary are left out as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.releases import ReleaseError
from components.releases.kube import POD, Kube
from components.releases.plans import VERSION
from components.store import Store, parse
from serving import tracing

if TYPE_CHECKING:
    from components.settings import Settings

CONTAINER = "kserve-container"


@dataclass(frozen=True)
class Answer:
    """One answered request.

    Attributes:
        predictions: A class, or a number, per row; None when the payload is not there or not to be read.
        scores: Probabilities per row, None when the client did not ask for them.
        trace: The caller's trace id, empty when it sent none.
    """

    id: str
    version: str
    status: int
    time: str
    predictions: list[Any] | None
    scores: list[list[float]] | None
    trace: str = ""


def read(lines: Iterable[str]) -> Iterator[Answer]:
    """Yield the answered predictions among log lines; everything else is skipped."""
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if not isinstance(document, dict) or document.get("message") != "request" or not document.get("id"):
            continue
        if not str(document.get("path", "")).endswith((":predict", "/infer")):
            continue
        predictions, scores = _payload(str(document.get("response", "")))
        yield Answer(
            str(document["id"]),
            str(document.get("version", "")),
            int(document["status"]),
            str(document.get("time", "")),
            predictions,
            scores,
            str(document.get("trace_id", "")),
        )


def pods(kube: Kube, model: str) -> Iterator[str]:
    """Yield the log lines of all pods of a model; a pod that is gone by now has none."""
    for pod in kube.list(POD, f"serving.kserve.io/inferenceservice={model}"):
        if VERSION in (pod["metadata"].get("annotations") or {}):
            yield from kube.log(pod["metadata"]["name"], CONTAINER).splitlines()


def stored(settings: Settings, place: str) -> Iterator[str]:
    """Yield the lines of all log files in a folder, of one file, or below an S3 prefix.

    Raises:
        ReleaseError: There is no such folder, file or prefix.
    """
    if "://" in place:
        store, found = Store(settings), False
        for address in store.keys(parse(place)):
            found = True
            yield from store.get(address).decode(errors="replace").splitlines()
        if not found:
            raise ReleaseError(f"{place} holds no logs: name the prefix that the log collector writes to")
        return
    path = Path(place)
    if not path.exists():
        raise ReleaseError(f"{place} does not exist: name a folder or a file of logs, or an s3:// prefix")
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open(errors="replace") as stream:
            yield from stream


def find(lines: Iterable[str], identity: str) -> list[Answer]:
    """Return the answers to a request, in the order of the logs: a mirrored or repeated one has several.

    Args:
        identity: The x-request-id that the answer carried, the trace id of the caller, or its whole traceparent.

    Raises:
        ReleaseError: There is none.
    """
    trace = tracing.read(identity.encode())[0] or identity
    found = [answer for answer in read(lines) if identity == answer.id or trace == answer.trace]
    if not found:
        raise ReleaseError(
            f"no log has the request {identity!r}: give the x-request-id of the answer (gateways replace the caller's "
            "unless they are told to keep it) or the trace id of its traceparent, which they keep; servers log all "
            "requests with --access_log_sample=1, and nodes keep the logs of their pods for a while only"
        )
    return found


def _payload(text: str) -> tuple[list[Any] | None, list[list[float]] | None]:
    """Return predictions and probabilities of an answer in V1 or V2."""
    try:
        document = json.loads(text)
        if "predictions" in document:
            return list(document["predictions"]), document.get("probabilities")
        outputs = {output["name"]: output for output in document["outputs"]}
        scores = outputs.get("probabilities")
        rows = _rows(scores["data"], int(scores["shape"][-1])) if scores else None
        return list(outputs["prediction"]["data"]), rows
    except (ValueError, KeyError, TypeError):
        return None, None


def _rows(flat: list[float], width: int) -> list[list[float]]:
    return [flat[start : start + width] for start in range(0, len(flat), width)]
