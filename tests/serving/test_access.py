"""Who may call: API keys, rates, origins and certificates."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving.access import Access
from serving.errors import Refused
from tests.serving.certificates import make_certificate

BODY = {"instances": [[40, 1.5, "Lyon", 2, True, "2020-01-31"]]}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# who may call\n\nalice:first-secret\nbob: second-secret \n")
    return path


def _bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {key}".encode()}


def test_every_key_of_the_file_opens_and_nothing_else(keys: Path) -> None:
    access = Access(str(keys), 0)

    assert access.admit(_bearer("first-secret")) == "alice"
    assert access.admit({b"x-api-key": b"second-secret"}) == "bob"
    for headers in ({}, _bearer("third-secret"), _bearer(""), {b"authorization": b"Basic first-secret"}):
        with pytest.raises(Refused, match="an API key is needed") as refused:
            access.admit(headers)
        assert refused.value.status == 401


def test_changed_keys_count_without_a_restart_and_a_broken_file_changes_nothing(keys: Path) -> None:
    access = Access(str(keys), 0)
    keys.write_text("carol:third-secret\n")
    access.reload()

    assert access.admit(_bearer("third-secret")) == "carol"
    with pytest.raises(Refused):
        access.admit(_bearer("first-secret"))

    keys.write_text("no colon\n")
    access.reload()
    keys.unlink()
    access.reload()

    assert access.admit(_bearer("third-secret")) == "carol"


def test_a_rate_counts_per_key_and_tells_when_to_come_back(keys: Path) -> None:
    now = [0.0]
    access = Access(str(keys), 2, lambda: now[0])
    for _ in range(2):
        access.admit(_bearer("first-secret"))

    with pytest.raises(Refused) as refused:
        access.admit(_bearer("first-secret"))
    assert refused.value.status == 429
    assert dict(refused.value.headers)[b"retry-after"] == b"1"
    access.admit(_bearer("second-secret"))
    now[0] = 0.5
    access.admit(_bearer("first-secret"))


def test_predictions_need_a_key_and_probes_do_not(run_server: Callable[..., Any], mixed: Any, keys: Path) -> None:
    with run_server(mixed.folder, "--api_keys", str(keys), "--rate_limit", "1") as running:
        predict = f"{running.url}/v1/models/m:predict"
        open_paths = ["/", "/v2/health/ready", "/v2/models/m/ready", "/metrics", "/docs"]
        states = [httpx.get(running.url + path).status_code for path in open_paths]
        without = httpx.post(predict, json=BODY)
        right = httpx.post(predict, json=BODY, headers={"x-api-key": "first-secret"})
        fast = httpx.post(predict, json=BODY, headers={"x-api-key": "first-secret"})
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.RpcError) as refused:
                infer(b"", timeout=20)
            with pytest.raises(grpc.RpcError) as empty:
                infer(b"", timeout=20, metadata=[("authorization", "Bearer second-secret")])

    assert states == [200] * 5
    assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
    assert right.status_code == 200
    assert (fast.status_code, fast.headers["retry-after"]) == (429, "1")
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert empty.value.code() == grpc.StatusCode.NOT_FOUND


def test_pages_of_an_allowed_origin_may_call(run_server: Callable[..., Any], mixed: Any) -> None:
    with run_server(mixed.folder, "--cors_origins", "https://a.example, https://b.example") as running:
        predict = f"{running.url}/v1/models/m:predict"
        allowed = {"origin": "https://b.example"}
        asked = httpx.options(predict, headers={**allowed, "access-control-request-method": "POST"})
        answer = httpx.post(predict, json=BODY, headers=allowed)
        other = httpx.post(predict, json=BODY, headers={"origin": "https://c.example"})

    assert asked.status_code == 204
    assert asked.headers["access-control-allow-methods"] == "OPTIONS, POST"
    assert answer.headers["access-control-allow-origin"] == "https://b.example"
    assert "access-control-allow-origin" not in other.headers


@pytest.fixture
def tls(run_server: Callable[..., Any], mixed: Any, tmp_path: Path) -> Iterator[tuple[Any, Path, Path]]:
    chain, private = make_certificate(tmp_path, "first")
    with run_server(mixed.folder, "--tls_certificate", str(chain), "--tls_key", str(private)) as running:
        yield running, chain, private


def test_tls_serves_http_and_grpc(tls: Any) -> None:
    running, chain, _ = tls
    url = f"https://localhost:{running.http_port}"
    context = ssl.create_default_context(cafile=str(chain))
    answer = httpx.post(f"{url}/v1/models/m:predict", json=BODY, verify=context)
    credentials = grpc.ssl_channel_credentials(chain.read_bytes())
    with grpc.secure_channel(f"localhost:{running.grpc_port}", credentials) as channel:
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20)

    assert answer.status_code == 200
    assert "strict-transport-security" in answer.headers
    assert live == b"\x08\x01"


def test_a_renewed_certificate_is_used_without_a_restart(tls: Any) -> None:
    running, chain, _ = tls
    before = _served_certificate(running)
    make_certificate(chain.parent, "second")
    deadline = time.monotonic() + 20
    while (after := _served_certificate(running)) == before and time.monotonic() < deadline:
        time.sleep(0.1)

    assert ssl.PEM_cert_to_DER_cert(chain.read_text()) == after


def test_a_renewal_in_two_steps_takes_nothing_down(tls: Any) -> None:
    """The new certificate comes before its key: until the pair is whole, the old one goes on serving."""
    running, chain, private = tls
    before, old_key = _served_certificate(running), private.read_bytes()
    make_certificate(chain.parent, "second")
    new_key = private.read_bytes()
    private.write_bytes(old_key)
    running.wait_for("the certificate is kept as it was")
    between = [_served_certificate(running) for _ in range(3)]
    time.sleep(2.5)  # more looks of the server at the same two files
    warned = running.log.read_text().count("the certificate is kept as it was")
    private.write_bytes(new_key)
    running.wait_for("the certificate was renewed")

    assert between == [before] * 3
    assert warned <= 2, "once a change, not once a second; writing the files may be seen as two"
    assert _served_certificate(running) == ssl.PEM_cert_to_DER_cert(chain.read_text())


def _served_certificate(running: Any) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", running.http_port)))
