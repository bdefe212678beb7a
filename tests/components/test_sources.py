"""Where files come from: the mirror, the package, the web, S3, a path; and what is said when they do not come."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from components import settings as configuration
from components import sources
from components.errors import InputError
from components.settings import Settings
from components.store import Address, Store
from components.use_cases import Source

CONTENT = b"a,b\n1,2\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def offline(tmp_path: Path) -> Settings:
    return configuration.read({"HEADRACE_HOME": str(tmp_path)})


@pytest.fixture
def web() -> Iterator[Callable[..., str]]:
    """Serve one answer on loopback; returns its URL."""
    servers = []

    def serve(body: bytes = CONTENT, status: int = 200, length: int | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/data/table.csv"

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def source(location: str, sha256: str | None = DIGEST) -> Source:
    return Source(location=location, sha256=sha256, file="mirrored.csv", licence="", credit="")


def test_reads_a_file_of_the_mirror_before_the_network(offline: Settings, tmp_path: Path) -> None:
    (tmp_path / "mirrored.csv").write_bytes(CONTENT)

    found = sources.obtain(
        source("https://nowhere.invalid/x.csv"), replace(offline, mirror=tmp_path), tmp_path / "work"
    )

    assert found.path == tmp_path / "mirrored.csv"
    assert (found.location, found.sha256, found.bytes) == ("https://nowhere.invalid/x.csv", DIGEST, len(CONTENT))


def test_names_both_checksums_when_a_mirrored_file_is_another(offline: Settings, tmp_path: Path) -> None:
    (tmp_path / "mirrored.csv").write_bytes(CONTENT + b"3,4\n")
    found = hashlib.sha256(CONTENT + b"3,4\n").hexdigest()

    with pytest.raises(InputError, match=f"expected sha256 {DIGEST}, found {found}"):
        sources.obtain(source("https://nowhere.invalid/x.csv"), replace(offline, mirror=tmp_path), tmp_path)


def test_downloads_and_checks_a_url(offline: Settings, tmp_path: Path, web: Callable[..., str]) -> None:
    found = sources.obtain(source(web()), offline, tmp_path)

    assert found.path == tmp_path / "table.csv"
    assert found.path.read_bytes() == CONTENT


def test_refuses_a_download_with_another_checksum(offline: Settings, tmp_path: Path, web: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="another checksum"):
        sources.obtain(source(web(b"not the data")), offline, tmp_path)


def test_says_what_a_url_answered(offline: Settings, tmp_path: Path, web: Callable[..., str]) -> None:
    with pytest.raises(InputError, match=r"answered 404 .*HEADRACE_MIRROR"):
        sources.obtain(source(web(status=404)), offline, tmp_path)


def test_says_when_a_download_broke_off(offline: Settings, tmp_path: Path, web: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="broke off after 8 of 99 bytes"):
        sources.obtain(source(web(length=99)), offline, tmp_path)


def test_names_the_mirror_when_a_url_cannot_be_reached(offline: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be reached .* put the file into a folder as mirrored\.csv"):
        sources.obtain(source("http://127.0.0.1:9/x.csv"), offline, tmp_path)


def test_finds_what_a_package_ships(offline: Settings, tmp_path: Path) -> None:
    found = sources.named("package:components.use_cases/data/processed.cleveland.data", offline, tmp_path)

    assert found.bytes == 18_461


def test_says_where_it_looked_for_a_path(offline: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file 'absent\.csv' \(looked in .*s3://"):
        sources.named("absent.csv", offline, tmp_path)


def test_refuses_a_folder(offline: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        sources.named(str(tmp_path), offline, tmp_path)


def test_reads_from_s3(settings: Settings, tmp_path: Path) -> None:
    Store(settings).put(Address("datasets", "incoming/t.csv"), CONTENT)

    found = sources.named("s3://datasets/incoming/t.csv", settings, tmp_path)

    assert found.path.read_bytes() == CONTENT


def test_data_may_lie_in_another_store_than_what_a_run_keeps(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's own keys reach the caller's data; buckets of the run stay where the run keeps things."""
    Store(settings).ensure_bucket("theirs")
    Store(settings).put(Address("theirs", "t.csv"), CONTENT)
    Store(settings).put(Address("datasets", "t.csv"), CONTENT)
    theirs = configuration.read(
        {
            "HEADRACE_HOME": str(tmp_path),
            "HEADRACE_SOURCE_ENDPOINT_URL": settings.s3_endpoint,
            "HEADRACE_SOURCE_ACCESS_KEY_ID": settings.s3_access_key,
            "HEADRACE_SOURCE_SECRET_ACCESS_KEY": settings.s3_secret_key,
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        }
    )

    assert sources.named("s3://theirs/t.csv", theirs, tmp_path).sha256 == DIGEST
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 is not reachable"):
        sources.named("s3://datasets/t.csv", replace(theirs, s3_access_key="a", s3_secret_key="b"), tmp_path)
    with pytest.raises(InputError, match="of your own, export HEADRACE_SOURCE_ACCESS_KEY_ID"):
        sources.named("s3://theirs/absent.csv", settings, tmp_path)


@pytest.mark.parametrize("change", ["written to", "replaced", "gone"])
def test_a_file_that_changes_while_it_is_read_is_told(offline: Settings, tmp_path: Path, change: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(CONTENT)
    found = sources.named(str(path), offline, tmp_path)
    found.check_unchanged()
    if change == "written to":
        with path.open("ab") as stream:
            stream.write(b"3,4\n")
    elif change == "replaced":
        (tmp_path / "new").write_bytes(CONTENT)
        (tmp_path / "new").replace(path)
    else:
        path.unlink()

    with pytest.raises(InputError, match=r"t\.csv changed while it was read"):
        found.check_unchanged()


def test_says_what_s3_lacks(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s3://datasets/incoming/absent\.csv: nothing is stored there"):
        sources.named("s3://datasets/incoming/absent.csv", settings, tmp_path)


def test_names_the_endpoint_of_an_unreachable_s3(offline: Settings, tmp_path: Path) -> None:
    unreachable = replace(offline, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key="b")

    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 is not reachable"):
        sources.named("s3://datasets/t.csv", unreachable, tmp_path)
