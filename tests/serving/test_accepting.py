"""Who gets in: handshakes are bounded, callers may be asked for certificates, missing descriptors are told."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving.accepting import connections_for
from tests.serving.certificates import make_certificate

BODY = {"instances": [[40, 1.5, "Lyon", 2, True, "2020-01-31"]]}


def _flags(folder: Path, *more: str) -> tuple[str, ...]:
    chain, key = make_certificate(folder, "server")
    return "--tls_certificate", str(chain), "--tls_key", str(key), *more


def test_handshakes_that_nobody_begins_are_counted_bounded_and_ended(
    run_server: Callable[..., Any], mixed: Any, tmp_path: Path
) -> None:
    with run_server(mixed.folder, *_flags(tmp_path, "--max_connections", "10", "--request_timeout", "2")) as running:
        context = ssl.create_default_context(cafile=tmp_path / "tls.crt")
        idle = [socket.create_connection(("127.0.0.1", port)) for port in (running.http_port, running.grpc_port) * 8]
        idle += [socket.create_connection(("127.0.0.1", port)) for port in (running.http_port, running.grpc_port) * 4]
        time.sleep(0.5)
        turned_away = [one for one in idle if _is_closed(one)]
        deadline = time.monotonic() + 20
        while not all(_is_closed(one) for one in idle) and time.monotonic() < deadline:
            time.sleep(0.1)
        left = [one for one in idle if not _is_closed(one)]
        answer = httpx.get(f"https://localhost:{running.http_port}/metrics", verify=context)
        for one in idle:
            one.close()

    assert len(turned_away) == 4, "twelve of each port, of which ten may be"
    assert left == []
    assert 'headrace_tls_handshakes{model_name="m"} 0' in answer.text
    assert 'headrace_connections_rejected_total{model_name="m"} 4' in answer.text


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_callers_prove_who_they_are_where_that_is_asked(
    run_server: Callable[..., Any], mixed: Any, tmp_path: Path, transport: str
) -> None:
    (tmp_path / "callers").mkdir()
    chain, key = make_certificate(tmp_path / "callers", "caller")
    flags = _flags(tmp_path, "--tls_client_ca", str(chain), "--grpc_transport", transport)
    trusted = tmp_path / "tls.crt"
    with run_server(mixed.folder, *flags) as running:
        url = f"https://localhost:{running.http_port}/v1/models/m:predict"
        known = ssl.create_default_context(cafile=trusted)
        known.load_cert_chain(chain, key)
        answer = httpx.post(url, json=BODY, verify=known)
        nothing = _ask_without_a_certificate(running.http_port, trusted)
        alone = grpc.ssl_channel_credentials(trusted.read_bytes())
        proven = grpc.ssl_channel_credentials(trusted.read_bytes(), key.read_bytes(), chain.read_bytes())
        address = f"localhost:{running.grpc_port}"
        with grpc.secure_channel(address, proven) as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20)
        with grpc.secure_channel(address, alone) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20)

    assert answer.status_code == 200
    assert nothing == b""
    assert live == b"\x08\x01"
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def _ask_without_a_certificate(port: int, trusted: Path) -> bytes:
    context = ssl.create_default_context(cafile=trusted)
    with (
        contextlib.suppress(OSError),  # whether it hears why depends on how fast it is
        socket.create_connection(("localhost", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n")
        return connection.recv(100)
    return b""


def test_no_more_connections_are_held_than_files_may_be_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"now": (80, 80)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.update(now=wanted))

    assert connections_for(20_000, 2) == 8
    assert "at most 8 connections are held on a port, not 20000: raise the limit of open files" in caplog.text
    limits["now"] = (1024, 1 << 20)
    assert connections_for(20_000, 2) == 20_000
    assert limits["now"] == (1 << 20, 1 << 20), "the soft limit is raised first"


def test_a_server_out_of_descriptors_says_so_once_and_recovers(
    run_server: Callable[..., Any], mixed: Any, tmp_path: Path
) -> None:
    with run_server(mixed.folder, *_flags(tmp_path, "--enable_grpc", "false")) as running:
        context = ssl.create_default_context(cafile=tmp_path / "tls.crt")
        opened = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (opened + 5, opened + 5))
        crowd = [socket.create_connection(("127.0.0.1", running.http_port)) for _ in range(30)]
        running.wait_for("no connection can be accepted now")
        time.sleep(2.5)  # more attempts of the server, which tell nothing new
        for one in crowd:
            one.close()
        text = ""
        deadline = time.monotonic() + 20
        while "headrace_accept_failures_total" not in text and time.monotonic() < deadline:
            text = httpx.get(f"https://localhost:{running.http_port}/metrics", timeout=10, verify=context).text
        told = running.log.read_text().count("no connection can be accepted now")

    failures = [line for line in text.splitlines() if line.startswith("headrace_accept_failures_total")]
    assert told == 1
    assert int(failures[0].split()[-1]) >= 2
