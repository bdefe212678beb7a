"""The object store client against a real S3 server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from components import lease
from components.settings import Settings
from components.store import Address, AlreadyExists, Store, StoreError, parse


@pytest.fixture
def prefix(settings: Settings, tmp_path: Path) -> Address:
    """A place of its own for each test."""
    return Address("models", f"store-{tmp_path.name}")


def test_minio_addresses_of_kfp_become_s3_addresses() -> None:
    assert str(parse("minio://mlpipeline/v2/artifacts/x")) == "s3://mlpipeline/v2/artifacts/x"


@pytest.mark.parametrize("uri", ["gs://bucket/key", "bucket/key", "s3:///key"])
def test_refuses_what_is_no_object_store_address(uri: str) -> None:
    with pytest.raises(StoreError, match="expected s3://bucket/key"):
        parse(uri)


def test_returns_the_bytes_that_were_put(settings: Settings, prefix: Address) -> None:
    store = Store(settings)
    store.put(prefix / "naïve key", b"value")

    assert store.get(prefix / "naïve key") == b"value"
    assert [address.key for address in store.keys(prefix)] == [f"{prefix.key}/naïve key"]


def test_an_immutable_object_is_written_by_exactly_one_of_many_writers(settings: Settings, prefix: Address) -> None:
    store = Store(settings)
    refused: list[int] = []

    def write(number: int) -> None:
        try:
            store.put(prefix / "once", str(number).encode(), once=True)
        except AlreadyExists:
            refused.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 7
    assert int(store.get(prefix / "once")) not in refused


def test_a_published_folder_is_never_changed(settings: Settings, prefix: Address, tmp_path: Path) -> None:
    store = Store(settings)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "last").write_text("2")
    store.upload(folder, prefix, last="last")

    with pytest.raises(AlreadyExists, match="never changes"):
        store.upload(folder, prefix, last="last")


def test_a_folder_comes_back_as_it_went(settings: Settings, prefix: Address, tmp_path: Path) -> None:
    store = Store(settings)
    (tmp_path / "up" / "deep").mkdir(parents=True)
    (tmp_path / "up" / "deep" / "file").write_bytes(b"x" * 100_000)
    store.upload(tmp_path / "up", prefix)
    store.download(prefix, tmp_path / "down")

    assert (tmp_path / "down" / "deep" / "file").read_bytes() == b"x" * 100_000


def test_says_what_is_missing(settings: Settings, prefix: Address) -> None:
    with pytest.raises(FileNotFoundError, match="nothing is stored there"):
        Store(settings).get(prefix / "absent")


def test_names_the_variables_when_the_key_is_wrong(settings: Settings, prefix: Address) -> None:
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID"):
        Store(replace(settings, s3_secret_key="wrong")).get(prefix / "x")


def test_says_that_the_store_is_not_reachable(settings: Settings, prefix: Address) -> None:
    with pytest.raises(StoreError, match=r"is not reachable.*AWS_ENDPOINT_URL"):
        Store(replace(settings, s3_endpoint="http://127.0.0.1:9")).get(prefix / "x")


def test_refuses_an_endpoint_without_a_scheme(environment: Mapping[str, str], settings: Settings) -> None:
    with pytest.raises(StoreError, match="expected http://host:port"):
        Store(replace(settings, s3_endpoint="localhost:9000"))


def test_credentials_do_not_show_in_the_settings(settings: Settings) -> None:
    assert settings.s3_secret_key not in repr(settings)


def test_a_lease_keeps_the_second_writer_out(settings: Settings, prefix: Address) -> None:
    store = Store(settings)

    with (
        lease.held(store, prefix / "lease"),
        pytest.raises(lease.LeaseHeld, match="is held by process"),
        lease.held(store, prefix / "lease", wait_seconds=0.0),
    ):
        pass

    assert not store.exists(prefix / "lease")


def test_the_lease_of_a_dead_process_is_taken_over(settings: Settings, prefix: Address) -> None:
    import json
    import socket
    import subprocess
    import time

    dead = subprocess.Popen(["true"])
    dead.wait()
    store = Store(settings)
    holder = {"host": socket.gethostname(), "pid": dead.pid, "since": time.time()}
    store.put(prefix / "lease", json.dumps(holder).encode())

    with lease.held(store, prefix / "lease", wait_seconds=0.0):
        assert json.loads(store.get(prefix / "lease"))["pid"] != dead.pid


def test_a_lease_from_elsewhere_expires(settings: Settings, prefix: Address) -> None:
    import json

    store = Store(settings)
    store.put(prefix / "lease", json.dumps({"host": "elsewhere", "pid": 1, "since": 1000.0}).encode())

    with lease.held(store, prefix / "lease", wait_seconds=0.0, clock=lambda: 1000.0 + lease.SECONDS + 1):
        assert json.loads(store.get(prefix / "lease"))["host"] != "elsewhere"
