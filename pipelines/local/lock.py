"""One run at a time per home folder; the lock goes with its process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError


class Busy(InputError):
    """Another run uses the home folder; the message names it."""


@contextlib.contextmanager
def exclusive(home: Path, run: str) -> Iterator[None]:
    """Hold the lock of a home folder.

    Raises:
        Busy: Another run holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "run.lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise Busy(_who(stream.read(), home)) from error
        stream.truncate(0)
        stream.write(json.dumps({"pid": os.getpid(), "run": run}))
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)


def holder(home: Path) -> str | None:
    """Return the id of the run that holds the lock now, None when nobody does."""
    try:
        with (home / "run.lock").open("r") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return str(json.loads(stream.read())["run"])
    except (OSError, ValueError, KeyError):
        return None
    return None


def _who(text: str, home: Path) -> str:
    try:
        holder = json.loads(text)
        who = f"run {holder['run']} (process {holder['pid']})"
    except (ValueError, KeyError, TypeError):
        who = "another run"
    return f"{who} uses {home}: wait for it, stop it, or set HEADRACE_HOME to another folder"
