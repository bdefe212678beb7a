"""The provider of CI: the emulated API with real servers, Envoy, Prometheus, SeaweedFS and MLflow's database."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from apiserver import ApiServer
from controller import KServe
from crds import CRDS
from kubelet import Kubelet
from parts import free_port, wait_for
from processes import Processes
from provider import BIN, Cluster
from workloads import Workloads

from components import settings as configuration
from components.store import Store, StoreError, parse

OWN_FLAGS = ("--model_name", "--model_dir", "--host", "--http_port", "--grpc_port")
GATEWAY = {
    "gateway.envoyproxy.io/owning-gateway-name": "kserve-ingress-gateway",
    "gateway.envoyproxy.io/owning-gateway-namespace": "kserve",
}
BUCKETS = ("models", "datasets", "artifacts")
TRAIN = """
import dataclasses, sys
from pathlib import Path
from pipelines.local import choice, progress, summary
from pipelines.local.run import run

seed = int(sys.argv[4]) if len(sys.argv) > 4 else None
order = choice.order(choice.Wanted(use_case=sys.argv[1], candidates=(sys.argv[2],), seed=seed), Path(sys.argv[3]))
order = dataclasses.replace(order, arguments={**order.arguments, "environment": "local"})
sys.exit(summary.exit_code(run(order, progress.best())))
"""
CANDIDATES = {"iris": "logistic", "heart": "logistic"}
"""One is enough for the story."""


class Emulated(Cluster):
    """The emulator, as a cluster that has KServe, the Gateway API and KFP's types."""

    namespace = "kubeflow"
    described = "on the emulator"
    capabilities = frozenset({"pipelines", "removable", "prometheus"})
    scrape_seconds = 1.0
    planned: ClassVar[dict[str, str]] = {"gateway": "auto", "prometheus": "auto"}

    def __init__(self, folder: Path, tracking: Path) -> None:
        super().__init__(folder)
        self._tracking = tracking
        self._store: subprocess.Popen[bytes] | None = None
        self._keys: dict[str, str] = {}
        self.api = ApiServer(CRDS if CRDS.is_dir() else None, self.namespace)
        (folder / "work").mkdir()
        self._workload = Processes(folder / "work", self._bundle, self._flags, self.namespace)
        self._mlflow = 0
        node = Kubelet(self.api, folder / "node", self._names)
        self._controllers = [KServe(self.api, self._workload), Workloads(self.api), node]
        self.api.put("configmaps", {"metadata": {"name": "kfp-launcher"}, "data": {"defaultPipelineRoot": ""}})
        self._announce("envoy-gateway-system", "envoy-kserve-kserve-ingress-gateway-9d04db9b", GATEWAY, self.gateway)
        self._announce("monitoring", "prometheus-operated", {"operated-prometheus": "true"}, self.prometheus)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(_kubeconfig(self.api.url, self.namespace)))
        self.environment = {"KUBECONFIG": str(self.kubeconfig), "HELM_CACHE_HOME": str(folder / "helm")}

    @property
    def gateway(self) -> str:
        return self._workload.gateway

    @property
    def prometheus(self) -> str:
        return self._workload.prometheus

    @property
    def chart_values(self) -> list[str]:
        return []

    def open_platform(self, keys: dict[str, str]) -> dict[str, str]:
        """Start the store with the keys that the chart generated, as the chart's pod would."""
        home = self.folder / "home"
        if keys != self._keys:  # installed anew, with volumes of its own
            self._end_store()
            shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(self.folder / "bundles", ignore_errors=True)
            home.mkdir()
            shutil.copy(self._tracking, home / "mlflow.db")
            port = _quiet_port()
            self._url, self._keys = f"http://127.0.0.1:{port}", keys
            self._store = self._start_store(port, keys)
        known = {"AWS_ENDPOINT_URL": self._url, "MLFLOW_S3_ENDPOINT_URL": self._url}
        known["MLFLOW_TRACKING_URI"] = f"sqlite:///{home / 'mlflow.db'}"
        self._wait_for_store({**keys, **known})
        return known

    def train(self, use_case: str, seed: int | None = None) -> None:
        words = (use_case, CANDIDATES[use_case], self.folder / "home", *(() if seed is None else (seed,)))
        self.run(sys.executable, "-c", TRAIN, *words)

    def pipelines_host(self) -> str:
        return pytest.skip(f"no KFP API {self.described}: tests/pipelines/cluster has one")

    @contextmanager
    def elsewhere(self, namespace: str, **labels: str) -> Iterator[Cluster]:
        pytest.skip(f"one namespace {self.described}")
        yield self

    def test_chart(self) -> str:
        """Run `helm test` while an MLflow server answers for the chart's."""
        self._mlflow = free_port()
        command = [str(BIN / "gunicorn"), "--workers=1", f"--bind=127.0.0.1:{self._mlflow}", "mlflow.server:app"]
        database = {"_MLFLOW_SERVER_FILE_STORE": self.environment["MLFLOW_TRACKING_URI"]}
        variables = {**os.environ, **self.environment, **database, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        variables["MLFLOW_SERVER_ALLOWED_HOSTS"] = "*"
        with (self.folder / "mlflow.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, env=variables, cwd=self.folder)
        try:
            wait_for(f"http://127.0.0.1:{self._mlflow}/health", 100)
            return self.helm("test", "headrace", "--timeout=2m")
        finally:
            server.terminate()
            server.wait()

    def sweep(self) -> str:
        return self.run(sys.executable, "-m", "components.releases.sweep")

    @contextmanager
    def without_kserve(self, *, old: bool) -> Iterator[None]:
        kinds = {"inferenceservices", "servingruntimes"}
        key = "customresourcedefinitions", "", "inferenceservices.serving.kserve.io"
        before = self.api.state.objects.get(key)
        try:
            if not old:
                self.api.absent |= kinds
                yield
                return
            definition: dict[str, Any] = copy.deepcopy(before) if before else _definition()
            spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            spec["properties"].pop("canary", None)
            self.api.state.objects[key] = definition
            yield
        finally:
            self.api.absent -= kinds
            if before is not None:
                self.api.state.objects[key] = before
            else:
                self.api.state.objects.pop(key, None)

    def close(self) -> None:
        for controller in self._controllers:
            controller.close()
        self._workload.close()
        self.api.close()
        self._end_store()

    def _announce(self, namespace: str, name: str, labels: dict[str, str], url: str) -> None:
        """Make the Service by which a gateway or Prometheus is found, as Envoy Gateway and the operator do."""
        host, _, port = url.removeprefix("http://").partition(":")
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        spec = {"type": "LoadBalancer", "ports": [{"name": "http", "port": int(port)}]}
        status = {"loadBalancer": {"ingress": [{"ip": host}]}}
        item = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status}
        services = next(kind for kind in self.api.kinds if kind.plural == "services")
        self.api.state.write(services, namespace, item)

    def _names(self) -> dict[str, int]:
        """Return where Services are: the store's, MLflow's and those of models."""
        models = {f"{name}.{self.namespace}:80": server.http for name, server in self._workload.servers.items()}
        store = {f"headrace-store.{self.namespace}:8333": int(self._url.rpartition(":")[2])}
        return models | store | {f"headrace-mlflow.{self.namespace}:5000": self._mlflow}

    def _bundle(self, predictor: dict[str, Any]) -> Path:
        """Download a bundle as KServe's storage initializer does: whatever begins with the address."""
        uri = str(predictor["model"]["storageUri"])
        address, store = parse(uri), Store(self.settings)
        prefix = uri.removeprefix(f"s3://{address.bucket}/")
        folder = self.folder / "bundles" / address.key
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for found in store.keys(parse(f"s3://{address.bucket}/{address.key.rpartition('/')[0]}")):
                if found.key.startswith(prefix):
                    path = folder / found.key.removeprefix(prefix).strip("/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    store.get_file(found, path)
        return folder

    def files(self, deployment: str) -> list[str]:
        """Return what was downloaded for a Deployment that is not named by its version."""
        found = self.api.get("inferenceservices", deployment.removesuffix("-predictor"))
        assert found is not None
        folder = self._bundle(found["spec"]["predictor"])
        return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]

    def _flags(self) -> list[str] | None:
        """Return what the chart's ServingRuntime tells the server, but for what is of this machine."""
        runtime = self.api.get("servingruntimes", "headrace")
        if runtime is None:
            return None
        arguments = runtime["spec"]["containers"][0]["args"]
        return [word for word in arguments if word.partition("=")[0] not in OWN_FLAGS]

    def _end_store(self) -> None:
        if self._store is not None:
            self._store.kill()
            self._store.wait()
            shutil.rmtree(self.folder / "store")

    def _start_store(self, port: int, keys: dict[str, str]) -> subprocess.Popen[bytes]:
        folder = self.folder / "store"
        folder.mkdir()
        roles = {"s3": port, **{name: _quiet_port() for name in ("master", "volume", "filer", "admin")}}
        command = [str(BIN / "weed"), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-disableHttp"]
        command += ["-master.telemetry=false", *(f"-{name}.port={number}" for name, number in roles.items())]
        with (self.folder / "store.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **keys})

    def _wait_for_store(self, known: dict[str, str]) -> None:
        store, deadline = Store(configuration.read(known)), time.monotonic() + 60
        for bucket in BUCKETS:
            while True:
                try:
                    store.ensure_bucket(bucket)
                    break
                except StoreError:
                    assert time.monotonic() < deadline, (self.folder / "store.log").read_text()[-2000:]
                    time.sleep(0.2)


def _quiet_port() -> int:
    """Return a free port whose gRPC twin, 10000 above, is a port too."""
    while (port := free_port()) > 55_000:
        pass
    return port


def _definition() -> dict[str, Any]:
    """Return enough of a CustomResourceDefinition, for machines without KServe's."""
    spec = {"type": "object", "properties": {"predictor": {"type": "object"}}}
    version = {"name": "v1beta1", "schema": {"openAPIV3Schema": {"properties": {"spec": spec}}}}
    metadata = {"name": "inferenceservices.serving.kserve.io", "uid": "0", "resourceVersion": "1"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {"versions": [version]},
    }


def _kubeconfig(url: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "emulator", "cluster": {"server": url}}],
        "users": [{"name": "tests", "user": {}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "emulator", "user": "tests", "namespace": namespace}}],
        "current-context": "e2e",
    }
