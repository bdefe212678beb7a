"""Releasing to a cluster: gather what is known about the version, take the lease, roll out."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from components import tracking
from components.releases import Release, ReleaseError
from components.releases.kube import Kube, Pace, connect
from components.releases.lease import held
from components.releases.plans import DATASET, DIGEST, RUN, Target, check_host, stamp
from components.releases.rollout import Rollout
from components.store import Store, parse
from serving.bundle import GOLDEN, MANIFEST

if TYPE_CHECKING:
    from components.settings import Settings


def release(
    settings: Settings, model: str, version: str, environment: str, strategy: str = "", pace: Pace | None = None
) -> Release:
    """Release a registered version to the cluster of this process or of KUBECONFIG.

    Raises:
        ReleaseError: It could not be tried, or nobody knows how it ended.
    """
    target, golden = prepare(settings, model, version, environment, strategy)
    kube = connect(pace)
    check_host(model, kube.namespace)
    return roll_out(kube, target, golden, environment)


def prepare(
    settings: Settings, model: str, version: str, environment: str, strategy: str
) -> tuple[Target, Mapping[str, Any]]:
    """Return the stamped manifest and the golden requests of a version, after its published bundle was checked.

    Raises:
        ReleaseError: No such version or environment, or the bundle is not what was registered.
    """
    known = {str(item.number): item for item in tracking.versions(settings, model)}
    if version not in known:
        choice = ", ".join(known) or "none is registered yet"
        raise ReleaseError(f"model {model!r} has no version {version!r}: choose one of {choice}")
    registered = known[version]
    store, address = Store(settings), parse(registered.uri)
    try:
        found = hashlib.sha256(store.get(address / MANIFEST)).hexdigest()
        golden = json.loads(store.get(address / GOLDEN))
    except FileNotFoundError as error:
        raise ReleaseError(f"bundle {registered.uri} is not published: register the version again") from error
    if found != registered.digest:
        raise ReleaseError(
            f"bundle {registered.uri} does not match its digest (expected {registered.digest[:12]}…, "
            f"found {found[:12]}…): it was changed after publishing; train and register it again"
        )
    facts = {DIGEST: found, RUN: registered.run, DATASET: registered.tags.get(tracking.DATASET_TAG, "")}
    return stamp(environment, model, version, str(address), facts, strategy), golden


def roll_out(kube: Kube, target: Target, golden: Mapping[str, Any], environment: str) -> Release:
    """Roll out under the model's lease; SIGTERM puts the champion back before this process ends."""
    instances = golden["requests"][0]["instances"][:1] if golden["requests"] else []
    with orderly_end(), held(kube, f"{target.model}-release") as lease:
        return Rollout(kube, lease, target, golden, environment, json.dumps({"instances": instances})).run()


@contextmanager
def orderly_end() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that what is half done is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
