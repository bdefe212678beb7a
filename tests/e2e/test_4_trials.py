"""Two versions side by side: A/B with sticky clients, and a shadow that nobody hears."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter

import pytest
from clients import Client, Load, over_grpc
from models import MODEL
from provider import ENVIRONMENT

from components.releases import history, trials
from pipelines.__main__ import main

pytestmark = pytest.mark.xdist_group("e2e")


@pytest.fixture
def say(cluster, capsys):
    """Return what the command line says in the environment of the suite."""

    def run(*words: str) -> str:
        capsys.readouterr()
        found = main([*words, "--environment", ENVIRONMENT])
        said = capsys.readouterr()
        assert found == 0, said.out + said.err
        return said.out

    return run


@pytest.fixture
def client(cluster, serving) -> Client:
    """A client of the released model."""
    return Client(cluster, MODEL)


def test_clients_keep_their_version_in_a_comparison(cluster, models, client, say):
    cluster.need("prometheus")
    champion, other = history.status(MODEL).champion, models.publish(seed=1, edges=(3, 6))
    row = {f"length{number}": 1.0 for number in range(4)}
    identities = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in range(200)]

    with Load(client, row, threads=1, per_second=10) as load:
        said = say("compare", MODEL, champion, other, "--share", "25")
        trial = trials.expect(cluster.kube(), MODEL, "compare")
        time.sleep(max(0.0, trial.since - time.time()))
        first = {identity: client.version(row, **{"X-Client-Id": identity}) for identity in identities}
        second = {identity: client.version(row, **{"X-Client-Id": identity}) for identity in reversed(identities)}
        third = {each: over_grpc(client, [row], **{"x-client-id": each})[0] for each in identities[:40]}
        unknown = Counter(client.version(row) for _ in range(200))
        told = counted(say, at_least=640)
        ended = say("compare", MODEL, "--end")
    after = {client.version(row, **{"X-Client-Id": identity}) for identity in identities[:50]}

    assert f"{MODEL} {other} answers 25 % of the clients" in said
    assert first == second
    assert third.items() <= first.items(), "over gRPC a client got another version"
    assert 0.14 < Counter(first.values())[other] / 200 < 0.36
    assert 0.14 < unknown[other] / 200 < 0.36
    assert "verdict   too early" in told
    assert f"{MODEL} {champion} answers all clients again" in ended
    assert after == {champion}
    assert load.lost == 0, load.failures


def counted(say, at_least: int) -> str:
    """Return the report once Prometheus has seen all requests."""
    deadline = time.monotonic() + 90
    while True:
        said = say("compare", MODEL)
        match = re.search(r"requests  A (\d+), B (\d+)", said)
        assert match, said
        if int(match[1]) + int(match[2]) >= at_least:
            return said
        assert time.monotonic() < deadline, said
        time.sleep(1)


def test_a_shadow_hears_every_request_and_answers_none(cluster, models, client, say):
    cluster.need("prometheus")
    champion, other = history.status(MODEL).champion, models.publish(seed=1, edges=(3, 6))
    lengths = [number * 8 / 99 for number in range(100)]

    said = say("shadow", MODEL, other, "--percent", "100")
    answered = Counter(
        client.v1([{"length0": length, "length1": 4.0, "length2": 4.0, "length3": 4.0}],
                  **{"X-Request-Id": f"shadow-{number}-{time.time_ns()}"}).get("model_version", champion)
        for number, length in enumerate(lengths)
    )  # fmt: skip
    told = compared(say, at_least=95)
    with Load(client, {f"length{number}": 4.0 for number in range(4)}, threads=1) as load:
        ended = say("shadow", MODEL, "--end")

    assert f"{MODEL} {other} gets copies of 100 % of the requests" in said
    assert set(answered) == {champion}
    assert re.search(r"2 became 1: \d+", told), told
    assert re.search(r"shadow    0 failed", told), told
    assert f"{MODEL} {other} listens no more" in ended
    assert history.status(MODEL).trial == ""
    assert load.lost == 0, load.failures


def compared(say, at_least: int) -> str:
    deadline = time.monotonic() + 60
    while True:
        said = say("shadow", MODEL, "--diff")
        match = re.search(r"compared  (\d+) requests", said)
        assert match, said
        if int(match[1]) >= at_least:
            return said
        assert time.monotonic() < deadline, said
        time.sleep(1)
