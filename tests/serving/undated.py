"""Answers without what no two of them need to share."""

from __future__ import annotations

import re

DATE = re.compile(rb"date: [A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT\r\n")


def undated(answer: bytes | None) -> bytes | None:
    """Return an answer without its Date field, which it must have, once; None stays None."""
    if answer is None:
        return None
    kept, fields = DATE.subn(b"", answer)
    assert fields == 1, answer[:300]
    return kept
