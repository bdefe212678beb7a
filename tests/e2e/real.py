"""The provider of `make e2e KUBECONFIG=...`: a cluster that is reached with kubectl, and from a pod within."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pods
import pytest
import reach
from forwards import Forward
from provider import BIN, RELEASE, Cluster, Process

PREFIX = os.environ.get("HEADRACE_IMAGE_PREFIX", "headrace")
GIVEN = {
    "gateway": os.environ.get("HEADRACE_E2E_GATEWAY", ""),
    "prometheus": os.environ.get("HEADRACE_E2E_PROMETHEUS", ""),
}
"""URLs that are reachable from here; what is empty is looked for."""
GATEWAY = "kserve", "kserve-ingress-gateway"
SELECTORS = {
    "gateway": (
        "gateway.envoyproxy.io/owning-gateway-name=kserve-ingress-gateway",
        "gateway.networking.k8s.io/gateway-name=kserve-ingress-gateway",
    ),
    "prometheus": ("operated-prometheus=true",),
}
PORTS = {"gateway": 80, "prometheus": 9090}
PLATFORM = {"AWS_ENDPOINT_URL": ("headrace-store", 8333), "MLFLOW_TRACKING_URI": ("headrace-mlflow", 5000)}


class Real(Cluster):
    """The cluster of KUBECONFIG; the suite works in the namespace HEADRACE_E2E_NAMESPACE."""

    namespace = os.environ.get("HEADRACE_E2E_NAMESPACE", "kubeflow")
    described = "in this cluster"
    scrape_seconds = 6.0

    def __init__(self, folder: Path, kubeconfig: str, namespace: str = "") -> None:
        super().__init__(folder)
        self.namespace = namespace or self.namespace
        self._forwards: dict[tuple[str, str, int], Forward] = {}
        self._urls: dict[str, str] = {}
        self._within = ""
        self.kubeconfig = folder / "kubeconfig"
        flat = self.run("kubectl", "config", "view", "--raw", "--minify", "--flatten", KUBECONFIG=kubeconfig)
        self.kubeconfig.write_text(flat)
        self.kubeconfig.chmod(0o600)
        self.environment = {"KUBECONFIG": str(self.kubeconfig)}
        self.kubectl("config", "set-context", "--current", "--namespace", self.namespace)
        self.known = self.kubectl("api-resources", "--output=name")
        self.capabilities = frozenset(self._found())

    @property
    def gateway(self) -> str:
        return self._reached("gateway")

    @property
    def prometheus(self) -> str:
        return self._reached("prometheus") if "prometheus" in self.capabilities else "http://prometheus.invalid"

    @property
    def chart_values(self) -> list[str]:
        pull = [] if PREFIX == "headrace" else ["--set=images.pullPolicy=IfNotPresent"]
        images = [f"--set=images.{name}.repository={PREFIX}/{name}" for name in ("serving", "mlflow", "deploy")]
        values = [*pull, *images]
        if "pipelines" not in self.capabilities:
            values.append("--set=requirements.pipelines=false")
        if "podmonitors.monitoring.coreos.com" in self.known:
            values += ["--set=monitoring.enabled=true", "--set=monitoring.interval=5"]
            values += [f"--set=monitoring.labels.{key}={value}" for key, value in self._selected().items()]
        return values

    def open_platform(self, keys: dict[str, str]) -> dict[str, str]:
        """Forward the ports of the chart's Services."""
        return {
            name: self._forward(self.namespace, f"service/{service}", port)
            for name, (service, port) in PLATFORM.items()
        }

    def pipelines_host(self) -> str:
        return self._forward(self.namespace, "service/ml-pipeline", 8888)

    def train(self, use_case: str, seed: int | None = None) -> None:
        tell = f"helm get notes headrace --namespace {self.namespace} | grep 'patch configmap kfp-launcher' | sh"
        self.run("bash", "-euc", tell)
        words = ["submit", use_case, "--environment", "local", "--host", self.pipelines_host()]
        words += [] if seed is None else ["--seed", str(seed)]
        self.run(sys.executable, "-m", "pipelines", *words)

    def test_chart(self) -> str:
        return self.helm("test", "headrace", "--timeout=10m")

    def sweep(self) -> str:
        return self._job({})

    def release(self, model: str, version: str, environment: str) -> str:
        """Release from a pod with the image and the rights of the deploy step: Services have names there."""
        command = ["python", "-c", RELEASE, model, version, environment]
        return self._job({"command": command, "env": pods.platform(self.namespace), "envFrom": pods.KEYS})

    def without_kserve(self, *, old: bool) -> Any:
        return pytest.skip(f"KServe {'is not replaced by an old one' if old else 'stays'} {self.described}")

    def call(self, order: dict[str, Any]) -> Process:
        """Load the gateway from here where it has an address here, else from a pod: no port-forward bears a load."""
        url = self.gateway
        if not self._within:
            return super().call(order)
        pods.client(self, f"{PREFIX}/serving:0.1.0")
        words = ["exec", "--stdin", pods.CLIENT, "--", "python", "/client/caller.py"]
        words.append(json.dumps({**order, "gateway": self._within or url}))
        command, variables = [str(BIN / "kubectl"), *words], {**os.environ, **self.environment}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)

    @contextmanager
    def elsewhere(self, namespace: str, **labels: str) -> Iterator[Cluster]:
        metadata = {"name": namespace, "labels": {**labels, **pods.OURS}}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        folder = self.folder / namespace
        folder.mkdir(exist_ok=True)
        other = Real(folder, str(self.kubeconfig), namespace)
        try:
            yield other
        finally:
            other.close()
            self.kubectl("delete", "namespace", namespace, "--wait", "--timeout=300s")

    def close(self) -> None:
        for forward in self._forwards.values():
            forward.close()
        self._forwards.clear()

    def _found(self) -> Iterator[str]:
        """Yield what the cluster has."""
        yield from ("pods", "namespaces")
        if "workflows.argoproj.io" in self.known and self.kubectl(
            "get", "service", "ml-pipeline", "--ignore-not-found"
        ):
            yield "pipelines"
        if re.search(r"^nodes\.metrics\.k8s\.io$", self.known, re.M):
            yield "autoscaler"
        if GIVEN["prometheus"] or self._services("prometheus"):
            yield "prometheus"

    def _selected(self) -> dict[str, str]:
        """Return the labels by which Prometheus selects PodMonitors."""
        if "prometheuses.monitoring.coreos.com" not in self.known:
            return {}
        for item in json.loads(self.kubectl("get", "prometheuses", "--all-namespaces", "--output=json"))["items"]:
            return dict((item["spec"].get("podMonitorSelector") or {}).get("matchLabels") or {})
        return {}

    def _services(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for selector in SELECTORS[what]:
            words = ("get", "services", "--all-namespaces", f"--selector={selector}", "--output=json")
            found += json.loads(self.kubectl(*words))["items"]
        return found

    def _reached(self, what: str) -> str:
        if GIVEN[what]:
            return GIVEN[what]
        if what not in self._urls:
            self._urls[what] = self._look_for(what)
        return self._urls[what]

    def _look_for(self, what: str) -> str:
        """Return where the gateway or Prometheus answers: an address of its own, else a forward for single requests."""
        services, nodes = self._services(what), self.objects("nodes")
        for service in services:
            if url := reach.address(service, nodes, PORTS[what]):
                return url
        if what == "gateway" and (url := self._status_address()):
            return url
        assert services, f"no Service of the {what} was found: set HEADRACE_E2E_{what.upper()}=http://..."
        namespace, name = (services[0]["metadata"][key] for key in ("namespace", "name"))
        if what == "gateway":
            self._within = f"http://{name}.{namespace}:{PORTS[what]}"
        return self._forward(namespace, f"service/{name}", PORTS[what])

    def _status_address(self) -> str:
        namespace, name = GATEWAY
        words = ("get", "gateways.gateway.networking.k8s.io", name, "--ignore-not-found", "--output=json")
        said = json.loads(self.kubectl("--namespace", namespace, *words) or "{}")
        urls = [reach.url(item["value"], 80) for item in said.get("status", {}).get("addresses", [])]
        return next((url for url in urls if reach.answers(url)), "")

    def _job(self, container: dict[str, Any]) -> str:
        """Run a job like the chart's sweep, with parts of its container changed, and return what it said."""
        name = f"headrace-e2e-{time.time_ns() // 1_000_000}"
        template = json.loads(self.kubectl("get", "cronjob", "headrace-sweep", "--output=json"))["spec"]["jobTemplate"]
        template["spec"]["template"]["spec"]["containers"][0] |= container
        metadata = {"name": name, "labels": pods.OURS}
        self.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
        deadline = time.monotonic() + 1200
        while not (status := self.objects_named("job", name)["status"]).get("succeeded"):
            failed = status.get("failed") or time.monotonic() > deadline
            assert not failed, self.kubectl("logs", f"job/{name}", "--tail=50")
            time.sleep(2)
        return self.kubectl("logs", f"job/{name}")

    def _forward(self, namespace: str, target: str, port: int) -> str:
        """Return the URL of a port of this machine that leads to one of the cluster until this is closed."""

        def command(local: int) -> list[str]:
            words = ["--namespace", namespace, "port-forward", target, f"{local or ''}:{port}"]
            return [str(BIN / "kubectl"), *words]

        key = namespace, target, port
        if key not in self._forwards:
            self._forwards[key] = Forward(command, {**os.environ, **self.environment})
        return self._forwards[key].url
