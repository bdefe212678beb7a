"""A memory cgroup for one process, as a pod has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

POD = 512 << 20
GROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


@contextlib.contextmanager
def caged(pid: int) -> Iterator[None]:
    """Put a process into a memory cgroup of its own, where that is possible."""
    for root, file in zip(GROUPS, ("memory.limit_in_bytes", "memory.max"), strict=True):
        group = root / f"headrace-test-{pid}"
        try:
            group.mkdir()
            (group / file).write_text(str(POD))
            (group / "cgroup.procs").write_text(str(pid))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield
        finally:
            (root / "cgroup.procs").write_text(str(pid))
            with contextlib.suppress(OSError):
                group.rmdir()
        return
    yield


def peak(pid: int) -> int:
    """Return the most bytes that a process has had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def ready(running: Any) -> bool:
    """Return whether a server says so."""
    return httpx.get(f"{running.url}/v2/health/ready", timeout=30).status_code == 200
