"""From a winner on disk to a registered version: published once, then registered, so that no version lacks its bundle.

The order makes every crash harmless. A bundle counts when its `bundle.json` is there, which is written last and only
once; the version is created in MLflow after that. A run that died in between leaves a published, unregistered bundle,
and the next `publish` of the model registers that one first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import lease, tracking
from components.store import Address, Store
from serving import bundle as bundles
from serving.bundle import Bundle
from serving.schema import schema_to_json

if TYPE_CHECKING:
    from components.settings import Settings

TRIES = 20
"""Version numbers tried before giving up: each one that MLflow has used for a version deleted since costs one."""


@dataclass(frozen=True)
class Version:
    """A registered version and where its bundle is.

    Attributes:
        new: Whether it was registered for this run; an equal model keeps the version it has.
    """

    model: str
    number: str
    uri: str
    digest: str
    new: bool = True


class RegistryError(Exception):
    """A version could not be published, registered or fetched."""


def publish(settings: Settings, winner: Bundle, run: str) -> Version:
    """Publish a bundle under the next version number and register it; calling it again with the same run, or with the
    same model of the same data, returns the version that there is.

    Args:
        run: The pipeline's run id, recorded in the bundle and in MLflow.
    """
    store = Store(settings)
    store.ensure_bucket(settings.models_bucket)
    with lease.held(store, Address(settings.models_bucket, f"{winner.model}/publishing.json")):
        _register_orphans(settings, store, winner.model)
        published = _published(settings, store, winner.model)
        same = identity(winner)
        for registered in reversed(tracking.versions(settings, winner.model)):
            equal = registered.tags.get(tracking.MODEL_TAG) == same and registered.number in published
            if registered.run == run or equal:
                new = registered.run == run
                return Version(winner.model, str(registered.number), registered.uri, registered.digest, new)
        return _publish_next(settings, store, winner, run)


def identity(bundle: Bundle) -> str:
    """Return what two bundles share that answer every request alike and come from the same data: a hex SHA-256."""
    parts = (
        bundle.candidate,
        bundle.provenance.get("dataset"),
        *(bundle.files[name].sha256 for name in (bundles.MODEL, bundles.GOLDEN, bundles.REFERENCE)),
        schema_to_json(bundle.schema),
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fetch(settings: Settings, model: str, version: str, folder: Path) -> Bundle:
    """Download a registered version into a folder, check it against its recorded digest and return it.

    The folder appears whole or not at all; one that already holds the right bundle is used as it is.

    Raises:
        RegistryError: There is no such version.
        BundleError: The published files do not match the digest recorded at registration.
    """
    known = {str(item.number): item for item in tracking.versions(settings, model)}
    if version not in known:
        choice = ", ".join(known) or "none is registered yet"
        raise RegistryError(f"model {model!r} has no version {version!r}: choose one of {choice}")
    digest = known[version].digest or None
    if folder.is_dir():
        try:
            return bundles.load(folder, digest)
        except bundles.BundleError:
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        Store(settings).download(_address(settings, model, int(version)), partial)
        found = bundles.load(partial, digest)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return replace(found, folder=folder)


def _publish_next(settings: Settings, store: Store, winner: Bundle, run: str) -> Version:
    for _ in range(TRIES):
        number = _next_number(settings, store, winner.model)
        _remove(store, _address(settings, winner.model, number))  # leftovers of a run that died while uploading
        sealed = _upload(settings, store, winner, run, number)
        given = _register(settings, sealed, number, winner.json(bundles.METRICS))
        if given == number:
            return Version(winner.model, str(number), str(_address(settings, winner.model, number)), sealed.digest)
        _give_back(settings, store, winner.model, number, given)
    raise RegistryError(
        f"MLflow did not give {winner.model} the number of its published bundle in {TRIES} tries: "
        "something else registers versions of this model; stop it and run again"
    )


def _give_back(settings: Settings, store: Store, model: str, number: int, given: int) -> None:
    """Undo a publication whose number MLflow had used up already, for a version that was deleted since."""
    tracking.delete_version(settings, model, given)
    _remove(store, _address(settings, model, number))
    content = json.dumps({"number": given}).encode()
    store.put(Address(settings.models_bucket, f"{model}/floor.json"), content)


def _address(settings: Settings, model: str, number: int) -> Address:
    """Return the folder of a version; it ends in a slash, because what lists by a bare prefix takes 10 to 19 for 1."""
    return Address(settings.models_bucket, f"{model}/{number}/")


def _published(settings: Settings, store: Store, model: str) -> set[int]:
    """Return the numbers whose bundle.json is in the store."""
    prefix = Address(settings.models_bucket, model)
    found = set()
    for address in store.keys(prefix):
        parts = address.key.split("/")
        if len(parts) == 3 and parts[2] == bundles.MANIFEST and parts[1].isdecimal():
            found.add(int(parts[1]))
    return found


def _next_number(settings: Settings, store: Store, model: str) -> int:
    registered = {version.number for version in tracking.versions(settings, model)}
    taken = registered | _published(settings, store, model) | {_floor(settings, store, model)}
    return max(taken) + 1


def _floor(settings: Settings, store: Store, model: str) -> int:
    """Return the highest number known to be used up by versions that were deleted from MLflow."""
    try:
        return int(json.loads(store.get(Address(settings.models_bucket, f"{model}/floor.json")))["number"])
    except FileNotFoundError:
        return 0


def _upload(settings: Settings, store: Store, winner: Bundle, run: str, number: int) -> Bundle:
    with tempfile.TemporaryDirectory(prefix="headrace-publish-") as name:
        folder = Path(name) / "bundle"
        shutil.copytree(winner.folder, folder)
        provenance = {**winner.provenance, "run": run}
        sealed = bundles.seal(replace(winner, folder=folder, version=str(number), provenance=provenance))
        store.upload(folder, _address(settings, winner.model, number), last=bundles.MANIFEST)
        return sealed


def _register(settings: Settings, sealed: Bundle, number: int, figures: Mapping[str, Any]) -> int:
    address = str(_address(settings, sealed.model, number))
    provenance: dict[str, Any] = dict(sealed.provenance)
    tags = {
        tracking.URI_TAG: address,
        tracking.DIGEST_TAG: sealed.digest,
        tracking.RUN_TAG: str(provenance.get("run", "")),
        tracking.DATASET_TAG: str(provenance.get("dataset", "")),
        tracking.CANDIDATE_TAG: sealed.candidate,
        tracking.MODEL_TAG: identity(sealed),
        "headrace.code": str(provenance.get("code", "")),
    }
    for name, figure in figures.get("test", {}).get("figures", {}).items():
        if figure["value"] is not None:
            tags[f"{tracking.TEST_TAG}{name}"] = repr(figure["value"])
    return tracking.create_version(
        settings,
        sealed.model,
        source=address,
        run=provenance.get("mlflow_run"),
        tags=tags,
        description=f"{sealed.candidate} of {sealed.use_case}, bundle {sealed.digest[:12]}",
    )


def _register_orphans(settings: Settings, store: Store, model: str) -> None:
    """Finish what a killed run began: register published bundles that have no version, in order of their numbers."""
    registered = {version.number for version in tracking.versions(settings, model)}
    newest = max(registered, default=0)
    for number in sorted(_published(settings, store, model) - registered):
        if number < newest:
            continue  # a version deleted from the registry on purpose; its files stay until someone removes them
        with tempfile.TemporaryDirectory(prefix="headrace-orphan-") as name:
            store.download(_address(settings, model, number), Path(name))
            orphan = bundles.load(Path(name))
            figures = orphan.json(bundles.METRICS)
        given = _register(settings, orphan, number, figures)
        if given != number:
            _give_back(settings, store, model, number, given)


def _remove(store: Store, prefix: Address) -> None:
    """Delete a folder of the store, its bundle.json first so that nobody takes the rest for a bundle."""
    store.remove(prefix / bundles.MANIFEST)
    for address in list(store.keys(prefix)):
        store.remove(address)
