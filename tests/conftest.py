"""What every test shares: thread counts that fit two cores, a real S3 server, settings that touch nothing else."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId

from components import settings as configuration
from components.settings import Settings
from pipelines.local import services
from serving import bundle as bundles
from serving.bundle import Bundle
from serving.schema import Column, Schema, Target

# A shell that starts the tests in the background makes them ignore Ctrl-C, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep groups of tests on one worker: pytest-xdist 3.8 writes a group where pytest 9.2 no longer reads it."""
    for item in items:
        if grouped := vars(item).get("_nodeid"):
            item._id = NodeId.parse(grouped)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The optional folder with more real data and CRDs; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared (more real data, CRDs)")
    return folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """A real SeaweedFS on loopback, as the environment that leads to it."""
    with services.running(tmp_path_factory.mktemp("store"), {}) as variables:
        yield {name: value for name, value in variables.items() if name.startswith("AWS_") or "S3" in name}


@pytest.fixture(scope="session")
def empty_tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty MLflow database; copying it saves each test the migrations."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def environment(
    s3: Mapping[str, str], empty_tracking_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """The process environment of a step on a laptop: real S3, a fresh MLflow store, a fresh home."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(empty_tracking_store, home / "mlflow.db")
    values = {**s3, "HEADRACE_HOME": str(home), "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def settings(environment: Mapping[str, str]) -> Settings:
    """The settings of `environment`."""
    return configuration.read(environment)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Make a small servable bundle: a logistic model in float64 of one number and one category."""
    return lambda name, **how: small_bundle(tmp_path / "bundles" / name, **how)


def small_bundle(folder: Path, model: str = "tiny", slope: float = 0.7, broken_golden: bool = False) -> Bundle:
    """Write and seal p = sigmoid(slope * amount + [kind == b] - 0.5), missing counted as 0."""
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("IsNaN", ["features"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["margin"]),
        helper.make_node("Neg", ["margin"], ["minus"]),
        helper.make_node("Exp", ["minus"], ["power"]),
        helper.make_node("Add", ["power", "one"], ["below"]),
        helper.make_node("Div", ["one", "below"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
    ]
    double = TensorProto.DOUBLE
    constants = [
        helper.make_tensor("zero", double, [1], [0.0]),
        helper.make_tensor("one", double, [1], [1.0]),
        helper.make_tensor("bias", double, [1], [-0.5]),
        helper.make_tensor("weights", double, [2, 1], [slope, 1.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("features", double, [None, 2])],
        [helper.make_tensor_value_info("probabilities", double, [None, 2])],
        constants,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / bundles.MODEL
    )
    schema = Schema(
        (
            Column("amount", "number", unit="EUR", minimum=-2.0, maximum=3.0, missing=True),
            Column("kind", "category", categories=("a", "b")),
        ),
        Target("bought", "binary", (0, 1), 1),
    )
    rows: list[dict[str, float | str | None]] = [
        {"amount": 1.5, "kind": "b"},
        {"amount": -2.0, "kind": "a"},
        {"amount": None, "kind": "b"},
    ]
    requests = []
    for row in rows:
        margin = slope * float(row["amount"] or 0.0) + (row["kind"] == "b") - 0.5
        positive = 1.0 / (1.0 + math.exp(-margin)) + (0.4 if broken_golden else 0.0)
        requests.append(
            {"instances": [row], "predictions": [int(positive > 0.5)], "probabilities": [[1.0 - positive, positive]]}
        )
    (folder / bundles.GOLDEN).write_text(json.dumps({"requests": requests, "tolerance": 1e-6}))
    reference = {
        "rows": 4,
        "columns": {
            "amount": {"kind": "number", "edges": [0.0, 1.0], "counts": [1, 2, 0], "missing": 1},
            "kind": {"kind": "category", "categories": ["a", "b"], "counts": [2, 2], "unseen": 0, "missing": 0},
        },
        "predictions": {"classes": [0, 1], "counts": [2, 2], "edges": [0.5], "scores": [2, 2]},
    }
    (folder / bundles.REFERENCE).write_text(json.dumps(reference))
    (folder / bundles.METRICS).write_text(json.dumps({}))
    (folder / bundles.CARD).write_text("# tiny\n")
    return bundles.seal(Bundle(folder, model, model, "logistic", schema, provenance={"dataset": "0" * 64}))
