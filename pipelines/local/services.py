"""The S3 of a laptop: a real SeaweedFS on loopback, shared by everything that needs it and stopped by the last user.

State lies below `HEADRACE_HOME/s3`: the data, and generated credentials that only their owner can read. Users hold a
shared lock, which the kernel drops however they end. A server that nobody holds, because its run was killed, is
found in the table of processes and used by the next one. Where `AWS_ENDPOINT_URL` is set, that store is used and none
started.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from components import settings
from components.store import Store

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 15.0
TRIES = 5
PORTS = range(20_000, 45_000)
GRPC_OFFSET = 10_000
"""SeaweedFS listens for gRPC at each port plus this."""
ROLES = ("s3.port", "filer.port", "master.port", "volume.port", "admin.port")
FLAGS = (
    "-webdav=false",
    "-admin.ui=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-disableHttp",  # the filer's own port asks for no key
    "-master.telemetry=false",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-s3.autoCreateBucket=false",
    "-s3.cacheCapacityMB=16",
)


_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Processes started by this one, kept until they have ended."""
FREE_BYTES = 300 << 20
"""SeaweedFS takes its first volumes and then refuses writes, one by one, on a disk that is nearly full."""
FULL_BYTES = 16 << 20
"""With less than this, a step that failed may have failed for it."""


class ServiceError(RuntimeError):
    """The object store could not be started; the message says what to do."""


@dataclass(frozen=True)
class Process:
    """A SeaweedFS process and the port of its S3."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextlib.contextmanager
def running(home: Path, environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, str]]:
    """Keep the services up and yield the environment variables that reach them.

    Raises:
        ServiceError: The object store does not start.
    """
    home = home.absolute()
    if environment.get("AWS_ENDPOINT_URL"):
        with _buckets_ready(found := _variables(home, environment)):
            yield found
        return
    folder = home / "s3"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users.lock").open("w") as users:
        try:
            with _turn(folder):
                fcntl.flock(users, fcntl.LOCK_SH)
                access, secret = _credentials(folder)
                process = _reused(folder) or _start(folder, access, secret)
            reached = {
                **_own_keys(environment),
                **environment,
                "AWS_SESSION_TOKEN": "",
                "AWS_ENDPOINT_URL": process.url,
                "AWS_ACCESS_KEY_ID": access,
                "AWS_SECRET_ACCESS_KEY": secret,
            }
            with _buckets_ready(found := _variables(home, reached)):
                yield found
        finally:
            _leave(folder, users)


def stop(home: Path) -> bool:
    """Stop the object store of a home folder unless it is in use; return whether one was stopped."""
    folder = home.absolute() / "s3"
    if not folder.is_dir():
        return False
    with (folder / "users.lock").open("w") as users, _turn(folder):
        return _stop_unused(folder, users)


def trouble(reached: Mapping[str, str]) -> str:
    """Return what is wrong with this machine when a step failed, so that nobody looks for it in the step.

    Args:
        reached: The variables that `running` yielded.

    Returns:
        Empty when the disk has room and the object store answers.
    """
    home, endpoint = Path(reached["HEADRACE_HOME"]), reached["AWS_ENDPOINT_URL"]
    free = shutil.disk_usage(home).free
    if free < FULL_BYTES:
        return (
            f"the disk is full: {home} has {free >> 20} MB left; free some space, or set HEADRACE_HOME to a folder on "
            "another disk"
        )
    if _is_reached(endpoint):
        return ""
    log = home / "s3" / "weed.log"
    own = f": its process was killed or ended by itself, and the next run starts it again; its log is {log}"
    return f"the object store at {endpoint} no longer answers{own if log.is_file() else ''}"


def _own_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's keys of AWS under names that the keys of the run's own store do not replace."""
    found = {name: environment.get(theirs, "") for name, theirs in settings.SOURCE_NAMES.items()}
    return {name: value for name, value in found.items() if value} if found[settings.SOURCE_ACCESS_KEY] else {}


def _variables(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a step finds in its environment: in a cluster from the ConfigMap and the Secret, here from us."""
    known = settings.read({**environment, "HEADRACE_HOME": str(home)})
    direct = ",".join(part for part in (environment.get("NO_PROXY", ""), HOST, "localhost") if part)
    sources = {name: environment[name] for name in settings.SOURCE_NAMES if name in environment}
    return {
        **sources,
        "AWS_SESSION_TOKEN": known.s3_session_token,
        "AWS_ENDPOINT_URL": known.s3_endpoint,
        "AWS_ACCESS_KEY_ID": known.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": known.s3_secret_key,
        "AWS_DEFAULT_REGION": known.s3_region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_S3_ENDPOINT_URL": known.s3_endpoint,
        "MLFLOW_TRACKING_URI": known.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HEADRACE_MODELS_BUCKET": known.models_bucket,
        "HEADRACE_DATASETS_BUCKET": known.datasets_bucket,
        "HEADRACE_ARTIFACTS_BUCKET": known.artifacts_bucket,
        "HEADRACE_HOME": str(home),
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


@contextlib.contextmanager
def _buckets_ready(variables: Mapping[str, str]) -> Iterator[None]:
    known = settings.read(variables)
    store = Store(known)
    for bucket in (known.models_bucket, known.datasets_bucket, known.artifacts_bucket):
        store.ensure_bucket(bucket)
    yield


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One starts or stops at a time."""
    with (folder / "turn.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _credentials(folder: Path) -> tuple[str, str]:
    """Return the keys of this home folder, made once and readable by their owner only."""
    file = folder / "credentials.json"
    if not file.is_file():
        keys = {"access": f"headrace{secrets.token_hex(6)}", "secret": secrets.token_urlsafe(32)}
        partial = folder / "credentials.json.partial"
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(keys, stream)
        partial.replace(file)
    keys = json.loads(file.read_text())
    return keys["access"], keys["secret"]


def find(home: Path) -> Process | None:
    """Return the process that serves the object store of a home folder, whoever started it."""
    return _find(home.absolute() / "s3")


def _find(folder: Path) -> Process | None:
    import psutil

    for process in psutil.process_iter(["pid", "status", "cmdline"]):
        command = process.info["cmdline"] or []
        ports = [int(part.partition("=")[2]) for part in command if part.startswith("-s3.port=")]
        if f"-dir={folder / 'data'}" in command and ports and process.info["status"] != psutil.STATUS_ZOMBIE:
            return Process(process.info["pid"], ports[0])
    return None


def _reused(folder: Path) -> Process | None:
    """Return a process that serves this folder already, once it answers."""
    process = _find(folder)
    deadline = time.monotonic() + START_SECONDS  # its run may have been killed while it was starting
    while process is not None and not _answers(process.port):
        if time.monotonic() > deadline or _is_gone(process.pid):
            _end(process)
            return None
        time.sleep(0.05)
    return process


def _start(folder: Path, access: str, secret: str) -> Process:
    binary = _binary()
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise ServiceError(
            f"{folder} has {free >> 20} MB free, the object store needs {FREE_BYTES >> 20}: "
            "free some, or set HEADRACE_HOME to a folder on another disk"
        )
    for _ in range(TRIES):
        process = _launch(binary, folder, access, secret)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and _CHILDREN[process.pid].poll() is None:
            if _answers(process.port):
                return process
            time.sleep(0.02)
        _end(process)
    lines = (folder / "weed.log").read_text(errors="replace").rstrip().splitlines()[-5:]
    raise ServiceError(f"the object store did not start; the end of {folder / 'weed.log'}:\n" + "\n".join(lines))


def _launch(binary: str, folder: Path, access: str, secret: str) -> Process:
    ports = _free_ports(len(ROLES))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    command = [binary, "mini", f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}", *FLAGS]
    command += [f"-{role}={port}" for role, port in zip(ROLES, ports, strict=True)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "GOMEMLIMIT": "400MiB"}
    with (folder / "weed.log").open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=data,
            env={**own, **keys},
        )
    _CHILDREN[child.pid] = child
    return Process(child.pid, ports[0])


def _binary() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise ServiceError(
            "no SeaweedFS (weed) is installed: run make setup, or set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY to an S3 of your own"
        )
    return found


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, together with those that SeaweedFS derives from them."""
    found: list[int] = []
    for _ in range(1000):
        port = secrets.choice(PORTS)
        if port not in found and _is_free(port) and _is_free(port + GRPC_OFFSET):
            found.append(port)
        if len(found) == count:
            return found
    raise ServiceError("no free ports on the loopback address: stop something that listens")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    """Return whether an S3 server answers; without a signature it must refuse."""
    return _status(f"http://{HOST}:{port}/") in (403, 401)


def _is_reached(endpoint: str) -> bool:
    return _status(endpoint) is not None


def _status(url: str) -> int | None:
    """Return the status that a server answers, None where none does."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _leave(folder: Path, users: IO[str]) -> None:
    with _turn(folder):
        fcntl.flock(users, fcntl.LOCK_UN)
        _stop_unused(folder, users)
    for pid in [pid for pid, child in _CHILDREN.items() if child.poll() is not None]:
        del _CHILDREN[pid]  # one that was killed by somebody else


def _stop_unused(folder: Path, users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    process = _find(folder)
    if process is None:
        return False
    _end(process)
    return True


def _end(process: Process) -> None:
    """Ask the process to end, then make it."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        if _is_gone(process.pid):
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not _is_gone(process.pid):
            time.sleep(0.02)
    _CHILDREN.pop(process.pid, None)


def _is_gone(pid: int) -> bool:
    child = _CHILDREN.get(pid)
    if child is not None:
        return child.poll() is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
