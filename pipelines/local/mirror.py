"""Copies the outputs of tasks to the artifacts bucket, where a cluster keeps them too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.settings import Settings


def mirror(settings: Settings, run: str) -> Callable[[Path, str], str]:
    """Return a function that copies a file or folder below the run's prefix and returns its address."""
    from components.store import Address, Store

    store = Store(settings)
    store.ensure_bucket(settings.artifacts_bucket)

    def copy(path: Path, name: str) -> str:
        address = Address(settings.artifacts_bucket, f"{run}/{name}")
        if path.is_dir():
            store.upload(path, address)
        else:
            store.put_file(address, path)
        return str(address)

    return copy
