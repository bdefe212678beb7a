"""Release a version; the alias `champion` moves only when the release was verified."""

from __future__ import annotations

from components import releases, settings, tracking
from components.errors import InputError
from components.releases import LAPTOP, Release, ReleaseError

DEFAULT = "default"
"""The strategy that the environment's manifest names."""


def deploy(model: str, version: str, environment: str, strategy: str = DEFAULT) -> Release:
    """Return a verified release whose version is now the champion.

    Running it again after a crash finishes the job: a version that serves already is only verified.

    Args:
        strategy: `canary`, `rolling`, or `default`.

    Raises:
        InputError: A pod was asked to release to the laptop.
        ReleaseError: The version was not accepted; the champion serves as before and the reasons are on the version.
    """
    known = settings.read()
    if environment == LAPTOP and known.in_cluster:
        raise InputError(
            f"environment {LAPTOP!r} is for runs on a laptop, and this one is in a cluster: choose another environment"
        )
    try:
        released = releases.release(known, model, version, environment, "" if strategy == DEFAULT else strategy)
    except ReleaseError as error:
        tracking.tag_version(known, model, version, _tags(environment, "refused", str(error)))
        raise
    if not released.verified:
        reasons = "; ".join(released.reasons)
        tracking.tag_version(known, model, version, _tags(environment, "rolled back", reasons))
        raise ReleaseError(f"{model} version {version} was not released to {environment}: {reasons}")
    tracking.set_champion(known, model, version)
    tracking.tag_version(known, model, version, _tags(environment, tracking.RELEASED, "; ".join(released.reasons)))
    return released


def _tags(environment: str, outcome: str, reason: str) -> dict[str, str]:
    name = f"{tracking.RELEASE_TAG}{environment}"
    return {name: outcome, f"{name}.reason": reason[:4000]}
