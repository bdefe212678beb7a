"""Small real bundles, and servers that run as processes of their own on loopback ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.models import drift, goldens, graph, recipes, score, table
from serving import bundle as bundles
from serving.bundle import Bundle
from serving.schema import Column, Schema, Target

START_SECONDS = 60


def _mixed() -> Schema:
    columns = (
        Column("age", "integer", unit="years", minimum=18.0, maximum=90.0),
        Column("income", "number", minimum=0.0, maximum=100.0, missing=True),
        Column("city", "category", categories=("Basel", "Köln", "Lyon")),
        Column("grade", "category", categories=(1, 2, 4)),
        Column("member", "boolean", minimum=0.0, maximum=1.0),
        Column("since", "date", minimum=10_000.0, maximum=20_000.0),
    )
    return Schema(columns, Target("buys", "binary", ("no", "yes"), positive="yes"))


def _flowers() -> Schema:
    columns = tuple(Column(f"length {i}", "number", unit="cm", minimum=0.0, maximum=8.0) for i in range(4))
    return Schema(columns, Target("kind", "multiclass", (0, 1, 2)))


def _prices() -> Schema:
    columns = (Column("area", "number", minimum=10.0, maximum=300.0), Column("rooms", "integer", minimum=1, maximum=9))
    return Schema(columns, Target("price", "regression", unit="EUR"))


SCHEMAS = {"mixed": _mixed, "flowers": _flowers, "prices": _prices}


def _matrix(schema: Schema, rows: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    matrix = np.empty((rows, len(schema.columns)))
    for position, column in enumerate(schema.columns):
        if column.kind == "category":
            matrix[:, position] = generator.integers(0, len(column.categories), rows)
        else:
            values = generator.uniform(column.minimum, column.maximum, rows)
            matrix[:, position] = values if column.kind == "number" else np.round(values)
        if column.missing:
            matrix[generator.random(rows) < 0.1, position] = np.nan
    return matrix


def _target(schema: Schema, matrix: np.ndarray) -> np.ndarray:
    scaled = np.nan_to_num(matrix) / np.nanmax(np.abs(matrix), axis=0)
    signal_ = scaled.sum(axis=1) + np.sin(5 * scaled[:, 0])
    if not schema.target.classes:
        return 1000 * signal_
    return np.digitize(signal_, np.quantile(signal_, np.linspace(0, 1, len(schema.target.classes) + 1)[1:-1]))


def build_bundle(folder: Path, kind: str, version: str | None = "3", seed: int = 0, folded: bool = True) -> Bundle:
    """Write a sealed bundle: a small forest for `mixed` and `prices`, a logistic regression for `flowers`."""
    schema = SCHEMAS[kind]()
    matrix = _matrix(schema, 240, seed)
    recipe = {"mixed": recipes.forest, "flowers": recipes.logistic, "prices": recipes.forest_regressor}[kind]
    pipeline = recipe(schema, seed)
    if kind != "flowers":
        pipeline.set_params(model__n_estimators=10)
    pipeline.fit(matrix, _target(schema, matrix))
    folder.mkdir(parents=True)
    (folder / bundles.MODEL).write_bytes(graph.convert(pipeline, len(schema.columns)))
    if folded:
        (folder / bundles.TABLE).write_bytes(table.compile(pipeline, schema))
    scorer = score.fitted(pipeline)
    golden = goldens.write_requests(schema, scorer, matrix, example={}, seed=seed)
    (folder / bundles.GOLDEN).write_text(json.dumps(golden))
    (folder / bundles.REFERENCE).write_text(json.dumps(drift.reference(schema, matrix, scorer(matrix))))
    (folder / bundles.METRICS).write_text("{}")
    (folder / bundles.CARD).write_text(f"# {kind}\n\nA **small** model.\n\n| a | b |\n|---|---|\n| 1 | <2> |\n")
    provenance = {"dataset": "d" * 64}
    return bundles.seal(Bundle(folder, kind, kind, "forest", schema, version, provenance))


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """Returns a function that builds a bundle of some kind in a new folder."""

    def make(kind: str, **options: Any) -> Bundle:
        return build_bundle(tmp_path_factory.mktemp("bundles") / kind, kind, **options)

    return make


@pytest.fixture(scope="session")
def mixed(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle("mixed")


@pytest.fixture(scope="session")
def flowers(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle("flowers")


@pytest.fixture(scope="session")
def prices(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle("prices", version=None)


@pytest.fixture(scope="session")
def unfolded(make_bundle: Callable[..., Bundle]) -> Bundle:
    """The mixed bundle without its table: ONNX Runtime has to answer."""
    return make_bundle("mixed", folded=False)


def resealed(source: Bundle, folder: Path, version: str | None) -> Bundle:
    """Return a copy of a bundle under another version, which is another digest."""
    folder.mkdir(parents=True)
    for name in source.files:
        (folder / name).write_bytes((source.folder / name).read_bytes())
    return bundles.seal(replace(source, folder=folder, version=version, files={}))


@pytest.fixture(scope="session")
def reseal() -> Callable[..., Bundle]:
    return resealed


@dataclass
class Running:
    """A server process and where it listens."""

    process: subprocess.Popen[bytes]
    log: Path
    http_port: int
    grpc_port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.http_port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_for(self, message: str, count: int = 1) -> dict[str, Any]:
        """Return the count-th log event with this message."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            lines = self.log.read_text().splitlines()
            found = [event for event in map(json.loads, lines) if event["message"].startswith(message)]
            if len(found) >= count:
                return found[count - 1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {message!r} in the log:\n{self.log.read_text()}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.http_port), timeout=20)

    def stop(self) -> int:
        """End the server as Kubernetes does; return its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.process.wait(START_SECONDS)


def spawn(log: Path, model_dir: Path | str, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a server process that logs into a file."""
    command = [sys.executable, "-m", "serving", "--model_name", "m", "--model_dir", str(model_dir)]
    command += ["--host", "127.0.0.1", "--http_port", "0", "--grpc_port", "0", "--drain_delay", "0.1", *flags]
    with log.open("wb") as stream:
        return subprocess.Popen(
            command,
            stderr=stream,
            stdout=stream,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )


@pytest.fixture(scope="session")
def run_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., contextlib.AbstractContextManager[Running]]:
    """Returns a context manager around a server that is ready."""

    @contextlib.contextmanager
    def run(model_dir: Path | str, *flags: str, **environment: str) -> Iterator[Running]:
        log = tmp_path_factory.mktemp("logs") / "server.jsonl"
        process = spawn(log, model_dir, *flags, **environment)
        running = Running(process, log, 0, 0)
        try:
            event = running.wait_for("serving")
            running.http_port = int(event["http"].rpartition(":")[2])
            running.scheme = event["http"].partition(":")[0]
            running.grpc_port = int(event["grpc"].rpartition(":")[2]) if event["grpc"] else 0
            yield running
        finally:
            process.kill()
            process.wait()

    return run


@pytest.fixture(scope="session")
def server(run_server: Callable[..., Any], mixed: Bundle) -> Iterator[Running]:
    """A server of the mixed bundle with the defaults of a cluster."""
    with run_server(mixed.folder) as running:
        yield running


@pytest.fixture(scope="session")
def start_refused(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[int, str]]:
    """Returns a function that starts a server which must refuse; gives its exit code and its reason."""

    def start(model_dir: Path | str, *flags: str, **environment: str) -> tuple[int, str]:
        log = tmp_path_factory.mktemp("logs") / "server.jsonl"
        code = spawn(log, model_dir, *flags, **environment).wait(START_SECONDS)
        return code, json.loads(log.read_text().splitlines()[-1])["message"]

    return start


@pytest.fixture(scope="session")
def golden() -> Callable[[Bundle], dict[str, Any]]:
    """Returns a function that gives one golden request whose row is complete."""

    def pick(bundle: Bundle) -> dict[str, Any]:
        requests = bundle.json(bundles.GOLDEN)["requests"]
        return next(one for one in requests if None not in one["instances"][0].values())

    return pick
