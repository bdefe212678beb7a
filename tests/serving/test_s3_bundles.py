"""A bundle may lie in S3: fetched, checked and served like a local one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from components import settings as configuration
from components.store import Address, Store
from serving.bundle import Bundle, BundleError
from serving.fetch import fetch

ROW = [40, 1.5, "Lyon", 2, True, "2020-01-31"]


@pytest.fixture
def store(s3: Mapping[str, str]) -> Store:
    return Store(configuration.read(dict(s3)))


def test_a_bundle_is_served_from_s3_and_swapped(
    s3: Mapping[str, str],
    store: Store,
    run_server: Callable[..., Any],
    reseal: Callable[..., Bundle],
    mixed: Bundle,
    tmp_path: Path,
) -> None:
    prefix = Address("models", "serving/one")
    store.upload(mixed.folder, prefix, last="bundle.json")
    with run_server("s3://models/serving/one", TMPDIR=str(tmp_path), **s3) as running:
        first = httpx.get(f"{running.url}/v2/models/m").json()["versions"]
        store.put(prefix / "bundle.json", (reseal(mixed, tmp_path / "next", "4").folder / "bundle.json").read_bytes())
        running.signal(signal.SIGHUP)
        running.wait_for("bundle swapped")
        second = httpx.get(f"{running.url}/v2/models/m").json()["versions"]
        answer = httpx.post(f"{running.url}/v1/models/m:predict", content=json.dumps({"instances": [ROW]}))
        copies = len([*tmp_path.glob("bundle-*")])
        code = running.stop()

    assert (first, second, answer.status_code, code) == (["3"], ["4"], 200, 0)
    assert copies == 1
    assert not [*tmp_path.glob("bundle-*")]


def test_what_is_not_there_is_refused_by_name(s3: Mapping[str, str]) -> None:
    with pytest.raises(BundleError, match="s3://models/nothing/ is not a bundle"):
        fetch("s3://models/nothing", s3)
    with pytest.raises(BundleError, match="expected a folder or s3://bucket/prefix"):
        fetch("ftp://models/nothing", s3)


def test_wrong_credentials_are_told(s3: Mapping[str, str]) -> None:
    with pytest.raises(BundleError, match=r"cannot be fetched .*: check endpoint and credentials"):
        fetch("s3://models/nothing", {**s3, "AWS_SECRET_ACCESS_KEY": "wrong"})


def test_an_endpoint_that_does_not_answer_is_told() -> None:
    environment = {"S3_ENDPOINT": "127.0.0.1:9", "S3_USE_HTTPS": "0", "AWS_ACCESS_KEY_ID": "a"}

    with pytest.raises(BundleError, match="cannot be fetched"):
        fetch("s3://models/nothing", {**environment, "AWS_SECRET_ACCESS_KEY": "b"})
