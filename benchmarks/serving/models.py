"""What every server serves: the heart use case as a forest of 300 trees and as a logistic regression, in every form."""

from __future__ import annotations

import json
import os
import struct
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import mlflow.sklearn
import numpy as np

from components import use_cases
from components.dataset import encode_frame, rows_to_json
from components.models import drift, goldens, graph, recipes, score, table
from serving import bundle as bundles
from serving.bundle import Bundle
from serving.oip import inference_pb2 as oip
from serving.schema import Column, Schema, Target

NAME = "heart"
DATA = Path(use_cases.__file__).parent / "data" / "processed.cleveland.data"
RECIPES: dict[str, Any] = {
    "forest": lambda schema: recipes.forest(schema, 1).set_params(model__n_estimators=300, model__min_samples_leaf=1),
    "logistic": partial(recipes.logistic, seed=1),
}


@dataclass(frozen=True)
class Served:
    """One model in all its forms, and one request to it.

    Attributes:
        bundle: For this project's server.
        pipeline: The joblib file of the fitted pipeline, for servers that run scikit-learn.
        onnx: The same graph that this project's server uses without its C extension.
        mlflow: A saved MLflow model.
        row: Values of one row as a client of this server sends them.
        encoded: The same row as the pipeline takes it.
        label: What every server must answer.
    """

    name: str
    bundle: Path
    pipeline: Path
    onnx: Path
    mlflow: Path
    row: dict[str, Any]
    encoded: list[float]
    label: int
    trees: int
    leaves: int


def prepare(name: str, folder: Path) -> Served:
    """Fit a model and write it in every form."""
    case = use_cases.load("heart")
    frame = case.read(DATA)
    columns = tuple(
        Column(name, expected.kind, categories=expected.categories or ()) for name, expected in case.columns.items()
    )
    schema = Schema(columns, Target("disease", "binary", (0, 1), positive=1))
    X, y = encode_frame(schema, frame), frame["disease"].to_numpy()
    pipeline = RECIPES[name](schema).fit(X, y)
    folder.mkdir(parents=True, exist_ok=True)
    bundle = _write_bundle(pipeline, schema, X, folder / "bundle")
    joblib.dump(pipeline, folder / "model.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not (folder / "mlflow").exists():
            mlflow.sklearn.save_model(pipeline, folder / "mlflow", serialization_format="cloudpickle")
    encoded = [float(value) for value in np.nan_to_num(X[0])]
    forest = pipeline.steps[-1][1]
    return Served(
        name=name,
        bundle=bundle,
        pipeline=folder / "model.joblib",
        onnx=bundle / bundles.MODEL,
        mlflow=folder / "mlflow",
        row=rows_to_json(schema, np.array([encoded]))[0],
        encoded=encoded,
        label=int(pipeline.predict(np.array([encoded]))[0]),
        trees=len(getattr(forest, "estimators_", ())),
        leaves=sum(tree.get_n_leaves() for tree in getattr(forest, "estimators_", ())),
    )


def _write_bundle(pipeline: Any, schema: Schema, X: Any, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    scorer = score.fitted(pipeline)
    golden = goldens.write_requests(schema, scorer, X, example={}, seed=1)
    contents = {
        bundles.MODEL: graph.convert(pipeline, len(schema.columns)),
        bundles.TABLE: table.compile(pipeline, schema),
        bundles.GOLDEN: json.dumps(golden).encode(),
        bundles.REFERENCE: json.dumps(drift.reference(schema, X, scorer(X))).encode(),
        bundles.METRICS: b"{}",
    }
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    bundles.seal(Bundle(folder, NAME, "heart", "benchmark", schema, version="1"))
    return folder


def http_request(path: str, document: Any) -> bytes:
    """Return the bytes of one request, with the headers a client library sends."""
    body = json.dumps(document).encode()
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1:8080",
        "User-Agent: benchmark/1.0",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def v1(row: list[Any]) -> bytes:
    """Return a V1 request of one row."""
    return http_request(f"/v1/models/{NAME}:predict", {"instances": [row]})


def v2(row: list[Any]) -> bytes:
    """Return a V2 request of one row."""
    tensor = {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return http_request(f"/v2/models/{NAME}/infer", {"inputs": [tensor]})


def grpc_message(row: list[Any]) -> bytes:
    """Return a ModelInferRequest of one row in raw form."""
    tensor = oip.ModelInferRequest.InferInputTensor(name="input-0", datatype="FP64", shape=[1, len(row)])
    raw = struct.pack(f"<{len(row)}d", *row)
    request = oip.ModelInferRequest(model_name=NAME, inputs=[tensor], raw_input_contents=[raw])
    return bytes(request.SerializeToString())


def grpc_file(message: bytes) -> bytes:
    """Return what load.c needs: a header block of HPACK literals that are never indexed, then the framed message."""
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/inference.GRPCInferenceService/ModelInfer"),
        (":authority", "127.0.0.1"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "benchmark/1.0"),
    )
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in headers
    )
    return struct.pack("<I", len(block)) + block + b"\x00" + struct.pack(">I", len(message)) + message


def single_threaded() -> dict[str, str]:
    """Return the environment of every server: one thread in numeric libraries, bytecode kept, this Python's scripts."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, "1")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), environment.get("PATH", "")))
    return environment
