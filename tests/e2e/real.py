"""The provider of `make e2e KUBECONFIG=...`: a cluster that is reached with kubectl alone, through port-forwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from provider import BIN, ROOT, Cluster

PREFIX = os.environ.get("HEADRACE_IMAGE_PREFIX", "headrace")
WHERE = {
    "gateway": os.environ.get("HEADRACE_E2E_GATEWAY", ""),
    "prometheus": os.environ.get("HEADRACE_E2E_PROMETHEUS", ""),
}
"""URLs of a gateway and a Prometheus that are reachable from here; empty forwards ports to what kind.sh installs."""
GATEWAY_SELECTOR = "gateway.envoyproxy.io/owning-gateway-name=kserve-ingress-gateway"
PROMETHEUS = "monitoring", "prometheus-operated"


class Real(Cluster):
    """The cluster of KUBECONFIG; the suite works in the namespace HEADRACE_E2E_NAMESPACE."""

    namespace = os.environ.get("HEADRACE_E2E_NAMESPACE", "kubeflow")
    described = "in this cluster"
    scrape_seconds = 6.0

    def __init__(self, folder: Path, kubeconfig: str) -> None:
        super().__init__(folder)
        self._forwards, self._platform = ExitStack(), ExitStack()
        self._urls: dict[str, str] = {}
        self.kubeconfig = folder / "kubeconfig"
        flat = self.run("kubectl", "config", "view", "--raw", "--minify", "--flatten", KUBECONFIG=kubeconfig)
        self.kubeconfig.write_text(flat)
        self.kubeconfig.chmod(0o600)
        self.environment = {"KUBECONFIG": str(self.kubeconfig)}
        self.kubectl("config", "set-context", "--current", "--namespace", self.namespace)
        self.capabilities = frozenset(self._found())

    @property
    def gateway(self) -> str:
        return self._reached("gateway")

    @property
    def prometheus(self) -> str:
        return self._reached("prometheus")

    @property
    def chart_values(self) -> list[str]:
        pull = [] if PREFIX == "headrace" else ["--set=images.pullPolicy=IfNotPresent"]
        images = [f"--set=images.{name}.repository={PREFIX}/{name}" for name in ("serving", "mlflow", "deploy")]
        labels = "--set=monitoring.labels.release=prometheus"
        return [*pull, *images, "--set=monitoring.enabled=true", "--set=monitoring.interval=5", labels]

    def open_platform(self, keys: dict[str, str]) -> dict[str, str]:
        """Forward the ports of the chart's Services; again after the chart was installed again."""
        self._platform.close()
        s3 = self._platform.enter_context(self._forward(self.namespace, "service/headrace-store", 8333))
        tracking = self._platform.enter_context(self._forward(self.namespace, "service/headrace-mlflow", 5000))
        return {"AWS_ENDPOINT_URL": s3, "MLFLOW_TRACKING_URI": tracking}

    def train(self, use_case: str) -> None:
        with self._forward(self.namespace, "service/ml-pipeline", 8888) as host:
            self.run(sys.executable, "-m", "pipelines", "submit", use_case, "--environment", "local", "--host", host)

    def test_chart(self) -> str:
        return self.helm("test", "headrace", "--timeout=10m")

    def sweep(self) -> str:
        name = f"headrace-sweep-{int(time.time())}"
        self.kubectl("create", "job", name, "--from=cronjob/headrace-sweep")
        self.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=300s")
        return self.kubectl("logs", f"job/{name}")

    def without_kserve(self, *, old: bool) -> Any:
        return pytest.skip(f"KServe {'is not replaced by an old one' if old else 'stays'} {self.described}")

    def close(self) -> None:
        self._platform.close()
        self._forwards.close()

    def _found(self) -> Iterator[str]:
        """Yield what the cluster has."""
        known = self.kubectl("api-resources", "--output=name")
        if "workflows.argoproj.io" in known:
            yield "pipelines"
        if re.search(r"^nodes\.metrics\.k8s\.io$", known, re.M):
            yield "autoscaler"

    def _reached(self, what: str) -> str:
        if WHERE[what]:
            return WHERE[what]
        if what not in self._urls:
            namespace, service, port = self._place(what)
            self._urls[what] = self._forwards.enter_context(self._forward(namespace, f"service/{service}", port))
        return self._urls[what]

    def _place(self, what: str) -> tuple[str, str, int]:
        if what == "prometheus":
            return *PROMETHEUS, 9090
        said = self.kubectl("get", "services", "--all-namespaces", f"--selector={GATEWAY_SELECTOR}", "--output=json")
        found = [item["metadata"] for item in json.loads(said)["items"]]
        assert found, "no Envoy Gateway serves kserve-ingress-gateway: set HEADRACE_E2E_GATEWAY=http://..."
        return found[0]["namespace"], found[0]["name"], 80

    @contextmanager
    def _forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """Forward a port of this machine, whichever is free, while the context lasts."""
        command = [str(BIN / "kubectl"), "--namespace", namespace, "port-forward", target, f":{port}"]
        variables = {**os.environ, **self.environment}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables, cwd=ROOT) as forward:
            assert forward.stdout is not None
            line = forward.stdout.readline()
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert match, f"kubectl port-forward {target} of {namespace} failed: {line}"
            try:
                yield f"http://127.0.0.1:{match[1]}"
            finally:
                forward.terminate()
