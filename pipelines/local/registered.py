"""What is registered, read from the laptop's own MLflow store without loading MLflow, which takes seconds.

Only reading, only the tables of versions, tags and aliases, and only where the store is a file; a tracking server is
asked. `tests/pipelines/test_registered.py` holds both against each other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components import tracking
from components.tracking import Registered
from pipelines.local import database

if TYPE_CHECKING:
    from components.settings import Settings

DELETED = "Deleted_Internal"
"""The stage of a version that MLflow keeps a row for, though it was deleted."""


def models(settings: Settings) -> list[str]:
    """Return the names of the registered models, sorted."""
    path = database.file_of(settings.tracking_uri)
    if path is None:
        return sorted(found.name for found in tracking.client(settings).search_registered_models())
    with _opened(path) as store:
        return [str(name) for (name,) in store.execute("SELECT name FROM registered_models ORDER BY name")]


def versions(settings: Settings, model: str) -> list[Registered]:
    """Return the registered versions of a model, oldest first; empty when there is no such model."""
    path = database.file_of(settings.tracking_uri)
    if path is None:
        return tracking.versions(settings, model)
    with _opened(path) as store:
        tags: dict[int, dict[str, str]] = {}
        for version, key, value in store.execute(
            "SELECT version, key, value FROM model_version_tags WHERE name = ?", (model,)
        ):
            tags.setdefault(int(version), {})[key] = value
        rows = store.execute(
            "SELECT version, creation_time, source FROM model_versions WHERE name = ? AND current_stage != ? "
            "ORDER BY version",
            (model, DELETED),
        )
        return [
            Registered(
                model=model,
                number=int(number),
                uri=tags.get(int(number), {}).get(tracking.URI_TAG, str(source)),
                digest=tags.get(int(number), {}).get(tracking.DIGEST_TAG, ""),
                run=tags.get(int(number), {}).get(tracking.RUN_TAG, ""),
                created_ms=int(created),
                tags=tags.get(int(number), {}),
            )
            for number, created, source in rows
        ]


def champion(settings: Settings, model: str) -> str | None:
    """Return the version number that serves, None before the first release."""
    path = database.file_of(settings.tracking_uri)
    if path is None:
        return tracking.champion(settings, model)
    with _opened(path) as store:
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        found = store.execute(query, (model, tracking.CHAMPION)).fetchone()
    return str(found[0]) if found else None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the store for reading; one that does not exist yet is empty."""
    if not path.is_file():
        with contextlib.closing(sqlite3.connect(":memory:")) as empty:
            for table in ("registered_models", "model_versions", "model_version_tags", "registered_model_aliases"):
                columns = "name, version, key, value, alias, creation_time, source, current_stage"
                empty.execute(f"CREATE TABLE {table} ({columns})")
            yield empty
        return
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as store:
        yield store
