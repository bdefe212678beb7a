"""Callers of gRPC, for tests: messages, channels, and a load that lasts until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import httpx

from serving.oip import inference_pb2 as oip

METHOD = "/inference.GRPCInferenceService/"
ROW: dict[str, tuple[str, Any]] = {
    "age": ("FP64", 40.0),
    "income": ("FP64", 1.5),
    "city": ("BYTES", b"Lyon"),
    "grade": ("FP64", 2.0),
    "member": ("BOOL", True),
    "since": ("BYTES", b"2020-01-31"),
}
FIELDS = {"FP64": "fp64_contents", "BYTES": "bytes_contents", "BOOL": "bool_contents"}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def make_message(rows: int = 1, identity: str = "") -> bytes:
    message = oip.ModelInferRequest(model_name="m", id=identity)
    for name, (datatype, value) in ROW.items():
        tensor = message.inputs.add(name=name, datatype=datatype, shape=[rows])
        getattr(tensor.contents, FIELDS[datatype]).extend([value] * rows)
    encoded: bytes = message.SerializeToString()
    return encoded


def parse(data: bytes) -> Any:
    return oip.ModelInferResponse.FromString(data)


@contextlib.contextmanager
def connected(running: Any, **options: Any) -> Iterator[Callable[[str], Any]]:
    """Give a function from the name of a method to what calls it."""
    settings = [(f"grpc.{name}", value) for name, value in options.items()]
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}", options=settings) as channel:
        yield lambda name: channel.unary_unary(METHOD + name)


def count(running: Any, code: str) -> int:
    """Return how many calls for predictions ended with a code of HTTP."""
    text = httpx.get(f"{running.url}/metrics").text
    key = f'headrace_requests_total{{model_name="m",protocol="grpc",code="{code}"'
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(key))


class Crowd:
    """Callers in threads of their own that keep asking until told to stop, and count what became of it."""

    def __init__(self, port: int, callers: int = 3) -> None:
        self._port = port
        self._stop = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run) for _ in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        raise NotImplementedError


class Load(Crowd):
    """Callers over connections of their own; anything but an answer is a failure.

    As HTTP/2 has it, their library sends a call again that no server has seen: one behind the last stream of a GOAWAY.
    """

    def _run(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self._port}", options=options) as channel:
            infer = channel.unary_unary(METHOD + "ModelInfer")
            while not self._stop.is_set():
                try:
                    for call in [infer.future(make_message(), timeout=30) for _ in range(8)]:
                        self.versions[parse(call.result()).model_version] += 1
                        self.outcomes["OK"] += 1
                except grpc.RpcError as error:
                    if error.code() == grpc.StatusCode.UNAVAILABLE and "onnect" in str(error.details()):
                        self.outcomes["gone"] += 1  # no connection could be made: not a call that was lost
                        return
                    self.outcomes[f"{error.code()} {error.details()}"] += 1


def swap(running: Any, current: Path, folders: Sequence[Path], swaps: int, pause: float = 0.0) -> None:
    """Let a server that serves the link `current` go from bundle to bundle, by one signal for each."""
    for number in range(1, swaps + 1):
        following = current.with_name("next")
        following.symlink_to(folders[number % len(folders)])
        following.rename(current)
        running.signal(signal.SIGHUP)
        running.wait_for("bundle swapped", number)
        time.sleep(pause)
