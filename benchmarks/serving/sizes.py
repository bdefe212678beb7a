"""Installed size: the files of a distribution and of everything it needs, from the metadata of the environment."""

from __future__ import annotations

import importlib.metadata as metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement


def closure(roots: Sequence[str]) -> set[str]:
    """Return the names of the distributions that get installed with these; extras nobody asked for do not count."""
    found: set[str] = set()
    pending = [Requirement(root) for root in roots]
    while pending:
        requirement = pending.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        for text in distribution.requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(needed)
    return found


def installed_mb(roots: Sequence[str]) -> float:
    """Return the megabytes (1e6 bytes) of the closure's files, bytecode included."""
    total = 0
    for name in closure(roots):
        for file in metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
    return total / 1e6


def folder_mb(folder: Path) -> float:
    """Return the megabytes of a folder as `du` counts them."""
    done = subprocess.run(["du", "-sk", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) * 1024 / 1e6
