"""Rendering the chart with the real helm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "headrace"
APIS = (
    "serving.kserve.io/v1beta1/InferenceService",
    "serving.kserve.io/v1alpha1/ServingRuntime",
    "argoproj.io/v1alpha1/Workflow",
    "kubeflow.org/v1beta1/ScheduledWorkflow",
    "monitoring.coreos.com/v1/PodMonitor",
    "gateway.networking.k8s.io/v1/HTTPRoute",
)
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

Helm = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Run helm with arguments and return what it said."""
    beside = Path(sys.executable).parent / "helm"
    binary = os.environ.get("HEADRACE_HELM") or (str(beside) if beside.exists() else shutil.which("helm"))
    if binary is None:
        pytest.skip("needs helm: python tests/tools/get_helm.py .venv/bin")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [binary, *(str(argument) for argument in arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Return the objects of the chart under a scenario of ci/ and further --set values, `without` one group of APIs."""

    def objects(
        scenario: str = "default", *values: str, without: str = "-", namespace: str = "kubeflow"
    ) -> list[dict[str, Any]]:
        arguments = [
            "template",
            "headrace",
            CHART,
            "--namespace",
            namespace,
            "--values",
            CHART / f"ci/{scenario}.yaml",
        ]
        arguments += [word for api in APIS if not api.startswith(without) for word in ("--api-versions", api)]
        arguments += [word for value in values for word in ("--set", value)]
        result = helm(*arguments)
        if result.returncode:
            raise RuntimeError(result.stderr)
        return [item for item in yaml.safe_load_all(result.stdout) if item]

    return objects
