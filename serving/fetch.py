"""The bundle's folder, wherever it is: a local folder as it stands, or a copy of an S3 prefix.

Credentials and endpoint come from the variables KServe's storage secrets set: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL (or S3_ENDPOINT with S3_USE_HTTPS), AWS_DEFAULT_REGION, S3_VERIFY_SSL, AWS_CA_BUNDLE.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.bundle import MANIFEST, BundleError

_copies: set[Path] = set()
"""Folders that `fetch` made; nothing else may be taken for one and removed."""


def fetch(model_dir: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return a local folder with the bundle's files; a copy is made for S3 only.

    Raises:
        BundleError: S3 does not answer, refuses, or has nothing there.
    """
    if "://" not in model_dir:
        return Path(model_dir).resolve()
    address = urlsplit(model_dir)
    if address.scheme != "s3" or not address.netloc:
        raise BundleError(f"model_dir {model_dir!r}: expected a folder or s3://bucket/prefix")
    folder = _scratch(model_dir)
    prefix = address.path.strip("/") + "/" if address.path.strip("/") else ""
    try:
        _download(_client(environment), address.netloc, prefix, folder)
    except BundleError:
        raise
    except Exception as error:  # minio and urllib3 have many exception types; each means the bundle cannot be had
        reason = str(error).partition("\n")[0][:300]
        raise BundleError(f"bundle {model_dir} cannot be fetched ({reason}): check endpoint and credentials") from error
    return folder


def is_temporary(folder: Path) -> bool:
    """Return whether `fetch` made this folder as a copy."""
    return folder in _copies


def _scratch(model_dir: str) -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="bundle-")).resolve()
    except OSError as error:
        raise BundleError(
            f"bundle {model_dir} cannot be fetched ({error}): fetching needs a folder that can be written to; mount an "
            "emptyDir at /tmp, set TMPDIR, or let KServe's storage initializer fetch it (storageUri)"
        ) from error
    _copies.add(folder)
    return folder


def _download(client: Any, bucket: str, prefix: str, folder: Path) -> None:
    names = [item.object_name for item in client.list_objects(bucket, prefix=prefix, recursive=True)]
    if prefix + MANIFEST not in names:
        raise BundleError(f"s3://{bucket}/{prefix} is not a bundle: it has no {MANIFEST}; publish it again")
    for name in names:
        target = (folder / name.removeprefix(prefix)).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise BundleError(f"s3://{bucket}/{name}: the name leaves the bundle's folder; publish it again")
        if not name.endswith("/"):
            client.fget_object(bucket, name, str(target))


def _client(environment: Mapping[str, str]) -> Any:
    """Return an S3 client that gives up after a few seconds: a pod that cannot load should say so and restart."""
    import minio
    import urllib3

    endpoint = environment.get("AWS_ENDPOINT_URL") or environment.get("S3_ENDPOINT") or "https://s3.amazonaws.com"
    if "://" not in endpoint:
        secure = environment.get("S3_USE_HTTPS", "1") != "0"
        endpoint = f"http{'s' if secure else ''}://{endpoint}"
    address = urlsplit(endpoint)
    verified = environment.get("S3_VERIFY_SSL", "1").lower() not in ("0", "false")
    context = ssl.create_default_context(cafile=environment.get("AWS_CA_BUNDLE") or None)
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    pool = urllib3.PoolManager(
        ssl_context=context,
        timeout=urllib3.Timeout(connect=5, read=30),
        retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
    )
    return minio.Minio(
        address.netloc,
        access_key=environment.get("AWS_ACCESS_KEY_ID"),
        secret_key=environment.get("AWS_SECRET_ACCESS_KEY"),
        session_token=environment.get("AWS_SESSION_TOKEN"),
        secure=address.scheme == "https",
        region=environment.get("AWS_DEFAULT_REGION") or environment.get("AWS_REGION") or "us-east-1",
        http_client=pool,
    )
