"""The one way a request is turned down: a status, a sentence for the caller, and headers that help it."""

from __future__ import annotations

import orjson

Headers = tuple[tuple[bytes, bytes], ...]


class Refused(Exception):
    """A request that gets an error answer; the message names the field and what would be accepted."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers

    def body(self) -> bytes:
        """Return the JSON body that KServe's clients read."""
        return orjson.dumps({"error": self.message})


def invalid(message: str) -> Refused:
    """Return the refusal of a request whose content does not fit."""
    return Refused(400, message)


def busy(seconds: int = 1) -> Refused:
    """Return the refusal of a request that would wait too long."""
    return Refused(503, "the server is at its limit: try again", ((b"retry-after", b"%d" % max(1, seconds)),))
