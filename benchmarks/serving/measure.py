"""Starting a server on one core, loading it from another, and reading what it costs."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil

from benchmarks.serving import models
from benchmarks.serving.peers import Ask, Peer
from serving.oip import inference_pb2 as oip

SERVER_CORE = "0"
CLIENT_CORE = "1"
START_TIMEOUT_SECONDS = 90
POLL_SECONDS = 0.002


@dataclass(frozen=True)
class Running:
    """A started server.

    Attributes:
        cold_start: Seconds from the start of its process to its first correct prediction over HTTP.
    """

    process: psutil.Process
    http_port: int
    grpc_port: int
    cold_start: float

    def tree(self) -> list[psutil.Process]:
        """Return the process and all below it."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Return user and system time of the tree."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self.tree()))

    def pss_mb(self) -> float:
        """Return the proportional set size of the tree."""
        total = 0
        for process in self.tree():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total / 1024


@dataclass(frozen=True)
class Load:
    """What the client saw in one window; latencies in microseconds."""

    rate: float
    p50: float
    p99: float
    cpu_us: float
    failures: int


def pin(core: str, *, realtime: bool = False) -> list[str]:
    """Return the prefix that keeps a command on one core, empty where taskset is not installed.

    Args:
        realtime: Schedule it before everything else (needs root), for machines that do other work as well.
    """
    first = ["chrt", "-f", "50"] if realtime else []
    pinned = ["taskset", "-c", core] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []
    return [*first, *pinned]


def build_client(folder: Path, *flags: str) -> Path:
    """Compile load.c; `-static` makes it run in any container."""
    client = folder / "load"
    source = Path(__file__).with_name("load.c")
    subprocess.run(["cc", "-O2", *flags, str(source), "-o", str(client)], check=True)
    return client


def free_ports() -> tuple[int, int]:
    """Return two ports that were free a moment ago."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@contextlib.contextmanager
def started(
    peer: Peer, command: Sequence[str], ports: tuple[int, int], served: models.Served, log: Path, *, realtime: bool
) -> Iterator[Running]:
    """Start a server, wait for its first correct prediction, and stop it with everything below it at the end.

    Raises:
        RuntimeError: It ended, or gave no correct prediction in time; the end of its log says why.
    """
    environment = {**models.single_threaded(), "BENCHMARK_MODEL": str(served.pipeline), **peer.environment}
    with log.open("wb") as sink:
        began = time.perf_counter()
        child = subprocess.Popen(
            [*pin(SERVER_CORE, realtime=realtime), *command],
            stdout=sink,
            stderr=sink,
            env=environment,
            start_new_session=True,
        )
    try:
        _await_prediction(peer.asks[0], served, ports[0], child, log)
        yield Running(psutil.Process(child.pid), *ports, time.perf_counter() - began)
    finally:
        _stop(child)


def _await_prediction(ask: Ask, served: models.Served, port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"ended with {child.returncode}: {_tail(log)}")
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError):
            if ask.label(json.loads(exchange(port, ask.request(served)).partition(b"\r\n\r\n")[2])) == served.label:
                return
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"no correct prediction within {START_TIMEOUT_SECONDS} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-600:].strip()


def exchange(port: int, request: bytes) -> bytes:
    """Return the bytes of one HTTP answer, head and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while True:
            head, found, body = received.partition(b"\r\n\r\n")
            if found:
                lines = [line.lower() for line in head.split(b"\r\n")]
                length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
                if len(body) >= length:
                    return received
            chunk = connection.recv(65536)
            if not chunk:
                raise ConnectionError("closed before the answer was complete")
            received += chunk


def exchange_grpc(port: int, message: bytes) -> bytes:
    """Return the message that answers a ModelInferRequest."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        return bytes(call(message, timeout=10))


def grpc_label(message: bytes) -> int:
    """Return the first label of a ModelInferResponse."""
    response = oip.ModelInferResponse.FromString(message)
    if response.raw_output_contents:
        return int(struct.unpack_from("<q", response.raw_output_contents[0])[0])
    contents = response.outputs[0].contents
    return int([*contents.int64_contents, *contents.int_contents, *contents.fp64_contents][0])


def check(ask: Ask, served: models.Served, server: Running) -> None:
    """Raise AssertionError when a server's answer has another label than the pipeline."""
    if ask.grpc:
        label = grpc_label(exchange_grpc(server.grpc_port, ask.request(served)))
    else:
        label = ask.label(json.loads(exchange(server.http_port, ask.request(served)).partition(b"\r\n\r\n")[2]))
    assert label == served.label, f"{ask.protocol} answered {label}, the pipeline {served.label}"


def load(
    client: Path,
    ask: Ask,
    served: models.Served,
    server: Running,
    *,
    connections: int,
    seconds: float,
    warm: float,
    realtime: bool = False,
) -> Load:
    """Return what a closed-loop window of `connections` shows."""
    message = ask.request(served)
    with tempfile.NamedTemporaryFile() as file:
        file.write(models.grpc_file(message) if ask.grpc else message)
        file.flush()
        kind, port = ("grpc", server.grpc_port) if ask.grpc else ("http", server.http_port)
        command = [str(client), kind, str(port), str(connections), str(warm), str(seconds), file.name]
        before = server.cpu_seconds()
        command = [*pin(CLIENT_CORE, realtime=realtime), *command]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        cpu = server.cpu_seconds() - before
    seen: Mapping[str, Any] = json.loads(done.stdout)
    return Load(
        rate=seen["requests"] / seen["seconds"],
        p50=seen["p50"],
        p99=seen["p99"],
        cpu_us=cpu / max(1, seen["total"]) * 1e6,
        failures=seen["failures"],
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the server's own process group: politely, then not."""
    for wanted in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, wanted)
        try:
            child.wait(timeout=6)
        except subprocess.TimeoutExpired:
            continue
        if wanted == signal.SIGTERM:
            time.sleep(0.1)
