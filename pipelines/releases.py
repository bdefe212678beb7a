"""What happened to the versions of a model, as the laptop knows it; for a cluster that is components.releases.history.

A laptop keeps no record of its own: the registry has the versions with what became of each, and the server says what it
serves.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib import request as http
from urllib.error import URLError
from urllib.parse import urlsplit

from components import tracking
from components.errors import InputError
from components.releases import LAPTOP, Release, ReleaseError, laptop
from pipelines.local import registered

if TYPE_CHECKING:
    from components.settings import Settings
    from components.tracking import Registered

OUTCOME = f"headrace.release.{LAPTOP}"
REASON = f"{OUTCOME}.reason"
RELEASED = "released"
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Served:
    """What a model's server on this machine is doing.

    Attributes:
        version: What it serves; empty when it does not run.
        since: When it began to serve that.
    """

    url: str
    version: str
    champion: str
    since: str = ""


def served(settings: Settings, model: str) -> Served:
    """Return what this machine serves of a model.

    Raises:
        InputError: The model has no version.
    """
    _versions(settings, model)
    server = laptop.running(settings.home / "served" / model, model)
    version = _asked(server.url, model) if server else ""
    link = settings.home / "served" / model / "current"
    since = f"{datetime.fromtimestamp(link.lstat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC" if version else ""
    return Served(server.url if server else "", version, registered.champion(settings, model) or "", since)


def outcomes(settings: Settings, model: str) -> list[tuple[Registered, str, str]]:
    """Return the versions of a model, oldest first, with what became of each here and why."""
    found = _versions(settings, model)
    return [(item, item.tags.get(OUTCOME, "registered"), item.tags.get(REASON, "")) for item in found]


def rollback(settings: Settings, model: str, to: str = "") -> Release:
    """Serve an earlier version again, verified as at its first release, and make it the champion.

    Args:
        to: The version; empty takes the released one before the champion.

    Raises:
        InputError: There is no such version, or nothing to go back to.
        ReleaseError: It was not accepted; what served before serves on.
    """
    known = {str(item.number): item for item in _versions(settings, model)}
    version = to or _previous(settings, model)
    if version not in known:
        raise InputError(f"model {model!r} has no version {version!r}: choose one of {', '.join(known)}")
    released = laptop.release(settings, model, version, LAPTOP)
    tracking.set_champion(settings, model, version)
    reasons = "; ".join(("gone back to", *released.reasons))
    tracking.tag_version(settings, model, version, {OUTCOME: RELEASED, REASON: reasons})
    return released


def diff(settings: Settings, model: str, version: str, against: str = "") -> str:
    """Return how a version differs from another one, by default the champion, as a unified diff of what they are."""
    before = against or registered.champion(settings, model) or ""
    if not before:
        raise InputError(f"model {model!r} has no champion to compare with: name a version with --against")
    old, new = (_description(settings, _version(settings, model, number)) for number in (before, version))
    return "".join(difflib.unified_diff(old, new, f"{model} {before}", f"{model} {version}", n=1))


def dataset(settings: Settings, model: str, version: str) -> dict[str, Any]:
    """Return what the catalogue says about a data set; empty when it was not kept."""
    if not settings.datasets_bucket or not version:
        return {}
    from components.store import Address, Store

    try:
        content = Store(settings).get(Address(settings.datasets_bucket, f"{model}/{version}/dataset.json"))
    except FileNotFoundError:
        return {}
    return dict(json.loads(content))


def at(url: str) -> tuple[str, str]:
    """Return the model and the version that an endpoint serves.

    Args:
        url: Its base URL, or that of one of its models.

    Raises:
        ReleaseError: Nothing answers there, or it serves several models.
    """
    where = urlsplit(url)
    base = f"{where.scheme}://{where.netloc}"
    parts = where.path.strip("/").split("/")
    named = parts[2].partition(":")[0] if len(parts) > 2 and parts[1] == "models" else ""
    try:
        models = [named] if named else list(_get(f"{base}/v1/models")["models"])
    except (OSError, ValueError, KeyError, TypeError, URLError) as error:
        raise ReleaseError(f"{base} does not answer as a model server ({error})") from error
    if len(models) != 1:
        raise ReleaseError(f"{base} serves {', '.join(models) or 'nothing'}: name one as {base}/v2/models/NAME")
    version = _asked(base, models[0])
    if not version:
        raise ReleaseError(f"{base} does not say which version of {models[0]} it serves")
    return models[0], version


def _versions(settings: Settings, model: str) -> list[Registered]:
    found = registered.versions(settings, model)
    if not found:
        raise InputError(f"model {model!r} has no version yet: see python -m pipelines list versions")
    return found


def _version(settings: Settings, model: str, number: str) -> Registered:
    found = _versions(settings, model)
    for item in found:
        if str(item.number) == number:
            return item
    choice = ", ".join(str(item.number) for item in found)
    raise InputError(f"model {model!r} has no version {number!r}: choose one of {choice}")


def _previous(settings: Settings, model: str) -> str:
    champion = registered.champion(settings, model)
    released = [item.number for item, outcome, _ in outcomes(settings, model) if outcome == RELEASED]
    earlier = [number for number in released if champion is None or number < int(champion)]
    if not earlier:
        raise InputError(
            f"model {model!r} has no released version before {champion or 'the first'}: name one with --to"
        )
    return str(earlier[-1])


def _description(settings: Settings, item: Registered) -> list[str]:
    """Return what a version is, as lines of YAML."""
    import yaml

    from components.store import Store, parse

    store, address = Store(settings), parse(item.uri)
    bundle = json.loads(store.get(address / "bundle.json"))
    content = {
        "candidate": bundle["candidate"],
        "digest": item.digest,
        "provenance": {**bundle["provenance"], "run": item.run},
        "schema": bundle["schema"],
        "metrics": json.loads(store.get(address / "metrics.json")),
        "files": {name: file["bytes"] for name, file in bundle["files"].items()},
    }
    return yaml.safe_dump(content, sort_keys=True, allow_unicode=True, width=120).splitlines(keepends=True)


def _asked(base: str, model: str) -> str:
    """Return the version that a server says it serves, empty when it does not say."""
    try:
        return str((_get(f"{base}/v2/models/{model}").get("versions") or [""])[0])
    except (OSError, ValueError, URLError):
        return ""


def _get(url: str) -> dict[str, Any]:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ReleaseError(f"{url}: expected an address such as http://127.0.0.1:8080")
    with http.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - checked above
        return dict(json.load(response))
