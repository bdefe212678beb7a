"""Compiled pipelines as Kubernetes objects: what the SDK would write, accepted by KFP's own schemas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kfpapi import Kfp

from components import use_cases
from pipelines import compiling, crs
from pipelines.__main__ import main

Cli = Callable[..., tuple[int, str, str]]


def schema(shared: Path, plural: str) -> dict[str, Any]:
    """The schema of a kind, closed where Kubernetes would prune."""
    path = shared / "crds" / "pipelines.kubeflow.org" / f"pipelines.kubeflow.org_{plural}.yaml"
    definition = yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return dict(_closed(definition))


def _closed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    known = {name: _closed(value) for name, value in node.items()}
    if "properties" in node:
        known["properties"] = {name: _closed(value) for name, value in node["properties"].items()}
        known["additionalProperties"] = False
    return known


def test_the_objects_are_what_the_custom_resource_definitions_accept(shared: Path) -> None:
    pipeline, version = crs.objects(compiling.TRAINING, "kubeflow")

    jsonschema.validate(pipeline, schema(shared, "pipelines"))
    jsonschema.validate(version, schema(shared, "pipelineversions"))
    assert version["spec"]["platformSpec"]["platforms"]
    parameters = version["spec"]["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    assert parameters["use_case"]["literals"] == list(use_cases.names())


def test_the_specifications_are_those_that_the_sdk_writes(tmp_path: Path) -> None:
    from kfp import compiler

    from pipelines.training import NAME, build

    target = tmp_path / "sdk.yaml"
    options = compiler.KubernetesManifestOptions(
        pipeline_name=NAME, pipeline_version_name=f"{NAME}-1", namespace="kubeflow", include_pipeline_manifest=True
    )
    compiler.Compiler().compile(
        build(),
        str(target),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )

    theirs = {item["kind"]: item for item in yaml.safe_load_all(target.read_text())}
    ours = {item["kind"]: item for item in crs.objects(compiling.write(tmp_path), "kubeflow")}
    for part in ("pipelineName", "pipelineSpec", "platformSpec"):
        assert ours["PipelineVersion"]["spec"][part] == theirs["PipelineVersion"]["spec"][part]
    assert ours["Pipeline"]["metadata"] == theirs["Pipeline"]["metadata"]
    assert {item["apiVersion"] for item in theirs.values()} == {crs.API}


def test_compile_writes_them_with_the_name_that_submit_uses(
    kfp: Kfp, cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli("submit", "iris", "--no-follow", "--pipeline", str(compiling.write(tmp_path)))

    code = main(["compile", "--kubernetes", "--namespace", "team"])

    pipeline, version = yaml.safe_load_all(capsys.readouterr().out)
    (uploaded,) = kfp.versions.values()
    assert code == 0
    assert version["metadata"] == {"name": uploaded["name"], "namespace": "team"}
    assert pipeline["metadata"]["name"] == version["spec"]["pipelineName"] == "headrace-training"


def test_compile_writes_them_into_a_folder(kfp: Kfp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compile", "--kubernetes", "--output", str(tmp_path / "out")])

    (written,) = (tmp_path / "out").iterdir()
    assert code == 0
    assert written.name == "training.yaml"
    assert [item["kind"] for item in yaml.safe_load_all(written.read_text())] == ["Pipeline", "PipelineVersion"]
    assert capsys.readouterr().out == f"{written}\n"


def test_a_namespace_that_is_none_is_wrong_input(kfp: Kfp, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compile", "--kubernetes", "--namespace", "No_Good"])

    assert code == 2
    assert "namespace 'No_Good'" in capsys.readouterr().err
