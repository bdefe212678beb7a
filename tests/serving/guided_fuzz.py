"""Coverage-guided fuzzing of everything that reads a request: atheris looks for bytes that reach new branches.

    python tests/serving/guided_fuzz.py BUNDLE [OPTIONS OF LIBFUZZER, such as -runs=100000 or -max_total_time=60]

An input's first byte says where its rest goes: into a V1 or V2 body, behind a V2 header with binary data,
or onto the wire as it is. Any answer of 500 and above, any exception and any hang ends the run with the input.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["serving"]):
    from serving.app import App
    from serving.bundle import load
    from serving.options import Options
    from serving.predictor import make_predictor
    from tests.serving.test_fuzzed_requests import BINARY, SEEDS, _check_answers, _request, _talk


class WatchedApp(App):
    """An application that keeps its unexpected failures."""

    failure: Exception | None = None

    def log_failure(self, method: str, path: str, error: Exception) -> None:
        self.failure = error


def request_of(data: bytes) -> bytes:
    """Return the request that an input stands for."""
    kind, rest = data[0] % 4, data[1:]
    if kind == 0:
        return _request("/v1/models/m:predict", rest)
    if kind == 1:
        return _request("/v2/models/m/infer", rest)
    if kind == 2:
        return _request("/v2/models/m/infer", BINARY + rest, f"Inference-Header-Content-Length: {len(BINARY)}")
    return rest


def seeds() -> list[bytes]:
    """Return inputs to begin with."""
    bodies = [seed.partition(b"\r\n\r\n")[2] for seed in SEEDS]
    return [
        *(b"\3" + seed for seed in SEEDS),
        b"\0" + bodies[0],
        b"\0" + bodies[1],
        b"\1" + bodies[3],
        b"\2" + bytes(8),
    ]


def main(folder: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    corpus = Path(arguments.pop()) if arguments and not arguments[-1].startswith("-") else None
    options = Options("m", folder, max_body_size=20_000, max_header_size=2_000)

    async def make_app() -> WatchedApp:
        app = WatchedApp(options, make_predictor(load(Path(folder)), options))
        app.become_ready()
        app.gate.fast = None  # the C parser has a fuzzer of its own (native/fuzz.py); here it would answer first
        return app

    app = loop.run_until_complete(make_app())
    if corpus is not None:
        for number, seed in enumerate(seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)

    def take(data: bytes) -> None:
        if data:
            request = request_of(data)
            sent = loop.run_until_complete(_talk(app, request, random.Random(len(data))))
            if app.failure is not None:
                raise app.failure
            if b"HEAD" not in request:  # its answers tell a length and have no body
                _check_answers(sent, request)

    names = [str(corpus)] if corpus is not None else []
    atheris.Setup([sys.argv[0], *arguments, *names], take)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
