"""Releases a version to the server on this machine: checked aside first, then swapped in without a failed request.

One server process per model, which outlives the run that started it. `served/<model>/current` points at the bundle that
serves; the server looks at it again on SIGHUP. A bundle is tried in a process of its own before the pointer moves, so a
release that dies at any moment leaves the old version serving.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib import request as http
from urllib.error import HTTPError, URLError

from components import ports, registry
from components.releases import Release, ReleaseError, goldens
from serving import bundle as bundles

if TYPE_CHECKING:
    from components.settings import Settings
    from serving.bundle import Bundle

logger = logging.getLogger(__name__)

READY_SECONDS = 30.0
"""How long a server may take to answer; it needs well under one second on an idle machine."""
POLL_SECONDS = 0.02
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A server process on this machine, as `served/<model>/server.json` records it."""

    pid: int
    http_port: int
    grpc_port: int
    code: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.http_port}"


def release(settings: Settings, model: str, version: str, environment: str, strategy: str = "") -> Release:
    """Serve a registered version on this machine and return how to reach it.

    Args:
        strategy: Empty or `rolling`: a laptop has one server, which swaps bundles in place.

    Raises:
        ReleaseError: The version does not reproduce its golden requests, or no server came up; the old one serves on.
    """
    if strategy not in ("", "rolling"):
        raise ReleaseError(f"strategy {strategy!r} needs a cluster: leave it empty on a laptop")
    home = settings.home / "served" / model
    bundle = registry.fetch(settings, model, version, home / version)
    with _aside(settings, bundle) as trial:
        _verify(trial, bundle)
    server = _swap_in(settings, home, bundle)
    _verify(server, bundle)
    return Release(
        model=model,
        version=version,
        environment=environment,
        url=server.url,
        verified=True,
        reasons=(f"{len(bundle.json(bundles.GOLDEN)['requests'])} golden requests reproduced",),
        curl=curl_line(server.url, bundle),
    )


def curl_line(base: str, bundle: Bundle) -> str:
    """Return a shell command that asks a server for one prediction."""
    row = bundle.json(bundles.GOLDEN)["requests"][0]["instances"][0]
    body = json.dumps({"instances": [row]}, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -s {base}/v1/models/{bundle.model}:predict -H 'Content-Type: application/json' -d '{body}'"


def running(home: Path, model: str) -> Server | None:
    """Return the server of a model when its process is alive and answers for that model.

    Args:
        home: The folder `served/<model>`.
    """
    try:
        server = Server(**json.loads((home / "server.json").read_text()))
        os.kill(server.pid, 0)
        answer = _get(f"{server.url}/v2/models/{model}")
    except (OSError, ValueError, TypeError, URLError):
        return None
    return server if answer.get("name") == model else None


def stop(home: Path, model: str, seconds: float = 15.0) -> bool:
    """Drain and end the server of a model; return whether one was running."""
    server = running(home, model)
    if server is None:
        return False
    _end(server.pid, seconds)
    (home / "server.json").unlink(missing_ok=True)
    return True


def point(home: Path, version: str) -> None:
    """Make `current` lead to a version, atomically."""
    link = home / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(version, target_is_directory=True)
    link.replace(home / "current")


@contextlib.contextmanager
def _aside(settings: Settings, bundle: Bundle) -> Iterator[Server]:
    """Serve a bundle on ports nobody knows, for as long as it takes to try it."""
    log = bundle.folder.parent / f"trial-{bundle.version}.log"
    server = _start(settings, bundle.model, bundle.folder, _free_ports(0, 0), log)
    try:
        _wait_until_served(server, bundle, log)
        yield server
    finally:
        _end(server.pid, 0.0)  # nobody else knows it: nothing to drain


def _swap_in(settings: Settings, home: Path, bundle: Bundle) -> Server:
    """Point the model's server at a bundle: the running one by SIGHUP, else a new one."""
    before = (home / "current").readlink().name if (home / "current").is_symlink() else None
    server = running(home, bundle.model)
    if server is not None and server.code != settings.code_version:
        stop(home, bundle.model)  # a server of other code than this release was built with
        server = None
    point(home, str(bundle.version))
    if server is not None:
        return _swap(server, home, bundle, before)
    try:
        server = _start_on_a_free_port(settings, home, bundle)
    except ReleaseError:
        if before is not None:
            point(home, before)
        raise
    record(home, server)
    return server


def _start_on_a_free_port(settings: Settings, home: Path, bundle: Bundle) -> Server:
    """Start the model's server; when somebody takes the port between looking and listening, look again."""
    log = home / "server.log"
    for last in (False, False, True):
        wanted = _free_ports(settings.http_port, settings.grpc_port)
        server = _start(settings, bundle.model, home / "current", wanted, log)
        try:
            _wait_until_served(server, bundle, log)
        except ReleaseError as error:
            _end(server.pid, 1.0)
            if last or "cannot listen" not in str(error):
                raise
        else:
            return server
    raise AssertionError("unreachable")


def _swap(server: Server, home: Path, bundle: Bundle, before: str | None) -> Server:
    """Tell a running server that `current` moved; move it back when the server does not follow."""
    os.kill(server.pid, signal.SIGHUP)
    try:
        _wait_until_served(server, bundle, home / "server.log")
    except ReleaseError:
        if before is not None:
            point(home, before)
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGHUP)
        raise
    return server


def _start(settings: Settings, model: str, folder: Path, listen: tuple[int, int], log: Path) -> Server:
    command = [sys.executable, "-m", "serving", "--model_name", model, "--model_dir", str(folder), "--host", HOST]
    command += ["--http_port", str(listen[0]), "--grpc_port", str(listen[1])]
    # The bundle is on disk: the server has no business with the run's credentials.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, env=environment
        )
    process.returncode = 0  # it outlives this process on purpose: Popen must not miss it
    return Server(process.pid, listen[0], listen[1], settings.code_version)


def record(home: Path, server: Server) -> None:
    """Note the server of a model, so that `running` and `stop` find it."""
    partial = home / "server.json.partial"
    partial.write_text(json.dumps(asdict(server)))
    partial.replace(home / "server.json")


def _wait_until_served(server: Server, bundle: Bundle, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if not _is_alive(server.pid):
            raise ReleaseError(f"the server of {bundle.model} ended before it was ready: {_last_line(log)}")
        with contextlib.suppress(OSError, URLError, ValueError):
            served = _get(f"{server.url}/v2/models/{bundle.model}")
            ready = http.urlopen(f"{server.url}/v2/models/{bundle.model}/ready", timeout=2)  # noqa: S310
            ready.close()
            if served.get("versions") == [bundle.version]:
                return
        time.sleep(POLL_SECONDS)
    raise ReleaseError(
        f"the server of {bundle.model} does not serve version {bundle.version} after {READY_SECONDS:.0f} s: "
        f"{_last_line(log)}"
    )


def _verify(server: Server, bundle: Bundle) -> None:
    """Ask the golden requests over HTTP and compare with the fitted model's answers.

    Raises:
        ReleaseError: One differs by more than the bundle's tolerance, or is not answered.
    """

    def ask(path: str, body: bytes) -> tuple[int, bytes]:
        asked = http.Request(f"{server.url}{path}", body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with http.urlopen(asked, timeout=30) as response:  # noqa: S310
                return response.status, response.read()
        except HTTPError as error:  # no proxy stands in between: one bad answer is one too many
            told = error.read().decode(errors="replace")[:200]
            raise ReleaseError(
                f"a golden request of {bundle.model} version {bundle.version} was answered {error.code}: {told}"
            ) from error

    trouble = goldens.disagreement(ask, bundle.model, bundle.json(bundles.GOLDEN), POLL_SECONDS)
    if trouble:
        raise ReleaseError(f"{bundle.model} version {bundle.version}: {trouble}")


def _free_ports(http_port: int, grpc_port: int) -> tuple[int, int]:
    """Return the wanted ports, or others that nothing listens on; 0 takes any."""
    first = ports.free(HOST, http_port)
    return first, ports.free(HOST, grpc_port, {first})


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(pid: int, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while _is_alive(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(POLL_SECONDS)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else f"its log {log} is empty"


def _get(url: str) -> dict[str, Any]:
    with http.urlopen(url, timeout=2) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer
