"""Processes as containers run them: nothing of the file system can be written, and the environment is the image's.

A mount namespace of its own with everything read-only is what `readOnlyRootFilesystem: true` does. Where namespaces
cannot be made, processes run without it, and the tests that are about it skip.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

SEALED = """
for folder in /var/tmp /tmp /dev/shm; do
  if mountpoint --quiet $folder; then mount --options remount,bind,ro $folder; fi
done
mount --options remount,bind,ro / && exec "$@"
"""


def command(words: list[str]) -> list[str]:
    """Return a command that runs another one without a writable folder, if this machine can; its process stays one."""
    return [*_prefix(), *words]


def is_possible() -> bool:
    """Return whether this machine can take away all writable folders."""
    return bool(_prefix())


def environment() -> dict[str, str]:
    """Return the variables of the serving image, and no others."""
    paths = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return {"PATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


@cache
def _prefix() -> tuple[str, ...]:
    unshare = ["unshare", "--mount", "--propagation", "private"]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    prefix = (*unshare, *user, "sh", "-c", SEALED, "sealed")
    probe = "import tempfile, sys\ntry:\n    tempfile.gettempdir()\nexcept FileNotFoundError:\n    sys.exit(7)"
    try:
        tried = subprocess.run([*prefix, sys.executable, "-c", probe], capture_output=True, cwd="/", env=environment())
    except OSError:
        return ()
    return prefix if tried.returncode == 7 else ()
