"""What the process writes to its error stream: its own events, and a sample of the requests.

JSON, one object per line, where nobody is watching; readable lines on a terminal. Payloads stay out unless asked for.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from serving.message import Request, Response
    from serving.options import Options

PAYLOAD_LIMIT = 4096
access = logging.getLogger("serving.access")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.name != access.name:
            document["logger"] = record.name
        document |= getattr(record, "fields", {})
        if record.exc_info:
            document["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(document, default=str).decode()


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        fields = "".join(f" {name}={_plain(value)}" for name, value in getattr(record, "fields", {}).items())
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{moment:%H:%M:%S} {record.levelname.lower():<7} {_printable(record.getMessage())}{fields}{trace}"


def _printable(text: str) -> str:
    """Return a text in which nothing begins a line or moves a cursor: what a caller sent stays within its line."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _plain(value: Any) -> str:
    """Return the value of a field; quoted where it could be taken for more than one."""
    text = str(value)
    plain = text.isprintable() and not any(mark in text for mark in ' "=') and text
    return text if plain else json.dumps(_printable(text), ensure_ascii=False)


def configure(log_format: str) -> None:
    """Send all logging to the error stream in the given format (auto: text on a terminal, else JSON)."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_TextFormatter() if text else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.raiseExceptions = False  # a closed pipe must not turn into more output


class AccessLog:
    """One line per sampled request; server errors are always written."""

    def __init__(self, options: Options) -> None:
        self._payloads = options.access_log_payloads

    def write(self, protocol: str, request: Request, response: Response, seconds: float, version: str) -> None:
        """Write the line of one request."""
        identity = dict(response.headers).get(b"x-request-id", b"")
        fields: dict[str, Any] = {
            "id": identity.decode(),
            "protocol": protocol,
            "method": request.method.decode("latin-1"),
            "path": request.path,
            "status": response.status,
            "seconds": round(seconds, 6),
            "received": len(request.body),
            "sent": len(response.body),
            "peer": request.peer,
            "version": version,
        }
        trace, span = request.trace
        if trace:
            fields |= {"trace_id": trace, "span_id": span}
        if request.key:
            fields["key"] = request.key
        if self._payloads:
            fields["request"] = request.body[:PAYLOAD_LIMIT].decode("utf-8", "replace")
            fields["response"] = response.body[:PAYLOAD_LIMIT].decode("utf-8", "replace")
        access.info("request", extra={"fields": fields})
