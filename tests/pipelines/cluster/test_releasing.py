"""The verbs about what is served, with real bundles, a real registry and a real server process on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "cluster"))

from apiserver import ApiServer
from kubernetes.config import kube_config

from components import registry, tracking
from components.deploy.step import deploy
from components.releases import laptop, record
from components.releases.kube import connect
from components.releases.plans import VERSION
from components.settings import Settings
from pipelines.__main__ import main
from serving.bundle import Bundle

pytestmark = pytest.mark.xdist_group("releasing")  # one server at a time on its port

MODEL = "tiny"


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a verb and return exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return run


Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def registered(settings: Settings, make_bundle: Callable[..., Bundle]) -> Settings:
    """Three registered versions."""
    for number, slope in enumerate((0.5, 0.6, 0.7), start=1):
        registry.publish(settings, make_bundle(f"b{number}", slope=slope), f"run-{number}")
    return settings


@pytest.fixture
def released(registered: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Two of them released; the second one serves."""
    monkeypatch.setenv("HEADRACE_HTTP_PORT", "18380")
    monkeypatch.setenv("HEADRACE_GRPC_PORT", "18381")
    for number in ("1", "2"):
        deploy(MODEL, number, "laptop")
    yield registered
    laptop.stop(registered.home / "served" / MODEL, MODEL)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """An emulated Kubernetes API server that the kubeconfig leads to."""
    server = ApiServer()
    known = {
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(known))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    # The Kubernetes client reads the variable when it is imported, which an earlier test may have done.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield server
    server.close()


def test_the_verbs_tell_one_story_and_going_back_serves_the_earlier_version(released: Settings, verb: Verb) -> None:
    before = verb("status", MODEL)
    back = verb("rollback", MODEL)
    after = verb("status", MODEL)
    story = verb("history", MODEL)
    url = after[1].partition(" at ")[2].split()[0]
    origins = [verb("trace", *what) for what in ([MODEL], [MODEL, "1"], [url], [f"{url}/v1/models/{MODEL}:predict"])]

    assert [code for code, _, _ in (before, back, after, story)] == [0, 0, 0, 0]
    assert "champion  2" in before[1]
    assert "serving   2 at " in before[1]
    assert f"{MODEL} 1 serves at {url}" in back[1]
    assert "curl -s" in back[1]
    assert "serving   1 at " in after[1]
    assert tracking.champion(released, MODEL) == "1"
    states = [line.split()[1] for line in story[1].splitlines()[1:]]
    assert states == ["champion", "released", "registered"]
    assert {code for code, _, _ in origins} == {0}
    assert len({out for _, out, _ in origins}) == 1
    assert f"version   {MODEL} 1, the champion" in origins[0][1]
    assert "run       run-1" in origins[0][1]


def test_a_named_version_is_gone_to_and_a_server_that_ended_is_told(released: Settings, verb: Verb) -> None:
    forward = verb("rollback", MODEL, "--to", "3")
    laptop.stop(released.home / "served" / MODEL, MODEL)
    code, out, _ = verb("status", MODEL)

    assert forward[0] == 0
    assert code == 1
    assert "champion  3" in out
    assert "no server runs" in out


def test_a_difference_is_shown_and_none_is_said(released: Settings, verb: Verb) -> None:
    changed = verb("diff", MODEL, "3")
    same = verb("diff", MODEL, "2", "--against", "2")

    assert (changed[0], same[0]) == (0, 0)
    assert "+  run: run-3" in changed[1]
    assert "-  run: run-2" in changed[1]
    assert same[1] == "no difference\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rollback", "nobody"], "model 'nobody' has no version yet"),
        (["rollback", MODEL, "--to", "9"], f"model '{MODEL}' has no version '9': choose one of 1, 2, 3"),
        (["diff", MODEL, "9", "--against", "1"], f"model '{MODEL}' has no version '9'"),
        (["status", "nobody"], "model 'nobody' has no version yet"),
        (["history", "nobody"], "model 'nobody' has no version yet"),
        (["status", MODEL, "--environment", "moon"], "unknown environment 'moon': choose one of laptop"),
    ],
)
def test_wrong_input_is_told(registered: Settings, verb: Verb, arguments: list[str], said: str) -> None:
    code, _, err = verb(*arguments)

    assert code == 2
    assert said in err


def test_on_a_cluster_the_records_of_its_releases_are_told(
    registered: Settings, cluster: ApiServer, verb: Verb
) -> None:
    kube = connect()
    entry = record.Entry("2", "d", "production", "canary", record.STARTED, "", "run-2", "me", record.now())
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": MODEL, "namespace": "default"},
        "spec": {"predictor": {"annotations": {VERSION: "v2"}, "model": {"storageUri": "s3://models/tiny/2"}}},
        "status": {"url": "http://tiny.example", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    cluster.put("inferenceservices", service)
    begun = record.begin(kube, record.Record(MODEL, None, ()), entry)
    record.end(kube, begun, record.RELEASED, "3 golden requests", {"spec": service["spec"]})
    there = ["--environment", "production"]

    status = verb("status", MODEL, *there)
    story = verb("history", MODEL, *there)
    origin = verb("trace", MODEL, *there)
    changes = verb("diff", MODEL, "3", *there)
    back = verb("rollback", MODEL, *there)

    assert [status[0], story[0], origin[0], changes[0]] == [0, 0, 0, 0]
    assert "champion  2" in status[1]
    assert "http://tiny.example, ready" in status[1]
    assert story[1].splitlines()[1].split()[:2] == ["2", "released"]
    assert "run       run-2" in origin[1]
    assert "storageUri: s3://models/tiny/3" in changes[1]
    assert back[0] == 1
    assert "no earlier release" in back[2]


@pytest.mark.parametrize(
    ("what", "said"), [("http://127.0.0.1:9", "does not answer as a model server"), ("ftp://x", "expected an address")]
)
def test_an_endpoint_that_is_none_is_told(settings: Settings, verb: Verb, what: str, said: str) -> None:
    code, _, err = verb("trace", what)

    assert code == 1
    assert said in err


def test_before_the_first_run_there_is_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    code, _, err = verb("status", MODEL)

    assert code == 2
    assert "nothing was ever released" in err
    assert not (tmp_path / "empty").exists()
