"""The glue stays thin: every component.py declares, unpacks and calls, in the form that KFP can carry."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from components import artifacts
from components.images import image
from pipelines.lean import stub_client

stub_client()

PROJECT = Path(__file__).parents[2]
FILES = sorted((PROJECT / "components").glob("*/component.py"))
STEPS = [path.parent.name for path in FILES]
ALLOWED = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr, ast.Return)


def function(path: Path) -> ast.FunctionDef:
    (found,) = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return found


def test_every_step_has_its_glue() -> None:
    steps = {path.parent.name for path in (PROJECT / "components").glob("*/step.py")}

    assert steps == set(STEPS)


@pytest.mark.parametrize("path", FILES, ids=STEPS)
def test_the_file_is_short_and_holds_nothing_that_kfp_cannot_carry(path: Path) -> None:
    text = path.read_text()

    assert len(text.splitlines()) <= 60
    assert "from __future__" not in text
    assert "{{" not in text
    assert not re.search(r"\w \| None", text)


@pytest.mark.parametrize("path", FILES, ids=STEPS)
def test_the_body_imports_calls_and_fills_in_metadata_only(path: Path) -> None:
    found = function(path)
    body = found.body[1:]
    imported = [node for node in body if isinstance(node, ast.ImportFrom | ast.Import)]
    modules = {node.module for node in imported if isinstance(node, ast.ImportFrom)}

    assert ast.get_docstring(found)
    assert found.name == path.parent.name
    assert all(isinstance(node, ALLOWED) for node in body)
    assert not any(isinstance(node, ast.If | ast.For | ast.While | ast.Try) for node in ast.walk(found))
    assert f"components.{found.name}.step" in modules
    assert modules <= {"pathlib", "components.artifacts", f"components.{found.name}.step"}


@pytest.mark.parametrize("path", FILES, ids=STEPS)
def test_whole_numbers_are_cast_where_they_are_handed_on(path: Path) -> None:
    found = function(path)
    whole = {item.arg for item in found.args.args if ast.unparse(item.annotation or ast.Constant(None)) == "int"}
    cast = {
        node.args[0].id
        for node in ast.walk(found)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "int"
        and isinstance(node.args[0], ast.Name)
    }

    assert whole == cast


@pytest.mark.parametrize("step", STEPS)
def test_a_component_runs_in_its_own_image_and_installs_nothing(step: str) -> None:
    made = getattr(importlib.import_module(f"components.{step}.component"), step)
    container = made.component_spec.implementation.container

    assert container.image == image(step)
    assert "pip install" not in " ".join(container.command)
    described = made.component_spec.inputs or {}
    assert made.component_spec.description
    assert all(spec.description for spec in described.values())


def test_evaluate_answers_one_unnamed_bool() -> None:
    made = importlib.import_module("components.evaluate.component").evaluate
    outputs = {name: spec.type for name, spec in made.component_spec.outputs.items() if "@" not in spec.type}

    assert outputs == {"Output": "Boolean"}


class Shown:
    """What KFP's metric artifacts do, as far as they are called."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.metadata: dict[str, Any] = {}

    def log_metric(self, name: str, value: float) -> None:
        self.metadata[name] = value

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        self.metadata["roc"] = [fpr, tpr, threshold]

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        self.metadata["confusion"] = [categories, matrix]


def test_metrics_leave_a_file_and_no_number_that_json_lacks(tmp_path: Path) -> None:
    shown = Shown(tmp_path / "deep" / "metrics")

    artifacts.write_metrics(shown, {"auc": 0.9, "lift": float("inf"), "none": float("nan")})

    assert shown.metadata == {"auc": 0.9}
    assert Path(shown.path).read_text() == '{\n "auc": 0.9\n}'


def test_curves_leave_out_points_without_a_finite_threshold(tmp_path: Path) -> None:
    shown = Shown(tmp_path / "curves")

    artifacts.write_curves(
        shown, ([0.0, 0.0, 1.0], [0.0, 0.5, 1.0], [float("inf"), 0.7, 0.1]), ([0, 1], [[5, 1], [2, 7]])
    )

    assert shown.metadata["roc"] == [[0.0, 1.0], [0.5, 1.0], [0.7, 0.1]]
    assert shown.metadata["confusion"] == [["0", "1"], [[5, 1], [2, 7]]]


def test_a_regression_has_no_curves_and_a_file_all_the_same(tmp_path: Path) -> None:
    shown = Shown(tmp_path / "curves")

    artifacts.write_curves(shown, None, None)

    assert Path(shown.path).read_text() == "{}"


def test_an_image_is_named_by_digest_once_a_release_recorded_it(tmp_path: Path) -> None:
    recorded = tmp_path / "images.json"
    recorded.write_text('{"train": "registry.example/headrace/train@sha256:abc"}')

    assert image("train", {}, recorded) == "registry.example/headrace/train@sha256:abc"
    assert image("train", {}, tmp_path / "absent") == "headrace/train:0.1.0"
    assert image("train", {"HEADRACE_IMAGE_PREFIX": "r.example/me/"}, recorded) == "r.example/me/train:0.1.0"
    with pytest.raises(ValueError, match="records no image of step 'ingest': choose one of train"):
        image("ingest", {}, recorded)
