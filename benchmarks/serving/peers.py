"""The servers that are compared, and how each is started and asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving import models
from benchmarks.serving.models import NAME, Served

SERVERS = Path(__file__).parent / "servers"
Labels = Callable[[Any], Any]
Build = Callable[[Served], bytes]


def _first_prediction(answer: Any) -> Any:
    return answer["predictions"][0]


def _first_output(answer: Any) -> Any:
    return answer["outputs"][0]["data"][0]


@dataclass(frozen=True)
class Ask:
    """One way to ask a server.

    Attributes:
        protocol: What the figures are compared under: V1, V2 or gRPC. Own dialects count as V1: rows in, labels out.
        request: The bytes of the HTTP request, or of the gRPC message.
        label: Reads the label from the answer's JSON; unused for gRPC.
    """

    protocol: str
    request: Build
    label: Labels = _first_prediction

    @property
    def grpc(self) -> bool:
        return self.protocol == "gRPC"


@dataclass(frozen=True)
class Peer:
    """One server.

    Attributes:
        command: Its command line for a model and two ports.
        roots: The distributions a user installs for it; their closure is its installed size.
        venv: A separate environment, for those that do not fit into the project's.
    """

    name: str
    title: str
    command: Callable[[Served, int, int], list[str]]
    asks: tuple[Ask, ...]
    roots: tuple[str, ...]
    venv: str = ""
    requirements: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def _python(script: str, *arguments: Any) -> list[str]:
    return [sys.executable, str(SERVERS / script), *map(str, arguments)]


def _ours(evaluator: str) -> Callable[[Served, int, int], list[str]]:
    def command(served: Served, http: int, grpc: int) -> list[str]:
        flags = {
            "model_name": NAME,
            "model_dir": served.bundle,
            "http_port": http,
            "grpc_port": grpc,
            "host": "127.0.0.1",
            "evaluator": evaluator,
        }
        return [sys.executable, "-m", "serving", *(f"--{name}={value}" for name, value in flags.items())]

    return command


def _values(served: Served) -> list[Any]:
    return list(served.row.values())


def _numbers(served: Served) -> list[float]:
    return [float(value) for value in served.row.values()]


def _dialect(path: str, document: Callable[[Served], Any], label: Labels = _first_prediction) -> tuple[Ask, ...]:
    return (Ask("V1", lambda served: models.http_request(path, document(served)), label),)


OURS = (
    Ask("V1", lambda served: models.v1(_values(served))),
    Ask("V2", lambda served: models.v2(_numbers(served)), _first_output),
    Ask("gRPC", lambda served: models.grpc_message(_numbers(served))),
)
THEIRS = (
    Ask("V1", lambda served: models.v1(served.encoded)),
    Ask("V2", lambda served: models.v2(served.encoded), _first_output),
    Ask("gRPC", lambda served: models.grpc_message(served.encoded)),
)
LEAN = ("httptools", "minio", "orjson", "protobuf", "uvloop")
PEERS: tuple[Peer, ...] = (
    Peer("ours", "Headrace, folded table (C)", _ours("table"), OURS, LEAN),
    Peer("ours-onnx", "Headrace, ONNX Runtime", _ours("onnx"), OURS, (*LEAN, "numpy", "onnxruntime")),
    Peer("echo", "Bare echo of the same bytes, protocol in Python", lambda *_: [], OURS, ("uvloop", "grpcio")),
    Peer("echo-wire", "Bare echo of the same bytes, this server's connection", _ours("table"), OURS, LEAN),
    Peer(
        "kserve-sklearn",
        "KServe SDK + scikit-learn (stock server)",
        lambda served, http, grpc: _python("kserve_sklearn.py", served.pipeline, NAME, http, grpc),
        THEIRS,
        ("kserve", "scikit-learn", "joblib", "pandas"),
    ),
    Peer(
        "kserve-onnx",
        "KServe SDK + ONNX Runtime",
        lambda served, http, grpc: _python("kserve_onnx.py", served.onnx, NAME, http, grpc),
        THEIRS,
        ("kserve", "onnxruntime"),
    ),
    Peer(
        "fastapi",
        "FastAPI + joblib (tutorial)",
        lambda served, http, _: _python("fastapi_tutorial.py", served.pipeline, http),
        _dialect("/predict", lambda served: dict(zip(served.row, served.encoded, strict=True))),
        ("fastapi", "uvicorn", "scikit-learn", "joblib", "pandas"),
    ),
    Peer(
        "mlflow",
        "mlflow models serve",
        lambda served, http, _: [
            *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(served.mlflow), "--env-manager", "local"),
            *("-h", "127.0.0.1", "-p", str(http), "-w", "1"),
        ],
        _dialect("/invocations", lambda served: {"inputs": [served.encoded]}),
        ("mlflow", "scikit-learn"),
    ),
    Peer(
        "litserve",
        "LitServe",
        lambda served, http, _: _python("litserve_sklearn.py", served.pipeline, http),
        _dialect("/predict", lambda served: {"instances": [served.encoded]}),
        ("litserve", "scikit-learn", "joblib"),
        venv="litserve",
        requirements=("litserve", "scikit-learn==1.9.1", "joblib", "pandas<3"),
    ),
    Peer(
        "bentoml",
        "BentoML",
        lambda served, http, _: [
            *("-m", "bentoml", "serve", "bentoml_sklearn:Heart", "--port", str(http), "--host", "127.0.0.1"),
            *("--working-dir", str(SERVERS)),
        ],
        _dialect("/predict", lambda served: {"instances": [served.encoded]}),
        ("bentoml", "scikit-learn", "joblib"),
        venv="bentoml",
        requirements=("bentoml", "scikit-learn==1.9.1", "joblib", "pandas<3"),
    ),
    Peer(
        "mlserver",
        "MLServer",
        lambda served, http, grpc: _python("mlserver_start.py", served.pipeline, NAME, http, grpc),
        THEIRS[1:],
        ("mlserver", "mlserver-sklearn"),
        venv="mlserver",
        requirements=("mlserver", "mlserver-sklearn", "scikit-learn==1.9.1", "uvloop==0.21.0"),
    ),
)
DEFAULT = tuple(peer.name for peer in PEERS if not peer.venv)
SEPARATE = tuple(peer.name for peer in PEERS if peer.venv)
