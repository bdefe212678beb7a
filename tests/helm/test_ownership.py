"""Nothing of ours is owned by two: the chart, the manifests of a model, and what others install share no object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

RENDERED = sorted((Path(__file__).parents[2] / "manifests" / "rendered").glob("*.yaml"))
FOREIGN = {
    ("ConfigMap", "kfp-launcher"),
    ("ConfigMap", "pipeline-install-config"),
    ("ConfigMap", "inferenceservice-config"),
    ("ServiceAccount", "pipeline-runner"),
    ("ServiceAccount", "default-editor"),
    ("Secret", "mlpipeline-minio-artifact"),
}
"""What Kubeflow Pipelines and KServe install or make: written by us, it would be theirs again at their next update."""
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "ClusterServingRuntime", "PriorityClass", "StorageClass")
SCENARIOS = ["default", "external", "gateway", "kind", "production"]


def names(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(item["kind"], item["metadata"]["name"]) for item in objects}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_chart_owns_nothing_of_others(scenario, render):
    assert names(render(scenario)) & FOREIGN == set()


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
@pytest.mark.parametrize("model", ["headrace", "mlflow", "store", "heart"])
def test_the_chart_and_a_released_model_share_no_object(path, model, render):
    text = path.read_text().replace("model-name", model).replace("model-version", "1")
    released = [item for item in yaml.safe_load_all(text) if item]

    assert names(released) & names(render("production")) == set()
    assert names(released) & FOREIGN == set()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_installations_share_no_cluster_wide_object(scenario, render):
    second = render(scenario, namespace="team-b")

    wide = [{pair for pair in names(objects) if pair[0] in CLUSTER_WIDE} for objects in (render(scenario), second)]
    assert wide[0] & wide[1] == set()
    for item in second:
        in_the_gateways = item["kind"] == "ClientTrafficPolicy"
        if item["kind"] not in CLUSTER_WIDE and not in_the_gateways and "namespace" in item["metadata"]:
            assert item["metadata"]["namespace"] == "team-b"
