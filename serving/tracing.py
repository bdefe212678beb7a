"""The caller's trace, as W3C Trace Context level 1 writes it in `traceparent`.

Gateways may replace a request id (Envoy Gateway does by default); they keep a trace. So it is what is logged beside the
id, and what a request is found by afterwards.
"""

from __future__ import annotations

import re

TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
NOBODY, NO_TRACE, NO_SPAN = b"ff", b"0" * 32, b"0" * 16


def read(header: bytes | None) -> tuple[str, str]:
    """Return trace id and span id of the caller, both empty where there is no valid header.

    A header that breaks the format is ignored, as section 4.3 asks; of later versions the known beginning counts.
    """
    found = TRACEPARENT.fullmatch(header) if header else None
    if found is None:
        return "", ""
    version, trace, span, rest = found.groups()
    if version == NOBODY or trace == NO_TRACE or span == NO_SPAN or (version == b"00" and rest is not None):
        return "", ""
    return trace.decode(), span.decode()
