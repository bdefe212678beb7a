"""Brings the file of a source onto this machine: shipped, mirrored, local, from S3 or from the web, and checked."""

from __future__ import annotations

import hashlib
import http.client
import logging
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from components.errors import InputError

if TYPE_CHECKING:
    from components.settings import Settings
    from components.use_cases import Source

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 1 << 20
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Obtained:
    """A source file on this machine.

    Attributes:
        location: What a person would look up: the URL or path it came from.
        sha256: Of its bytes, as found (and as expected, where something was expected).
        stamp: Of the file before it was hashed.
    """

    path: Path
    location: str
    sha256: str
    bytes: int
    stamp: Stamp

    def check_unchanged(self) -> None:
        """Make sure that what was read since is what was hashed.

        Raises:
            InputError: The file was written to or replaced in the meantime.
        """
        if not self.path.is_file() or _stamp(self.path) != self.stamp:
            raise InputError(
                f"{self.location} changed while it was read, so nothing of it is kept: run again when whoever writes "
                "it has finished, or give a copy"
            )


def obtain(source: Source, settings: Settings, folder: Path) -> Obtained:
    """Return the file of a use case's own source; downloads go into `folder`.

    A file of this name in the mirror folder wins over the network.

    Raises:
        InputError: It cannot be had, or its checksum is not the expected one.
    """
    mirrored = settings.mirror / source.file if settings.mirror and source.file else None
    if mirrored is not None and mirrored.is_file():
        found = _measured(mirrored, source.location)
    else:
        found = named(source.location, settings, folder, mirror_file=source.file)
    if source.sha256 is not None and found.sha256 != source.sha256:
        raise InputError(
            f"{found.path.name} from {mirrored if found.path == mirrored else found.location} has another checksum "
            f"(expected sha256 {source.sha256}, found {found.sha256}): it is cut short or changed; fetch it again from "
            f"{source.location}"
        )
    return found


def named(location: str, settings: Settings, folder: Path, mirror_file: str = "") -> Obtained:
    """Return the file at a location: `https://`, `http://`, `s3://`, `package:`, or a path.

    Raises:
        InputError: There is no such file, or it cannot be reached.
    """
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        return _downloaded(location, folder, mirror_file)
    if parts.scheme in ("s3", "minio"):
        return _from_store(location, settings, folder)
    if parts.scheme == "package":
        return _shipped(parts.path, location)
    path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(location).expanduser()
    if path.is_dir():
        raise InputError(f"{location} is a folder: name one CSV or Parquet file in it")
    if not path.is_file():
        raise InputError(
            f"there is no file {location!r} (looked in {path.absolute().parent}): give the path of a CSV or Parquet "
            "file, or an s3:// or https:// address; a pipeline on a cluster cannot see files of your machine"
        )
    return _measured(path, location)


def _shipped(name: str, location: str) -> Obtained:
    """Return a file that an installed package contains; `name` is package/path/in/package."""
    package, _, inner = name.partition("/")
    path = Path(str(resources.files(package))) / inner
    if not path.is_file():
        raise InputError(
            f"the installed package {package} has no file {inner}: install the locked version of {package}"
        )
    return _measured(path, location)


def _downloaded(url: str, folder: Path, mirror_file: str) -> Obtained:
    target = folder / (Path(unquote(urlsplit(url).path)).name or "download")
    log.info("download %s", url)
    hint = f", or put the file into a folder as {mirror_file} and set HEADRACE_MIRROR to it" if mirror_file else ""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "headrace"})  # noqa: S310  http(s) only, see `named`
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as stream:  # noqa: S310
            shutil.copyfileobj(answer, stream, BLOCK_BYTES)
            expected = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} answered {error.code} {error.reason}: check the address{hint}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{url} cannot be reached ({reason}): check the address and the network{hint}") from error
    if expected and expected.isdecimal() and int(expected) != target.stat().st_size:
        raise InputError(f"{url} broke off after {target.stat().st_size:,} of {int(expected):,} bytes: run again{hint}")
    return _measured(target, url)


def _from_store(location: str, settings: Settings, folder: Path) -> Obtained:
    from components.settings import SOURCE_ACCESS_KEY, SOURCE_ENDPOINT, SOURCE_SECRET_KEY
    from components.store import Store, StoreError, parse

    address = parse(location)
    target = folder / (Path(address.key).name or "download")
    found = settings.of_sources(address.bucket)
    another = (
        f"; for data in a store of your own, export {SOURCE_ACCESS_KEY} and {SOURCE_SECRET_KEY}, and "
        f"{SOURCE_ENDPOINT} where it is not AWS"
    )
    try:
        Store(found).get_file(address, target)
    except FileNotFoundError as error:
        raise InputError(f"{error}: check the bucket and the key{another if found is settings else ''}") from error
    except StoreError as error:
        raise InputError(str(error)) from error
    return _measured(target, location)


def _measured(path: Path, location: str) -> Obtained:
    stamp = _stamp(path)
    digest, size = hashed(path)
    return Obtained(path, location, digest, size, stamp)


def _stamp(path: Path) -> Stamp:
    """Return what changes with a file's content: replacing it changes the inode, writing its size or time."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def hashed(path: Path) -> tuple[str, int]:
    """Return the hex SHA-256 and the size of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
