"""Reaching a KFP server: who answers, who we are, and what is said when something is wrong."""

from __future__ import annotations

import datetime
import importlib
import ipaddress
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kfpapi import PACE, Fault, Kfp, serve

from components.errors import InputError
from pipelines import compiling
from pipelines.kfpserver.connection import Access, KfpError, connect
from pipelines.kfpserver.runs import newest

Cli = Callable[..., tuple[int, str, str]]


def test_an_unreachable_server_is_named_with_what_to_do() -> None:
    with pytest.raises(KfpError, match=r"http://127\.0\.0\.1:9 cannot be reached.*port-forward"):
        connect(Access("http://127.0.0.1:9", pace=PACE))


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(KfpError, match="cannot be reached"):
        connect(Access("http://nowhere.invalid", pace=PACE))


@pytest.mark.parametrize("host", ["localhost:8888", "ftp://x", "http://", ""])
def test_an_address_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="expected an address such as"):
        connect(Access(host, pace=PACE))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("healthz", 404, times=9), "has no API v2beta1"),
        (Fault("healthz", 200, times=9, body="<html>log in</html>"), "not as a KFP server"),
        (Fault("healthz", 200, times=9, body="[]"), "not as a KFP server"),
        (Fault("healthz", 302, times=9, headers={"Location": "/dex"}), "give a token with --token-file"),
        (Fault("healthz", 403, times=9, body="RBAC: access denied"), "does not allow it .403.: RBAC: access denied"),
        (Fault("healthz", 500, times=9, body="<b>oh</b> no"), "answers 500: oh no"),
        (Fault("healthz", drop=True, times=9), "broke off the answer"),
    ],
)
def test_what_is_no_usable_server_is_told(kfp: Kfp, fault: Fault, said: str) -> None:
    kfp.faults = [fault]

    with pytest.raises(KfpError, match=said):
        connect(Access(kfp.url, pace=PACE))


@pytest.mark.parametrize("version", ["1.8.22", "2.15.0"])
def test_an_older_kfp_is_refused_with_both_versions(kfp: Kfp, version: str) -> None:
    kfp.version = version

    with pytest.raises(KfpError, match=rf"is Kubeflow Pipelines {version}.*need 2\.16 or later"):
        connect(Access(kfp.url, pace=PACE))


@pytest.mark.parametrize("version", ["2.16.1", "v3.0.0", "master", "unknown"])
def test_a_newer_kfp_or_one_that_does_not_say_is_tried(kfp: Kfp, version: str) -> None:
    kfp.version = version

    assert connect(Access(kfp.url, pace=PACE)).version == version


def test_a_token_is_needed_and_taken_from_a_file_each_time(kfp: Kfp, cli: Cli, tmp_path: Path) -> None:
    kfp.token = "old"
    path = tmp_path / "token"
    path.write_text("old\n")

    nobody = cli("runs")
    somebody = cli("runs", "--token-file", str(path))
    server = connect(Access(kfp.url, token_file=path, pace=PACE))
    kfp.token = "new"
    path.write_text("new\n")

    assert (nobody[0], somebody[0]) == (1, 0)
    assert "give a token with --token-file" in nobody[2]
    assert newest(server, 1) == []


def test_a_token_from_the_environment_is_used_and_never_shown(
    kfp: Kfp, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "s3cr3t"
    monkeypatch.setenv("HEADRACE_KFP_TOKEN", "s3cr3t")

    code, out, err = cli("runs")

    assert code == 0
    assert "s3cr3t" not in out + err + repr(Access("http://x", token="s3cr3t"))


def test_a_file_that_is_not_there_is_wrong_input(cli: Cli) -> None:
    code, _, err = cli("runs", "--ca", "nowhere.pem")

    assert code == 2
    assert "nowhere.pem: no such file" in err


def test_several_namespaces_need_one_to_be_named(kfp: Kfp, cli: Cli) -> None:
    kfp.multi_user = True

    without = cli("submit", "iris", "--no-follow")
    named = cli("submit", "iris", "--no-follow", "--namespace", "team")

    assert (without[0], named[0]) == (2, 0)
    assert "--namespace" in without[2]
    assert [pipeline["namespace"] for pipeline in kfp.pipelines.values()] == ["team"]
    assert [item["namespace"] for item in kfp.experiments.values()] == ["team"]


def test_one_namespace_makes_the_option_a_note(kfp: Kfp, cli: Cli) -> None:
    code, _, err = cli("submit", "iris", "--no-follow", "--namespace", "team")

    assert code == 0
    assert "serves one namespace" in err
    assert "namespace" not in next(iter(kfp.pipelines.values()))


@pytest.mark.parametrize("arguments", [["--poll", "0"], ["--limit", "0"]])
def test_numbers_that_make_no_sense_are_wrong_input(cli: Cli, arguments: list[str]) -> None:
    code, _, err = cli("runs", *arguments)

    assert code == 2
    assert arguments[0] in err


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Kfp, Path]]:
    """A server with a certificate that its own authority signed, and that authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kfp")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca, private = tmp_path / "ca.pem", tmp_path / "key.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, private)
    for kfp in serve(Kfp(), context):
        yield kfp, ca


def test_a_private_authority_is_accepted_when_named(tls: tuple[Kfp, Path]) -> None:
    kfp, ca = tls

    assert connect(Access(kfp.url, ca=ca, pace=PACE)).version == "2.17.0"


def test_an_unknown_authority_is_refused_with_what_to_do(tls: tuple[Kfp, Path]) -> None:
    with pytest.raises(KfpError, match=r"certificate is not accepted.*--ca"):
        connect(Access(tls[0].url, pace=PACE))


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`kfp.Client` itself, in place of the empty module that the laptop's verbs put there; with an empty home."""
    for name in [name for name in sys.modules if name == "kfp.client" or name.startswith("kfp.client.")]:
        monkeypatch.delitem(sys.modules, name)
    client = importlib.import_module("kfp.client.client").Client
    monkeypatch.setattr(client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    return client


@pytest.mark.filterwarnings("ignore:This client only works with:FutureWarning")
def test_the_sdks_client_agrees_with_ours_about_the_emulator(kfp: Kfp, cli: Cli, sdk: Any) -> None:
    cli("submit", "iris")
    cli("schedule", "iris", "--every", "6h")

    client = sdk(host=kfp.url)
    uploaded = client.upload_pipeline(str(compiling.TRAINING), pipeline_name="other")
    started = client.create_run_from_pipeline_package(str(compiling.TRAINING), experiment_name="iris")

    assert client.get_kfp_healthz().multi_user is False
    assert client.get_pipeline_id("headrace-training") in kfp.pipelines
    assert uploaded.pipeline_id in kfp.pipelines
    assert client.wait_for_run_completion(started.run_id, 30, sleep_duration=0).state == "SUCCEEDED"
    assert len(client.list_runs().runs) == 2
    assert [item.max_concurrency for item in client.list_recurring_runs().recurring_runs] == ["1"]


def test_the_pace_of_a_server_is_its_own(kfp: Kfp) -> None:
    kfp.faults = [Fault("healthz", 503, times=2)]

    with pytest.raises(KfpError, match="503"):
        connect(Access(kfp.url, pace=replace(PACE, tries=2)))

    assert kfp.asked("healthz") == 2
