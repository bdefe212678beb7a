"""What the suite asks of a cluster, whichever it is."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

import pytest
from record import Record

from components import settings as configuration
from components.releases.kube import Kube, Pace, connect
from components.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
ENVIRONMENT = "e2e"
"""The environment that models are released to: overlay/ beside this file."""
NEEDS = {
    "pipelines": "Kubeflow Pipelines",
    "autoscaler": "KServe's autoscaler and metrics-server",
    "removable": "prerequisites that can be taken away for a moment",
    "prometheus": "a Prometheus, to judge canaries",
    "pods": "pods that may be killed, with a controller that replaces them",
    "policies": "network policies that are enforced",
    "namespaces": "several namespaces and Pod Security",
}
RELEASE = """
import sys
from components import settings
from components.releases import cluster
from components.releases.kube import Pace

print(cluster.release(settings.read(), *sys.argv[1:], pace=Pace(lease=10)).verified)
"""
PACE = replace(Pace(), give_up=10.0, lease=10.0)
"""As a release is in earnest, but for two waits that a person need not sit through."""


class Process(Protocol):
    """What of a started process its user needs."""

    stdin: IO[str] | None

    def communicate(self, text: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Close its input and return what it said."""


class Cluster(ABC):
    """A cluster with KServe, on which the chart may be installed and removed.

    Attributes:
        kubeconfig: A file of the suite's own, whose context names the namespace.
        capabilities: What it has of `NEEDS`.
        environment: Variables for everything that is started: KUBECONFIG, and where MLflow and S3 are.
        record: What the suite did so far.
    """

    namespace: str
    kubeconfig: Path
    capabilities: frozenset[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.record = Record()

    @property
    @abstractmethod
    def gateway(self) -> str:
        """URL of the gateway, for single requests."""

    @property
    @abstractmethod
    def prometheus(self) -> str:
        """URL of Prometheus, which scrapes at least every `scrape_seconds`."""

    scrape_seconds: float

    @property
    def planned(self) -> dict[str, str]:
        """Gateway and Prometheus as the plan of the environment `e2e` names them."""
        return {"gateway": self.gateway, "prometheus": self.prometheus}

    @property
    @abstractmethod
    def chart_values(self) -> list[str]:
        """Options of helm that fit the chart to this cluster."""

    @abstractmethod
    def open_platform(self, keys: dict[str, str]) -> dict[str, str]:
        """Return the variables that lead to MLflow and S3 of the installed chart, once they answer."""

    @abstractmethod
    def train(self, use_case: str, seed: int | None = None) -> None:
        """Run the pipeline of a use case until its winner is released to `local`."""

    @abstractmethod
    def pipelines_host(self) -> str:
        """Return the URL of the KFP API; for clusters that have one."""

    @abstractmethod
    def elsewhere(self, namespace: str, **labels: str) -> AbstractContextManager[Cluster]:
        """Return a context with a namespace of its own, which goes afterwards, and the cluster as seen from it."""

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

    def call(self, order: dict[str, Any]) -> Process:
        """Start the load of `caller.py` at a place from which the gateway is reached without a port-forward."""
        command = [sys.executable, str(HERE / "caller.py"), json.dumps({**order, "gateway": self.gateway})]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def release(self, model: str, version: str, environment: str) -> str:
        """Release a version as a step of a pipeline does, where that has to run; return what it said."""
        return self.run(sys.executable, "-c", RELEASE, model, version, environment)

    def files(self, deployment: str) -> list[str]:
        """Return the files of the bundle that a model's pod has, by their path below its folder."""
        script = "import pathlib; at = pathlib.Path('/mnt/models'); "
        script += "print(*(path.relative_to(at) for path in at.rglob('*') if path.is_file()), sep='\\n')"
        words = ("exec", f"deployment/{deployment}", "--container=kserve-container", "--", "python", "-c", script)
        return self.kubectl(*words).split()

    def evaluator(self, deployment: str) -> str:
        """Return what computes the predictions of a model's pods, as they tell it."""
        path = f"/api/v1/namespaces/{self.namespace}/services/{deployment}:80/proxy/metrics"
        match = re.search(r'^headrace_model_info{.*evaluator="(\w+)"', self.kubectl("get", "--raw", path), re.M)
        assert match, f"the pods of {deployment} do not tell their evaluator"
        return match[1]

    def need(self, *names: str) -> None:
        """Skip the test where something is not there."""
        for name in names:
            if name not in self.capabilities:
                pytest.skip(f"needs {NEEDS[name]}: not {self.described}")

    described: str

    def run(self, *command: object, check: bool = True, with_errors: bool = False, **more: str) -> str:
        """Return what a command says; show it when the command fails.

        Args:
            check: False returns output and errors of a command that must fail.
            with_errors: Return its errors and warnings, too.
        """
        words = [str(word) for word in command]
        variables = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **self.environment, **more}
        result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=variables, timeout=1800)
        said = f"{' '.join(words)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        assert (result.returncode == 0) == check, said
        return result.stdout if check and not with_errors else result.stdout + result.stderr

    def kubectl(self, *words: object, check: bool = True) -> str:
        """Run kubectl."""
        return self.run("kubectl", *words, check=check)

    def helm(self, *words: object, check: bool = True, with_errors: bool = False) -> str:
        """Run helm in the namespace."""
        return self.run("helm", "--namespace", self.namespace, *words, check=check, with_errors=with_errors)

    def objects(self, kinds: str, selector: str = "") -> list[dict[str, Any]]:
        """Return objects as kubectl gets them."""
        said = self.kubectl("get", kinds, f"--selector={selector}", "--output=json")
        return list(json.loads(said)["items"])

    def objects_named(self, kind: str, name: str) -> dict[str, Any]:
        """Return one object."""
        return dict(json.loads(self.kubectl("get", kind, name, "--output=json")))

    def apply(self, item: dict[str, Any]) -> None:
        """Apply an object."""
        path = self.folder / "applied.json"
        path.write_text(json.dumps(item))
        self.kubectl("apply", f"--filename={path}")

    def kube(self) -> Kube:
        """Return the client that releases use."""
        return connect(PACE)

    @property
    def prepared(self) -> bool:
        """Whether MLflow and S3 are known."""
        return "HEADRACE_HOME" in self.environment

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
        known = {"SCRAPE-SECONDS": f'"{self.scrape_seconds:g}"'}
        known |= {"PROMETHEUS-URL": self.planned["prometheus"], "GATEWAY-URL": self.planned["gateway"]}
        for word, value in known.items():
            text = text.replace(word, value)
        (manifests / f"{ENVIRONMENT}.yaml").write_text(text)
        self.environment |= keys | {"AWS_DEFAULT_REGION": "us-east-1", "HEADRACE_MANIFESTS": str(manifests)}
        self.environment |= {"HEADRACE_HOME": str(self.folder / "home")}
        self.environment |= self.open_platform(keys)
