"""Which traceparent headers count, by W3C Trace Context level 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from serving import tracing
from serving.bundle import Bundle

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-ff", f"cc-{TRACE}-{SPAN}-01-more"])
def test_a_valid_header_gives_trace_and_span(header):
    assert tracing.read(header.encode()) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_every_other_header_is_ignored(header):
    assert tracing.read(header.encode() if header is not None else None) == ("", "")


@pytest.mark.parametrize("path", ["/v1/models/m:predict", "/v2/models/m/infer"])
def test_a_line_of_the_access_log_carries_the_callers_trace(
    run_server: Callable[..., Any], mixed: Bundle, path: str
) -> None:
    tensor = {"name": "input-0", "shape": [1, 6], "datatype": "FP64", "data": [40, 1.5, None, 2, None, None]}
    body = {"inputs": [tensor]} if "v2" in path else {"instances": [{}]}
    with run_server(mixed.folder, "--access_log_sample", "1") as running:
        httpx.post(running.url + path, json=body, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        httpx.post(running.url + path, json=body, headers={"traceparent": "nonsense"})
        running.stop()
        lines = [event for event in running.events if event["message"] == "request"]

    assert [(line.get("trace_id"), line.get("span_id")) for line in lines] == [(TRACE, SPAN), (None, None)]
