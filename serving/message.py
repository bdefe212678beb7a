"""A request and a response as every handler sees them, whichever parser or transport they came through."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from serving import tracing
from serving.budget import Held
from serving.errors import Headers
from serving.options import Options

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
MARKDOWN = b"text/markdown; charset=utf-8"
BINARY = b"application/octet-stream"
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
PAGE_HEADERS: Headers = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"accept"),
)
"""For HTML: nothing is loaded, run or framed."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class Request:
    """One complete HTTP request.

    Attributes:
        target: As sent; `path` is its decoded path without the query.
        headers: Names in lower case; repeated ones joined by a comma.
        key: The name of the API key it came with.
        sampled: Whether the access log gets a line for it.
        keep_alive: Whether the client wants the connection to stay open.
        made_id: The id it got here because it came without one and something is kept of it.
        held: What its body holds of the budget.
        unpack: Puts the unpacked body in place of a compressed one that is large; to be called in a thread, with this
            request, which it must not hold: a cycle would keep the body until the collector comes by.
    """

    method: bytes
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    keep_alive: bool = True
    peer: str = ""
    key: str = ""
    sampled: bool = False
    made_id: bytes | None = None
    held: Held | None = None
    unpack: Callable[[Request], None] | None = None
    path: str = field(init=False)

    def __post_init__(self) -> None:
        path = self.target.partition(b"?")[0]
        self.path = (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace")

    @property
    def request_id(self) -> bytes | None:
        """The caller's x-request-id or made_id; None when there is none that is fit for a header and a log."""
        value = self.headers.get(b"x-request-id")
        fits = value and len(value) <= 128 and value.isascii() and value.decode().isprintable()
        return value if fits else self.made_id

    @property
    def log_id(self) -> str:
        """The same as text, empty when there is none."""
        return (self.request_id or b"").decode()

    @property
    def trace(self) -> tuple[str, str]:
        """The caller's trace id and span id, empty when it sent none."""
        return tracing.read(self.headers.get(b"traceparent"))


@dataclass(slots=True)
class Response:
    """What is sent back; `close` ends the connection after it."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()
    close: bool = False


def encode_response(response: Response, fixed: bytes, head_only: bool = False) -> bytes:
    """Return the bytes of a response.

    Args:
        fixed: Complete header lines every response carries.
        head_only: Leave the body out, for HEAD; its length is still told.
    """
    parts = [b"HTTP/1.1 %d %s\r\n" % (response.status, REASONS.get(response.status, b"Unknown"))]
    if response.status != 204:
        parts.append(b"content-type: %s\r\n" % response.content_type)
    parts += [fixed, _date_line(int(time.time()))]
    parts += [b"%s: %s\r\n" % header for header in response.headers]
    if response.close:
        parts.append(b"connection: close\r\n")
    if response.status != 204:
        parts.append(b"content-length: %d\r\n" % len(response.body))
    parts.append(b"\r\n")
    if not head_only and response.status != 204:
        parts.append(response.body)
    return b"".join(parts)


@lru_cache(maxsize=1)
def _date_line(second: int) -> bytes:
    """Return the Date field of a second since the epoch, as IMF-fixdate (RFC 9110, section 5.6.7)."""
    return time.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(second)).encode()


def fixed_headers(options: Options) -> bytes:
    """Return the header lines every answer carries."""
    strict = b"strict-transport-security: max-age=31536000\r\n" if options.tls_certificate else b""
    return b"x-content-type-options: nosniff\r\n" + strict
