"""The catalogue of data sets in S3: every version that was ever ingested can be listed and fetched again.

<bucket>/<model>/<version>/train.parquet validation.parquet test.parquet
                           published      when, in UTC
                           dataset.json   written last: without it the version does not exist
                           validated      when `validate` accepted it; absent until then
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.dataset import MANIFEST, SPLITS, Dataset, read
from components.errors import InputError
from components.settings import Settings
from components.sources import hashed
from components.store import Address, AlreadyExists, Store, StoreError
from serving.schema import Schema, schema_to_json

log = logging.getLogger(__name__)

PUBLISHED = "published"
VALIDATED = "validated"
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Published:
    """A version of a data set in the catalogue."""

    model: str
    version: str
    published: str
    validated: bool
    address: Address


def version_of(schema: Schema, folder: Path) -> str:
    """Return the version of the splits in a folder: SHA-256 over the schema and the SHA-256 of each split."""
    digest = hashlib.sha256(json.dumps(schema_to_json(schema), sort_keys=True, ensure_ascii=False).encode())
    for split in SPLITS:
        digest.update(hashed(folder / f"{split}.parquet")[0].encode())
    return digest.hexdigest()


def is_kept(settings: Settings) -> bool:
    """Return whether data sets go to S3: always, unless HEADRACE_DATASETS_BUCKET is set to nothing.

    Raises:
        InputError: They should, and nobody said where S3 is.
    """
    if not settings.datasets_bucket:
        return False
    if not settings.s3_endpoint and not settings.s3_access_key:
        raise InputError(
            "no object store to keep the data set in: set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (`make run` starts a store and sets them), or set HEADRACE_DATASETS_BUCKET to "
            "nothing to keep data sets in their folder only"
        )
    return True


def publish(settings: Settings, dataset: Dataset, clock: Clock = lambda: datetime.now(UTC)) -> bool:
    """Upload a data set unless its version is there; return whether it was uploaded."""
    store = Store(settings)
    address = Address(settings.datasets_bucket, f"{dataset.model}/{dataset.version}")
    store.ensure_bucket(settings.datasets_bucket)
    if store.exists(address / MANIFEST):
        log.info("data set %s is published already", address)
        return False
    store.put(address / PUBLISHED, clock().isoformat(timespec="microseconds").encode())
    try:
        store.upload(dataset.folder, address, last=MANIFEST)
    except AlreadyExists:
        return False
    log.info("published data set %s", address)
    return True


def mark_validated(settings: Settings, dataset: Dataset, clock: Clock = lambda: datetime.now(UTC)) -> None:
    """Record that a version was accepted: later versions are compared with the latest such one."""
    address = Address(settings.datasets_bucket, f"{dataset.model}/{dataset.version}")
    Store(settings).put(address / VALIDATED, clock().isoformat(timespec="microseconds").encode())


def versions(settings: Settings, model: str) -> list[Published]:
    """Return the versions of a model's data, oldest first."""
    store = Store(settings)
    names: dict[str, set[str]] = {}
    for address in store.keys(Address(settings.datasets_bucket, model)):
        version, _, name = address.key.removeprefix(f"{model}/").partition("/")
        names.setdefault(version, set()).add(name)
    found = []
    for version, files in names.items():
        if MANIFEST in files:
            address = Address(settings.datasets_bucket, f"{model}/{version}")
            published = store.get(address / PUBLISHED).decode()
            found.append(Published(model, version, published, VALIDATED in files, address))
    return sorted(found, key=lambda one: (one.published, one.version))


def fetch(settings: Settings, model: str, version: str, folder: Path) -> Dataset:
    """Download a version into a folder that does not exist yet, and return it once its hash has been checked.

    Raises:
        InputError: There is no such version.
        StoreError: Its files are not those that were published.
    """
    store = Store(settings)
    address = Address(settings.datasets_bucket, f"{model}/{version}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as scratch:
        partial = Path(scratch) / "dataset"
        try:
            for name in (*(f"{split}.parquet" for split in SPLITS), MANIFEST):
                store.get_file(address / name, partial / name)
        except FileNotFoundError as error:
            known = ", ".join(one.version[:12] for one in versions(settings, model)) or "none"
            raise InputError(f"there is no data set version {version[:12]} of {model}; there are: {known}") from error
        dataset = read(partial)
        found = version_of(dataset.schema, partial)
        if not found == dataset.version == version:
            raise StoreError(
                f"data set {address} does not match its version (found {found[:12]}…): it was changed after "
                "publishing; remove it and ingest again"
            )
        shutil.move(partial, folder)
    return read(folder)
