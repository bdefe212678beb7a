"""What the suite itself is made of: addresses that are tried, forwards that come back, a load that counts, a record."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import reach
import record as records
from forwards import Forward
from provider import HERE
from real import Real

FRAIL = """
import http.server, os, sys
class Once(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.wfile.flush()
        os._exit(0)
    def log_message(self, *said): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Once)
print(f"Forwarding from 127.0.0.1:{server.server_port} -> 8080", flush=True)
server.serve_forever()
"""
"""Forwards one request, then loses its connection to the pod."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An endpoint that fails every fifth request."""
    turns = itertools.count(1)

    class Flaky(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"model_version": "1"}'
            self.send_response(500 if next(turns) % 5 == 0 else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def service(**spec: object) -> reach.Object:
    return {"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30080}], **spec}, "status": {}}


NODES = [
    {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n"}]}}
]


def test_a_load_balancer_is_tried_before_nodes_and_those_before_the_address_within() -> None:
    balanced = service() | {"status": {"loadBalancer": {"ingress": [{"ip": "2001:db8::1"}]}}}

    found = list(reach.candidates(balanced, NODES, 80))

    assert found == ["http://[2001:db8::1]:80", "http://192.0.2.1:30080", "http://10.0.0.1:80"]


def test_a_service_without_any_address_of_its_own_is_not_reachable() -> None:
    headless = service(clusterIP="None", ports=[{"port": 9090}])

    assert reach.address(headless, NODES, 9090) == ""


def test_only_an_address_that_answers_is_taken(endpoint: str) -> None:
    port = int(endpoint.rpartition(":")[2])
    local = [{"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}}]

    found = reach.address(service(clusterIP="None", ports=[{"port": 80, "nodePort": port}]), local, 80)

    assert found == endpoint


def test_a_forward_that_ends_is_opened_again_at_the_same_port() -> None:
    forward = Forward(lambda port: [sys.executable, "-c", FRAIL, str(port)], os.environ)
    answered = 0
    try:
        while answered < 3:
            try:
                with urllib.request.urlopen(forward.url, timeout=5) as answer:
                    answered += answer.status == 200
            except OSError:
                threading.Event().wait(0.05)
    finally:
        forward.close()

    assert forward.reopened >= 2


def test_a_forward_that_cannot_be_opened_says_why() -> None:
    with pytest.raises(AssertionError, match="no such pod"):
        Forward(lambda port: [sys.executable, "-c", "print('no such pod')"], os.environ)


def test_every_request_of_a_load_is_counted_as_answered_or_lost(endpoint: str) -> None:
    order = {"gateway": endpoint, "path": "/", "headers": {}, "body": "{}", "threads": 3, "per_second": 200}
    words = [sys.executable, str(HERE / "caller.py"), json.dumps(order)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
        threading.Event().wait(1)
        said, _ = caller.communicate()

    told = json.loads(said)
    assert told["sent"] >= 5
    assert told["lost"] == told["sent"] // 5
    assert told["answers"] == {"1": told["sent"] - told["lost"]}
    assert all("500" in failure for failure in told["failures"])


def test_a_record_has_versions_steps_seconds_and_requests(tmp_path) -> None:
    kept = records.Record()
    kept.begin("test_a_canary_is_promoted", "Releases")
    kept.count(1200, 0)
    kept.count(34, 1)
    kept.end("failed", 12.34)
    kept.begin("test_an_endpoint_scales", "Operations")
    kept.end("skipped", 0.0, "needs metrics-server")

    path = records.write(tmp_path, records.page(kept.steps, {"Kubernetes": "v1.34.4"}, "in this cluster"))
    again = records.write(tmp_path, "")
    text = path.read_text()

    assert "| Kubernetes | v1.34.4 |" in text
    assert "| a canary is promoted | failed | 12.3 | 1234 | 1 |  |" in text
    assert "| an endpoint scales | skipped | 0.0 |  |  | needs metrics-server |" in text
    assert "1 failed, 1 skipped in 12 s; 1234 requests sent, 1 lost" in text
    assert again != path
    assert "1234     1" in records.table(kept.steps)[1]


@pytest.mark.parametrize(("capabilities", "asked"), [((), False), (("pipelines",), True)])
def test_a_cluster_without_kfp_gets_a_chart_that_does_not_ask_for_it(capabilities, asked) -> None:
    explorer = Real.__new__(Real)  # what it found is given here, so no cluster is asked
    explorer.capabilities, explorer.known = frozenset(capabilities), ""

    assert ("--set=requirements.pipelines=false" not in explorer.chart_values) == asked
