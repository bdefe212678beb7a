"""The emulated API keeps the conventions that the suites rely on, as the real kubectl sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from apiserver import ApiServer

KUBECTL = Path(sys.executable).parent / "kubectl"
Run = Callable[..., str]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An empty cluster."""
    server = ApiServer()
    yield server
    server.close()


@pytest.fixture
def kubectl(api, tmp_path) -> Run:
    """Run kubectl with an object on its standard input; return what it said, or why it failed."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "namespace": "default"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))

    def run(*words: str, given: Any = None, fails: bool = False) -> str:
        result = subprocess.run(
            [KUBECTL, f"--kubeconfig={tmp_path / 'kubeconfig'}", *words],
            input=json.dumps(given) if given else None,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert bool(result.returncode) == fails, result.stdout + result.stderr
        return result.stderr if fails else result.stdout

    return run


def settings(name: str = "a", **data: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def apply(run: Run, item: dict[str, Any], manager: str, *more: str, fails: bool = False) -> str:
    return run("apply", "--server-side", f"--field-manager={manager}", *more, "-f", "-", given=item, fails=fails)


def test_what_a_manager_no_longer_applies_goes_away_and_what_others_own_stays(api, kubectl):
    apply(kubectl, settings(mine="1", gone="1"), "one")
    apply(kubectl, settings(other="2"), "two")

    apply(kubectl, settings(mine="1"), "one")

    assert api.get("configmaps", "a")["data"] == {"mine": "1", "other": "2"}


def test_a_field_of_another_manager_is_taken_only_by_force(api, kubectl):
    apply(kubectl, settings(k="1"), "one")

    refused = apply(kubectl, settings(k="2"), "two", fails=True)
    apply(kubectl, settings(k="2"), "two", "--force-conflicts")

    assert 'conflict with "one"' in refused
    assert api.get("configmaps", "a")["data"] == {"k": "2"}
    assert "one" not in str(api.get("configmaps", "a")["metadata"]["managedFields"])


def test_unknown_fields_and_wrong_types_are_refused(kubectl):
    unknown = apply(kubectl, {**settings(), "dota": {}}, "one", fails=True)
    wrong = apply(kubectl, settings(k=1), "one", fails=True)

    assert "unknown field" in unknown
    assert "is not of type" in wrong


def test_a_dry_run_changes_nothing(api, kubectl):
    said = apply(kubectl, settings(k="1"), "one", "--dry-run=server")

    assert "server dry run" in said
    assert api.get("configmaps", "a") is None


def test_a_deletion_waits_for_finalizers_and_takes_what_is_owned_along(api, kubectl):
    owner = api.put("configmaps", {"metadata": {"name": "owner", "finalizers": ["tests/hold"]}, "data": {}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    api.put("secrets", {"metadata": {"name": "owned", "ownerReferences": [reference]}})

    kubectl("delete", "configmap", "owner", "--wait=false")
    held = api.get("configmaps", "owner"), api.get("secrets", "owned")
    release = '[{"op": "remove", "path": "/metadata/finalizers"}]'
    kubectl("patch", "configmap", "owner", "--type=json", f"--patch={release}")

    assert held[0]["metadata"]["deletionTimestamp"]
    assert held[1] is not None
    assert api.get("configmaps", "owner") is None
    assert api.get("secrets", "owned") is None


def test_a_wait_sees_a_change_that_comes_later(api, kubectl):
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    api.put("inferenceservices", {"metadata": {"name": "m"}, "spec": {}})
    later = threading.Timer(0.5, api.set_status, ["inferenceservices", "m", ready])
    later.start()

    assert "condition met" in kubectl("wait", "--for=condition=Ready", "inferenceservice/m", "--timeout=30s")
    later.join()


def test_only_a_change_of_what_is_wanted_raises_the_generation(api, kubectl):
    predictor = {"minReplicas": 1, "automountServiceAccountToken": False}
    api.put("inferenceservices", {"metadata": {"name": "m"}, "spec": {"predictor": predictor}})
    made = api.get("inferenceservices", "m")["metadata"]

    kubectl("label", "inferenceservice", "m", "k=v")
    kubectl(
        "patch", "isvc", "m", "--type=merge", "--subresource=status", '--patch={"spec": {}, "status": {"url": "u"}}'
    )
    told = api.get("inferenceservices", "m")
    kubectl("patch", "isvc", "m", "--type=merge", '--patch={"spec": {"predictor": {"minReplicas": 2}}, "status": null}')

    assert told["metadata"]["generation"] == made["generation"]
    assert (told["spec"], told["status"]) == ({"predictor": predictor}, {"url": "u"})
    assert api.get("inferenceservices", "m")["metadata"]["generation"] == made["generation"] + 1
    assert api.get("inferenceservices", "m")["status"] == {"url": "u"}


def test_a_namespace_takes_everything_in_it(api, kubectl):
    kubectl("create", "namespace", "spare")
    kubectl("--namespace=spare", "create", "secret", "generic", "s", "--from-literal=k=v")
    listed = kubectl("get", "secrets", "--all-namespaces", "--output=name")

    kubectl("delete", "namespace", "spare", "--wait")

    assert listed == "secret/s\n"
    assert kubectl("get", "secrets", "--all-namespaces", "--output=name") == ""
