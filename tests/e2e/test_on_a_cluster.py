"""The whole story on the cluster of KUBECONFIG, in order. Read README.md beside this file first."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from components import tracking
from components.releases import goldens, history
from components.releases.kube import DEPLOYMENT, Kube, connect
from components.settings import Settings, read
from components.store import Store, parse

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600), pytest.mark.xdist_group("e2e")]
ROOT = Path(__file__).resolve().parents[2]
NAMESPACE, MODEL, ENVIRONMENT = "kubeflow", "heart", "local"
BIN = Path(sys.executable).parent
PREFIX = os.environ.get("HEADRACE_IMAGE_PREFIX", "headrace")


def run(*command: object) -> str:
    """Return what a command says, and show it when the command fails."""
    path = f"{BIN}:{os.environ['PATH']}"
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="module", autouse=True)
def a_cluster() -> None:
    if "KUBECONFIG" not in os.environ:
        pytest.skip("needs KUBECONFIG: see tests/e2e/README.md")
    run("kubectl", "config", "set-context", "--current", "--namespace", NAMESPACE)


@contextmanager
def forwarded(service: str, local: int, remote: int) -> Iterator[str]:
    """Forward a port of a Service while the context lasts."""
    command = [
        str(BIN / "kubectl"),
        "--namespace",
        NAMESPACE,
        "port-forward",
        f"service/{service}",
        f"{local}:{remote}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        assert "Forwarding" in forward.stdout.readline()
        yield f"http://127.0.0.1:{local}"
        forward.terminate()


@pytest.fixture(scope="module")
def platform() -> Iterator[Settings]:
    """The settings of this process, so that it reaches MLflow and the store of the cluster."""
    secret = json.loads(run("kubectl", "get", "secret", "headrace-s3", "--output=json"))["data"]
    with ExitStack() as stack:
        environment = {key: base64.b64decode(value).decode() for key, value in secret.items()}
        environment["AWS_ENDPOINT_URL"] = stack.enter_context(forwarded("headrace-store", 18333, 8333))
        environment["MLFLOW_TRACKING_URI"] = stack.enter_context(forwarded("headrace-mlflow", 15000, 5000))
        os.environ.update(environment)
        yield read(environment)


@pytest.fixture
def kube() -> Kube:
    return connect()


def test_the_chart_installs():
    images = [f"--set=images.{name}.repository={PREFIX}/{name}" for name in ("serving", "mlflow", "deploy")]
    values = ROOT / "helm/headrace/ci/kind.yaml"
    pull = [] if PREFIX == "headrace" else ["--set=images.pullPolicy=IfNotPresent"]
    run("helm", "upgrade", "--install", "headrace", "helm/headrace", "--namespace", NAMESPACE, "--values", values,
        *images, *pull, "--set=tests.model=", "--wait", "--timeout=15m")  # fmt: skip


def test_the_chart_passes_its_tests():
    run("helm", "test", "headrace", "--namespace", NAMESPACE, "--timeout=10m")


@pytest.mark.parametrize("seed", [1, 2])
def test_the_pipeline_ends_with_a_served_champion(seed, platform, kube):
    with forwarded("ml-pipeline", 18888, 8888) as host:
        run(sys.executable, "-m", "pipelines", "submit", MODEL, "--environment", ENVIRONMENT, "--seed", seed,
            "--host", host)  # fmt: skip

    status = history.status(MODEL, kube)
    assert status.ready
    assert status.champion == tracking.champion(platform, MODEL)
    assert status.last is not None
    assert status.last.outcome == "released"


def test_the_endpoint_answers_as_at_training(platform, kube):
    origin = history.trace(platform, MODEL, kube=kube)
    golden = json.loads(Store(platform).get(parse(origin.uri) / "golden.json"))

    assert goldens.disagreement(lambda path, body: kube.ask(f"{MODEL}-predictor", path, body), MODEL, golden, 1.0) == ""


def test_the_metrics_count_the_requests(kube):
    status, body = kube.ask(f"{MODEL}-predictor", "/metrics")

    assert status == 200
    assert b'headrace_requests_total{model_name="heart"' in body


def test_the_endpoint_scales(kube):
    patch = json.dumps({"spec": {"predictor": {"minReplicas": 2}}})
    run("kubectl", "patch", "inferenceservice", MODEL, "--type=merge", f"--patch={patch}")
    deadline = time.monotonic() + 300
    while ((kube.get(DEPLOYMENT, f"{MODEL}-predictor") or {}).get("status", {}).get("availableReplicas", 0)) < 2:
        assert time.monotonic() < deadline
        time.sleep(2)


def test_a_rollback_brings_the_first_version_back(platform, kube):
    before = history.status(MODEL, kube).champion
    released = history.rollback(platform, MODEL, ENVIRONMENT)

    assert released.verified
    assert released.version != before
    assert history.status(MODEL, kube).champion == released.version == tracking.champion(platform, MODEL)


def test_the_chart_leaves_nothing_when_it_goes():
    run("kubectl", "delete", "inferenceservice", MODEL, "--wait")
    run("helm", "uninstall", "headrace", "--namespace", NAMESPACE, "--wait")

    kinds = "deployments,statefulsets,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies"
    selector = "app.kubernetes.io/part-of=headrace,app.kubernetes.io/managed-by=Helm"
    left = run("kubectl", "get", kinds, f"--selector={selector}", "--output=name")
    assert left.split() == []
