"""Bringing a registered version to the endpoint of an environment, so that a bad one never replaces a good one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.settings import Settings

LAPTOP = "laptop"
"""The environment without a cluster; every other name is a file of manifests/rendered/."""


@dataclass(frozen=True)
class Release:
    """What became of a version on its way to an endpoint.

    Attributes:
        url: Base URL of the endpoint.
        verified: The version serves and answers its golden requests; False means that the champion still serves.
        reasons: Why it was not verified, or what was checked.
        curl: One command that asks the endpoint for a prediction.
    """

    model: str
    version: str
    environment: str
    url: str
    verified: bool
    reasons: tuple[str, ...]
    curl: str


class ReleaseError(Exception):
    """A release could not be started or finished; the message says what was found and what to do."""


def release(settings: Settings, model: str, version: str, environment: str, strategy: str = "") -> Release:
    """Release a registered version and return what became of it.

    Args:
        environment: `laptop`, or the name of a rendered manifest (`local`, `production`).
        strategy: `canary` or `rolling`; empty takes what the environment's manifest says.

    Raises:
        ReleaseError: It could not be tried at all, or nothing could be said about its outcome.
    """
    if environment == LAPTOP:
        from components.releases import laptop

        return laptop.release(settings, model, version, environment, strategy)
    from components.releases import cluster

    return cluster.release(settings, model, version, environment, strategy)
