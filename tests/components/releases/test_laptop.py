"""Releases on one machine: real bundles, real server processes, and no request lost between versions."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest

from components import registry, tracking
from components.deploy.step import deploy
from components.releases import ReleaseError, laptop
from components.settings import Settings
from serving.bundle import Bundle

MODEL = "tiny"


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the model's server, which is stopped at the end."""
    monkeypatch.setenv("HEADRACE_HTTP_PORT", "18180")
    monkeypatch.setenv("HEADRACE_GRPC_PORT", "18181")
    folder = settings.home / "served" / MODEL
    yield folder
    laptop.stop(folder, MODEL)


@pytest.fixture
def publish(
    settings: Settings, make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Publish a small bundle as the next version of the model and return its number."""
    bucket = f"models-{os.getpid()}-{time.time_ns()}"
    monkeypatch.setenv("HEADRACE_MODELS_BUCKET", bucket)

    def build(run: str, **how: object) -> str:
        from components import settings as configuration

        bundle = make_bundle(run, model=MODEL, **how)
        of_its_own = {**bundle.provenance, "dataset": run}  # an equal model of equal data would be no new version
        return registry.publish(configuration.read(), replace(bundle, provenance=of_its_own), run).number

    return build


def served_version(home: Path) -> str:
    server = laptop.running(home, MODEL)
    assert server is not None
    with urlopen(f"{server.url}/v2/models/{MODEL}") as response:
        version: str = json.load(response)["versions"][0]
    return version


def test_the_first_release_starts_a_server_and_moves_the_alias(
    settings: Settings, home: Path, publish: Callable[..., str]
) -> None:
    released = deploy(MODEL, publish("run-1"), "laptop")
    answer = json.loads(subprocess.run(released.curl, shell=True, check=True, capture_output=True, text=True).stdout)

    assert released.verified
    assert answer["predictions"] in ([0], [1])
    assert tracking.champion(settings, MODEL) == "1"


def test_the_next_release_swaps_without_a_failed_request(home: Path, publish: Callable[..., str]) -> None:
    released = deploy(MODEL, publish("run-1"), "laptop")
    pid = laptop.running(home, MODEL)
    failures: list[str] = []
    answered = 0
    stop = threading.Event()

    def ask() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                urlopen(f"{released.url}/v1/models/{MODEL}:predict", b'{"instances": [[1.0, "a"]]}').close()
                answered += 1
            except OSError as error:
                failures.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        deploy(MODEL, publish("run-2"), "laptop")
    finally:
        stop.set()
        thread.join()

    assert failures == []
    assert answered > 0
    assert served_version(home) == "2"
    assert laptop.running(home, MODEL) == pid


def test_a_version_that_does_not_reproduce_its_golden_requests_is_refused_and_the_old_one_serves(
    settings: Settings, home: Path, publish: Callable[..., str]
) -> None:
    deploy(MODEL, publish("run-1"), "laptop")
    broken = publish("run-2", broken_golden=True)

    with pytest.raises(ReleaseError, match="golden"):
        deploy(MODEL, broken, "laptop")

    assert served_version(home) == "1"
    assert tracking.champion(settings, MODEL) == "1"
    refused = tracking.versions(settings, MODEL)[-1]
    assert refused.tags["headrace.release.laptop"] == "refused"


def test_releasing_a_served_version_again_only_verifies_it(home: Path, publish: Callable[..., str]) -> None:
    number = publish("run-1")
    first = deploy(MODEL, number, "laptop")

    assert deploy(MODEL, number, "laptop") == first


def test_a_canary_needs_a_cluster(home: Path, publish: Callable[..., str]) -> None:
    with pytest.raises(ReleaseError, match="needs a cluster"):
        deploy(MODEL, publish("run-1"), "laptop", "canary")


def test_the_server_does_not_see_the_credentials_of_the_run(home: Path, publish: Callable[..., str]) -> None:
    deploy(MODEL, publish("run-1"), "laptop")
    server = laptop.running(home, MODEL)
    assert server is not None
    environment = Path(f"/proc/{server.pid}/environ")
    if not environment.exists():
        pytest.skip("needs /proc")

    assert b"AWS_SECRET_ACCESS_KEY" not in environment.read_bytes()
