"""An optional record of predictions for the monitoring graph: encoded rows with their scores, as JSON Lines.

One file per process start and hour; a line per request. Writing is buffered and flushed by the server's clock, and a
disk that fails costs log lines, never an answer.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
from array import array
from datetime import UTC, datetime
from pathlib import Path

import orjson

from serving.predictor import Answer, Predictor

FLUSH_BYTES = 1 << 20

log = logging.getLogger(__name__)


class PredictionLog:
    """Appends to `<folder>/<model>/<hour>-<process>.jsonl`.

    Attributes:
        lost: Requests that could not be kept.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._folder = folder / model
        self._lines: list[bytes] = []
        self._size = 0
        self.lost = 0

    def append(
        self, predictor: Predictor, features: array[float], answer: Answer, request_id: str = "", trace_id: str = ""
    ) -> None:
        """Keep one request's rows; missing values are null, and so are the ids of a request without."""
        columns = predictor.columns
        line = orjson.dumps(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request_id": request_id or None,
                "trace_id": trace_id or None,
                "version": predictor.version,
                "digest": predictor.bundle.digest,
                "features": [list(features[start : start + columns]) for start in range(0, len(features), columns)],
                "predictions": answer.labels,
                "scores": predictor.rows_of(answer.scores),
            }
        )
        self._lines.append(line)
        self._size += len(line)
        if self._size > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        if not self._lines:
            return
        lines, self._lines, self._size = self._lines, [], 0
        written = 0
        path = self._folder / f"{datetime.now(UTC):%Y%m%dT%H}-{os.getpid()}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as stream:
                written = _append(stream, b"\n".join(lines) + b"\n")
            if written < len(lines):
                raise OSError(errno.ENOSPC, "only a part could be written")
        except OSError as error:
            lost = len(lines) - written
            self.lost += lost
            log.warning("prediction log %s cannot be written, %d lines are lost: %s", path, lost, error)


def _append(stream: io.FileIO, data: bytes) -> int:
    """Append lines, whole ones only, and return how many: what a full disk cuts off is taken back."""
    end = stream.seek(0, os.SEEK_END)
    done = 0
    with contextlib.suppress(OSError):
        while done < len(data):
            done += stream.write(data[done:])
    whole = data.rfind(b"\n", 0, done) + 1
    if whole < done:
        stream.truncate(end + whole)
    return data.count(b"\n", 0, whole)
