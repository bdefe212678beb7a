"""What the suite asks of a cluster, whichever it is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import settings as configuration
from components.releases.kube import Kube, Pace, connect
from components.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = "e2e"
"""The environment that models are released to: overlay/ beside this file."""
NEEDS = {
    "pipelines": "Kubeflow Pipelines",
    "autoscaler": "KServe's autoscaler and metrics-server",
    "removable": "prerequisites that can be taken away for a moment",
}
PACE = replace(Pace(), give_up=10.0, lease=10.0)
"""As a release is in earnest, but for two waits that a person need not sit through."""


class Cluster(ABC):
    """A cluster with KServe, on which the chart may be installed and removed.

    Attributes:
        kubeconfig: A file of the suite's own, whose context names the namespace.
        capabilities: What it has of `NEEDS`.
        environment: Variables for everything that is started: KUBECONFIG, and where MLflow and S3 are.
    """

    namespace: str
    kubeconfig: Path
    capabilities: frozenset[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}

    @property
    @abstractmethod
    def gateway(self) -> str:
        """URL of the gateway."""

    @property
    @abstractmethod
    def prometheus(self) -> str:
        """URL of Prometheus, which scrapes at least every `scrape_seconds`."""

    scrape_seconds: float

    @property
    @abstractmethod
    def chart_values(self) -> list[str]:
        """Options of helm that fit the chart to this cluster."""

    @abstractmethod
    def open_platform(self, keys: dict[str, str]) -> dict[str, str]:
        """Return the variables that lead to MLflow and S3 of the installed chart, once they answer."""

    @abstractmethod
    def train(self, use_case: str) -> None:
        """Run the pipeline of a use case until its winner is released to `local`."""

    @abstractmethod
    def test_chart(self) -> str:
        """Run `helm test` and return what it said."""

    @abstractmethod
    def sweep(self) -> str:
        """Run what the chart's CronJob runs, once, and return what it said."""

    @abstractmethod
    def without_kserve(self, *, old: bool) -> Any:
        """Return a context in which KServe is not installed, or is too old."""

    @abstractmethod
    def close(self) -> None:
        """End what was started; the cluster stays as it is."""

    def need(self, *names: str) -> None:
        """Skip the test where something is not there."""
        for name in names:
            if name not in self.capabilities:
                pytest.skip(f"needs {NEEDS[name]}: not {self.described}")

    described: str

    def run(self, *command: object, check: bool = True, **more: str) -> str:
        """Return what a command says; show it when the command fails.

        Args:
            check: False returns output and errors of a command that must fail.
        """
        words = [str(word) for word in command]
        variables = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **self.environment, **more}
        result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=variables, timeout=1800)
        said = f"{' '.join(words)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        assert (result.returncode == 0) == check, said
        return result.stdout if check else result.stdout + result.stderr

    def kubectl(self, *words: object, check: bool = True) -> str:
        """Run kubectl."""
        return self.run("kubectl", *words, check=check)

    def helm(self, *words: object, check: bool = True) -> str:
        """Run helm in the namespace."""
        return self.run("helm", "--namespace", self.namespace, *words, check=check)

    def objects(self, kinds: str, selector: str = "") -> list[dict[str, Any]]:
        """Return objects as kubectl gets them."""
        said = self.kubectl("get", kinds, f"--selector={selector}", "--output=json")
        return list(json.loads(said)["items"])

    def kube(self) -> Kube:
        """Return the client that releases use."""
        return connect(PACE)

    @property
    def settings(self) -> Settings:
        """Where MLflow and S3 are."""
        return configuration.read(self.environment)

    def prepare(self) -> None:
        """Make MLflow and S3 of the installed chart, and the environment `e2e`, known to all that is started."""
        secret = json.loads(self.kubectl("get", "secret", "headrace-s3", "--output=json"))["data"]
        keys = {name: base64.b64decode(value).decode() for name, value in secret.items()}
        manifests = self.folder / "manifests"
        manifests.mkdir(exist_ok=True)
        for path in (ROOT / "manifests/rendered").iterdir():
            shutil.copy(path, manifests)
        text = self.kubectl("kustomize", ROOT / "tests/e2e/overlay")
        known = {"SCRAPE-SECONDS": f'"{self.scrape_seconds:g}"', "PROMETHEUS-URL": self.prometheus}
        for word, value in {**known, "GATEWAY-URL": self.gateway}.items():
            text = text.replace(word, value)
        (manifests / f"{ENVIRONMENT}.yaml").write_text(text)
        self.environment |= keys | {"AWS_DEFAULT_REGION": "us-east-1", "HEADRACE_MANIFESTS": str(manifests)}
        self.environment |= {"HEADRACE_HOME": str(self.folder / "home")}
        self.environment |= self.open_platform(keys)
