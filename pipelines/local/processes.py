"""The runner's side of the fork server: start a task, wait for it, kill it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Work:
    """One task for the fork server.

    Attributes:
        source: Python source of the component; `function` is the one to call.
        document: KFP's executor input.
        needs: Modules that must be loaded before the fork.
    """

    identifier: str
    source: str
    function: str
    document: Mapping[str, Any]
    environment: Mapping[str, str]
    log: Path
    scratch: Path
    needs: Sequence[str] = ()


@dataclass(frozen=True)
class Ended:
    """How a task's process ended.

    Attributes:
        code: Exit code; negative for a signal.
        error: Last line of the traceback, empty on success.
        peak_bytes: Largest resident set.
    """

    code: int
    error: str
    cpu_seconds: float
    peak_bytes: int


ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Read when the libraries are loaded, so a task that sets it later is too late. Tasks fill the cores side by side; with
more threads each they wait for each other, which cost boosting on 800 rows 40 times its CPU on a busy machine."""


class Lost(RuntimeError):
    """The fork server is gone, and its tasks with it."""


class ForkServer:
    """A running fork server; use it as a context manager."""

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start it; it loads the modules while the caller goes on."""
        ours, theirs = socket.socketpair()
        self._control = ours
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._ended: dict[str, Ended] = {}
        self._pids: dict[str, int] = {}
        self._lost = False
        bytecode = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with theirs, log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.local.forkserver", *preload],
                stdin=theirs.fileno(),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={**bytecode, **ONE_THREAD, "_KFP_RUNTIME": "true", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"},
            )
        self._reader = threading.Thread(target=self._read, name="forkserver", daemon=True)
        self._reader.start()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, work: Work) -> None:
        """Queue a task.

        Raises:
            Lost: The server is gone.
        """
        work.scratch.mkdir(parents=True, exist_ok=True)
        self._send(
            {
                "id": work.identifier,
                "source": work.source,
                "function": work.function,
                "input": work.document,
                "env": {**work.environment, "_KFP_RUNTIME": "true", "TMPDIR": str(work.scratch)},
                "log": str(work.log),
                "tmp": str(work.scratch),
                "needs": list(work.needs),
            }
        )

    def wait_begun(self, identifier: str) -> None:
        """Return when the process of a task is there: at once, except while libraries are still being loaded."""
        with self._changed:
            self._changed.wait_for(lambda: identifier in self._pids or identifier in self._ended or self._lost)

    def wait(self, identifier: str, seconds: float | None = None) -> Ended | None:
        """Return how a task ended, or None when it has not after `seconds`.

        Raises:
            Lost: The server is gone.
        """
        with self._changed:
            self._changed.wait_for(lambda: identifier in self._ended or self._lost, seconds)
            if identifier in self._ended:
                return self._ended.pop(identifier)
            if self._lost:
                raise Lost("the process that runs the tasks ended; see forkserver.log of the run")
            return None

    def kill(self, identifier: str) -> None:
        """End a task with everything in its process group; it then counts as ended."""
        with contextlib.suppress(Lost):
            self._send({"kill": identifier})

    def close(self) -> None:
        """End the server and every task that still runs."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(GRACE_SECONDS)
        self._control.close()

    def _note(self, message: Mapping[str, Any]) -> None:
        if "pid" in message:
            self._pids[message["id"]] = message["pid"]
            return
        self._pids.pop(message["id"], None)
        self._ended[message["id"]] = Ended(message["code"], message["error"], message["cpu"], message["peak"])

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            with self._sending:
                self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise Lost("the process that runs the tasks ended; see forkserver.log of the run") from error

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._control.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                with self._changed:
                    self._note(message)
                    self._changed.notify_all()
        for pid in self._pids.values():  # the server is gone, and can no longer end what its tasks started
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        with self._changed:
            self._lost = True
            self._changed.notify_all()
