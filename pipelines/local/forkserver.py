"""A process that has the heavy libraries loaded and forks one child per task.

Loading pandas, scikit-learn and MLflow costs over three seconds of CPU; a run pays for it once instead of once per
task. The server is single-threaded and forks before it computes anything, so children start from a clean state. It
speaks JSON lines over the socket at file descriptor 0:

    in   {"id", "source", "function", "input", "env", "log", "tmp", "needs": [modules]}, {"kill": id}
    out  {"id", "pid"} when forked, {"id", "code", "error", "cpu", "peak"} when ended

When the socket closes, for whatever reason, every child is killed: a run that dies leaves no orphan.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
IDLE_SECONDS = 0.5


class Server:
    """The loop: preload, fork, reap, kill."""

    def __init__(self, control: socket.socket, preload: list[str]) -> None:
        self.control = control
        self.preload = preload
        self.loaded: set[str] = set()
        self.waiting: list[dict[str, Any]] = []
        self.running: dict[int, dict[str, Any]] = {}
        self.buffer = b""
        self.wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self.wakeup, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Answer until the other end closes the socket."""
        while True:
            timeout = 0.0 if self.preload else IDLE_SECONDS
            sources: list[Any] = [self.control, self.wakeup]
            ready, _, _ = select.select(sources, [], [], timeout)
            if self.wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wakeup, 4096)
            if self.control in ready and not self._receive():
                return
            self._reap()
            self._start_ready()
            if self.preload:
                self._load(self.preload.pop(0))

    def close(self) -> None:
        """Kill every child and its descendants in the same process group."""
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _load(self, module: str) -> None:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)  # one that fails to load fails in the task that needs it, with its trace
        self.loaded.add(module)
        if not self.preload:
            gc.collect()
            gc.freeze()

    def _receive(self) -> bool:
        try:
            block = self.control.recv(1 << 16)
        except ConnectionError:
            return False
        if not block:
            return False
        self.buffer += block
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "kill" in message:
                self._kill(message["kill"])
            else:
                self.waiting.append(message)
        return True

    def _kill(self, identifier: str) -> None:
        for task in [task for task in self.waiting if task["id"] == identifier]:
            self.waiting.remove(task)
            self._send({"id": identifier, "code": -signal.SIGKILL, "error": "", "cpu": 0.0, "peak": 0})
        for pid, task in self.running.items():
            if task["id"] == identifier:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)

    def _start_ready(self) -> None:
        coming = set(self.preload)
        for task in [task for task in self.waiting if coming.isdisjoint(task["needs"])]:
            self.waiting.remove(task)
            pid = os.fork()
            if pid == 0:
                _become(task, self.control, os.getppid())
            self.running[pid] = task
            self._send({"id": task["id"], "pid": pid})

    def _reap(self) -> None:
        while self.running:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            task = self.running.pop(pid, None)
            if task is None:
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # what the step left behind in its group
            said = Path(task["tmp"]) / "error.txt"
            error = said.read_text() if said.is_file() else ""
            shutil.rmtree(task["tmp"], ignore_errors=True)
            self._send(
                {
                    "id": task["id"],
                    "code": os.waitstatus_to_exitcode(status),
                    "error": error,
                    "cpu": usage.ru_utime + usage.ru_stime,
                    "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                }
            )

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self.control.sendall(json.dumps(message).encode() + b"\n")


def _become(task: dict[str, Any], control: socket.socket, parent: int) -> NoReturn:
    """Turn the forked child into the task's process; it never returns to the server's loop."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        _die_with(parent)
        _redirect(task["log"])
        control.close()
        os.environ.clear()
        os.environ.update(task["env"])
        code = _execute(task)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """Ask Linux to kill this process when the server dies; elsewhere the closed socket does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.close(stream)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _execute(task: dict[str, Any]) -> int:
    """Run a component's source under KFP's executor, as its command does in a pod; return the exit code."""
    source = Path(task["tmp"]) / "ephemeral_component.py"
    source.write_text(task["source"])
    try:
        from kfp.dsl import executor
        from kfp.dsl import utils as kfp_utils

        module = kfp_utils.load_module(module_name=source.stem, module_directory=str(source.parent))
        function = getattr(module, task["function"])
        executor.Executor(executor_input=task["input"], function_to_execute=function).execute()
    except SystemExit as error:
        traceback.print_exc()
        said = error.code if isinstance(error.code, int) else 1
        (source.parent / "error.txt").write_text(f"the step called sys.exit({error.code!r})")
        return said or 1
    except BaseException as error:
        traceback.print_exc()
        (source.parent / "error.txt").write_text(f"{type(error).__name__}: {error}")
        code = getattr(error, "exit_code", 1)
        return code if isinstance(code, int) and code else 1
    return 0


def main() -> None:
    """Serve the socket at file descriptor 0; the arguments are the modules to preload, in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    server = Server(control, ["kfp.dsl.executor", *sys.argv[1:]])
    try:
        server.serve()
    finally:
        server.close()


if __name__ == "__main__":
    main()
