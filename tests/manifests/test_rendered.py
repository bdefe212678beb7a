"""The committed manifests are what kustomize renders, what the CRDs accept, and what a restricted namespace runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
ENVIRONMENTS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
KUBECTL = Path(sys.executable).parent / "kubectl"
sys.path.insert(0, str(ROOT / "tests" / "cluster"))


def documents(environment: str) -> list[dict[str, Any]]:
    """Return the stamped objects of an environment, as sed and kubectl would apply them."""
    text = (MANIFESTS / "rendered" / f"{environment}.yaml").read_text()
    return list(yaml.safe_load_all(text.replace("model-name", "heart").replace("model-version", "3")))


def service(environment: str) -> dict[str, Any]:
    return next(item for item in documents(environment) if item["kind"] == "InferenceService")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_committed_file_is_what_kustomize_renders(environment):
    command = [KUBECTL, "kustomize", MANIFESTS / "overlays" / environment]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert (MANIFESTS / "rendered" / f"{environment}.yaml").read_text() == rendered, "run `make manifests`"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_object_passes_its_schema(environment, shared):
    import crds
    import kubernetes_validate

    for item in documents(environment):
        if item["kind"] == "InferenceService":
            assert crds.errors(shared / "crds", item) == []
        else:
            kubernetes_validate.validate(item, "1.31", strict=True)


def test_the_schemas_catch_a_wrong_manifest(shared):
    import crds

    item = service("local")
    item["spec"]["predictor"]["model"]["storageURI"] = "s3://models/heart/3"
    item["spec"]["predictor"]["minReplicas"] = "two"

    found = crds.errors(shared / "crds", item)

    assert any("storageURI" in error for error in found)
    assert any("minReplicas" in error for error in found)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_pods_pass_pod_security_restricted(environment):
    predictor = service(environment)["spec"]["predictor"]
    pod, container = predictor["securityContext"], predictor["model"]["securityContext"]

    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_mode_and_autoscaler_are_explicit(environment):
    item = service(environment)
    wanted = "external" if environment == "production-windows" else "hpa"

    assert item["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert item["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == wanted
    assert item["spec"]["predictor"]["model"]["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("environment", ["production", "production-windows"])
def test_production_scales_from_two_to_ten_on_cpu(environment):
    predictor = service(environment)["spec"]["predictor"]

    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["scaleMetric"]) == (2, 10, "cpu")


def test_the_external_autoscaler_follows_the_deployment_of_the_version():
    autoscaler = next(item for item in documents("production-windows") if item["kind"] == "HorizontalPodAutoscaler")

    assert autoscaler["spec"]["scaleTargetRef"]["name"] == "heart-v3-predictor"
    assert autoscaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_that_differs_between_versions_is_on_the_service_itself(environment):
    text = (MANIFESTS / "rendered" / f"{environment}.yaml").read_text()
    item = next(entry for entry in yaml.safe_load_all(text) if entry["kind"] == "InferenceService")

    assert "model-version" not in str(item["metadata"]), "KServe copies these to all pods and would restart them"
