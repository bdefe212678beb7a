"""What we know about S3: one client, immutable puts, whole folders up and down, and the address KServe reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from minio import Minio

    from components.settings import Settings

ATTEMPTS = 3
"""Tries per request against faults that pass (429, 500, 502, 503, 504, broken connections), with growing pauses."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0


class StoreError(Exception):
    """The object store did not do what was asked; the message names the address and the remedy."""


class AlreadyExists(StoreError):
    """An immutable object is there already."""


@dataclass(frozen=True)
class Address:
    """An object or a prefix of objects."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> Address:
        return Address(self.bucket, f"{self.key.rstrip('/')}/{name}" if self.key else name)


def parse(uri: str) -> Address:
    """Return the address of an `s3://` URI, or of the `minio://` URI that KFP uses for the same thing.

    Raises:
        StoreError: Another scheme, or no bucket.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("s3", "minio") or not parts.netloc:
        raise StoreError(f"{uri!r} is not an object store address: expected s3://bucket/key")
    return Address(parts.netloc, parts.path.lstrip("/"))


class Store:
    """An S3 endpoint: SeaweedFS on the laptop, MinIO or AWS elsewhere."""

    def __init__(self, settings: Settings) -> None:
        """Open no connection yet; the first call does."""
        self._endpoint = settings.s3_endpoint or "https://s3.amazonaws.com"
        self._client = _client(settings, self._endpoint)

    def put(self, address: Address, content: bytes, *, once: bool = False, match: str | None = None) -> str:
        """Write an object and return its entity tag; atomic, also against other writers.

        Args:
            once: Only if there is no such object.
            match: Only if the object there still has this entity tag.

        Raises:
            AlreadyExists: The condition does not hold.
        """
        condition = {"If-None-Match": "*"} if once else {"If-Match": f'"{match}"'} if match is not None else None
        with self._told("write", address):
            if condition is None:
                result = self._client.put_object(address.bucket, address.key, BytesIO(content), len(content))
                return str(result.etag).strip('"')
            # The SDK has no public conditional put; its signed request function takes the header.
            answer = self._client._execute("PUT", address.bucket, address.key, body=content, headers=condition)
            return str(answer.headers["etag"]).strip('"')

    def tag(self, address: Address) -> str:
        """Return the entity tag of an object.

        Raises:
            FileNotFoundError: There is no such object.
        """
        with self._told("look up", address):
            return str(self._client.stat_object(address.bucket, address.key).etag).strip('"')

    def put_file(self, address: Address, path: Path) -> None:
        """Write an object from a file, in parts when it is large."""
        with self._told("write", address):
            self._client.fput_object(address.bucket, address.key, str(path))

    def get(self, address: Address) -> bytes:
        """Return the content of an object.

        Raises:
            FileNotFoundError: There is no such object.
        """
        with self._told("read", address):
            response = self._client.get_object(address.bucket, address.key)
            try:
                content: bytes = response.read()
            finally:
                response.close()
                response.release_conn()
        return content

    def get_file(self, address: Address, path: Path) -> None:
        """Write the content of an object to a file, which appears only when it is whole.

        Raises:
            FileNotFoundError: There is no such object.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._told("read", address):
            self._client.fget_object(address.bucket, address.key, str(path))

    def exists(self, address: Address) -> bool:
        """Return whether there is an object at exactly this address."""
        try:
            with self._told("look up", address):
                self._client.stat_object(address.bucket, address.key)
        except FileNotFoundError:
            return False
        return True

    def keys(self, prefix: Address) -> Iterator[Address]:
        """Yield every object below a prefix, in key order; nothing when the bucket does not exist."""
        key = f"{prefix.key.rstrip('/')}/" if prefix.key else ""
        with contextlib.suppress(FileNotFoundError), self._told("list", prefix):
            for item in self._client.list_objects(prefix.bucket, prefix=key, recursive=True):
                yield Address(prefix.bucket, str(item.object_name))

    def remove(self, address: Address) -> None:
        """Delete an object; one that is not there is no error."""
        with self._told("delete", address):
            self._client.remove_object(address.bucket, address.key)

    def upload(self, folder: Path, prefix: Address, *, last: str | None = None) -> None:
        """Write every file of a folder below a prefix; `last` names the file that makes the others count.

        The last file is written once only, so a published folder never changes.

        Raises:
            AlreadyExists: `last` was published before.
        """
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name != last:
                self.put_file(prefix / name, path)
        if last is not None:
            self.put(prefix / last, (folder / last).read_bytes(), once=True)

    def download(self, prefix: Address, folder: Path) -> None:
        """Write every object below a prefix into a folder.

        Raises:
            FileNotFoundError: There is nothing below the prefix.
        """
        found = False
        for address in self.keys(prefix):
            found = True
            name = address.key[len(prefix.key.rstrip("/")) + 1 :]
            self.get_file(address, folder / name)
        if not found:
            raise FileNotFoundError(f"{prefix}: nothing is stored there")

    def ensure_bucket(self, bucket: str) -> None:
        """Create a bucket unless it exists."""
        with self._told("create the bucket of", Address(bucket, "")):
            if not self._client.bucket_exists(bucket):
                self._client.make_bucket(bucket)

    @contextlib.contextmanager
    def _told(self, action: str, address: Address) -> Iterator[None]:
        """Turn the SDK's errors into ours, with what was asked of whom and what to do."""
        from minio.error import InvalidResponseError, S3Error, ServerError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except S3Error as error:
            raise _explained(error, action, address, self._endpoint) from error
        except (InvalidResponseError, ServerError) as error:
            raise StoreError(f"could not {action} {address}: {self._endpoint} answered no S3 ({error})") from error
        except HTTPError as error:
            raise StoreError(
                f"could not {action} {address}: {self._endpoint} is not reachable ({type(error).__name__}); "
                "start the object store or set AWS_ENDPOINT_URL"
            ) from error


def _explained(error: Exception, action: str, address: Address, endpoint: str) -> Exception:
    code = str(getattr(error, "code", ""))
    if code in ("NoSuchKey", "NoSuchBucket", "NoSuchObject"):
        return FileNotFoundError(f"{address}: nothing is stored there ({code} from {endpoint})")
    if code == "PreconditionFailed":
        return AlreadyExists(f"{address} is published already and never changes")
    if code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return StoreError(
            f"may not {action} {address} at {endpoint} ({code}): check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return StoreError(f"could not {action} {address} at {endpoint}: {code or error}")


def _client(settings: Settings, endpoint: str) -> Minio:
    import urllib3
    from minio import Minio

    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise StoreError(
            f"endpoint of the object store {endpoint!r} (AWS_ENDPOINT_URL): expected http://host:port or https://host:port"
        )
    return Minio(
        parts.netloc,
        access_key=settings.s3_access_key or None,
        secret_key=settings.s3_secret_key or None,
        session_token=settings.s3_session_token or None,
        secure=parts.scheme == "https",
        region=settings.s3_region,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            maxsize=8,
            retries=urllib3.Retry(total=ATTEMPTS, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504)),
        ),
    )
