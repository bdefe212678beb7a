"""What operators do and what befalls them: scaling, a file applied by kubectl alone, pods killed, policies."""

from __future__ import annotations

import json
import os
import sys

import pods
import pytest
import urllib3
from clients import Client, Load
from models import MODEL
from provider import ROOT
from real import PREFIX
from test_3_release import until

from components.releases import goldens, history
from components.releases.kube import DEPLOYMENT

pytestmark = pytest.mark.xdist_group("e2e")

BY_HAND = "byhand"
IMAGE = f"{PREFIX}/serving:0.1.0"
POD = f"serving.kserve.io/inferenceservice={MODEL}"


def test_an_endpoint_scales_up_under_load_and_down_after_it(cluster, models, serving):
    cluster.need("autoscaler")
    name = f"{MODEL}-v{serving}-predictor"

    def pods() -> int:
        return int((cluster.kube().get(DEPLOYMENT, name) or {}).get("status", {}).get("availableReplicas", 0))

    before = pods()
    with Load(Client(cluster, MODEL), models.rows(serving)[0], threads=16, per_second=1000) as load:
        until(lambda: pods() > before, 600)
    until(lambda: pods() == before, 900)

    assert load.lost == 0, load.failures
    assert cluster.objects("hpa", f"serving.kserve.io/inferenceservice={MODEL}")


@pytest.mark.parametrize("selector", ["app.kubernetes.io/name=store", "app.kubernetes.io/name=mlflow", POD])
@pytest.mark.parametrize("force", [False, True], ids=["gently", "by-force"])
def test_pods_are_killed_and_no_request_fails(cluster, models, serving, selector, force):
    """The store and the registry are needed to start a model's pod, not to answer; of its two pods one may go."""
    cluster.need("pods")
    scale(cluster, 2)
    with Load(Client(cluster, MODEL), models.rows(serving)[0]) as load:
        kill(cluster, selector, force=force)
        until(lambda: all_ready(cluster, selector), 300)
    scale(cluster, 1)

    assert load.lost == 0, load.failures
    assert set(load.answers) == {serving}


def test_the_endpoint_answers_again_when_the_pod_of_the_gateway_was_killed(cluster, models, serving):
    """How many requests this costs is the gateway's: counted, and judged only where it has a second pod."""
    cluster.need("pods")
    selector = "gateway.envoyproxy.io/owning-gateway-name=kserve-ingress-gateway"
    found = json.loads(cluster.kubectl("get", "pods", "--all-namespaces", f"--selector={selector}", "--output=json"))
    if not found["items"]:
        pytest.skip("the gateway is not Envoy Gateway's: its pods are not known")
    namespace = found["items"][0]["metadata"]["namespace"]
    client = Client(cluster, MODEL)
    with Load(client, models.rows(serving)[0]) as load:
        kill(cluster, selector, force=False, namespace=namespace)
        until(lambda: all_ready(cluster, selector, namespace), 300)

    cluster.record.remark(f"{len(found['items'])} pods of the gateway, one was killed")
    assert until_answered(client, models, serving) == serving
    assert load.lost == 0 or len(found["items"]) == 1, load.failures


def test_strangers_reach_models_only_where_policies_are_enforced(cluster, serving):
    cluster.need("pods")
    closed = {"headrace-store": 8333, "headrace-mlflow": 5000, "headrace-database": 5432}
    if not pods.are_policies_enforced(cluster, IMAGE):
        pytest.skip(f"network policies are not enforced {cluster.described}: a pod that may reach nothing did")

    reached = [name for name, port in closed.items() if pods.connects(cluster, IMAGE, name, port)]

    assert reached == []
    assert pods.connects(cluster, IMAGE, f"{MODEL}-v{serving}-predictor", 80)


def test_make_deploy_serves_a_version_with_kubectl_alone(cluster, models):
    version = models.publish(BY_HAND, seed=1)
    golden, kube = models.golden(version, BY_HAND), cluster.kube()
    installed = [f"--old-file={_environment()}/{name}" for name in (".dev", ".laptop")]

    cluster.run("make", *installed, f"VENV={_environment()}", "deploy", "ENV=local", f"MODEL={BY_HAND}",
                f"VERSION={version}")  # fmt: skip
    cluster.kubectl("wait", "--for=condition=Ready", f"inferenceservice/{BY_HAND}", "--timeout=300s")

    assert goldens.disagreement(lambda *asked: kube.ask(f"{BY_HAND}-predictor", *asked), BY_HAND, golden, 1.0) == ""


def test_what_kubectl_applied_is_changed_by_the_next_release(cluster, models):
    """`make deploy` and the deploy step write as the same field manager, so neither is refused."""
    from components.deploy import step

    version = models.publish(BY_HAND, seed=2)

    released = step.deploy(BY_HAND, version, "local")

    assert released.verified
    assert history.status(BY_HAND).champion == version
    installed = [f"--old-file={_environment()}/{name}" for name in (".dev", ".laptop")]
    cluster.run("make", *installed, f"VENV={_environment()}", "deploy", "ENV=local", f"MODEL={BY_HAND}",
                f"VERSION={version}")  # fmt: skip


def scale(cluster, number: int) -> None:
    """Ask for a number of pods at least, and wait until they are ready."""
    patch = json.dumps({"spec": {"predictor": {"minReplicas": number}}})
    cluster.kubectl("patch", "inferenceservice", MODEL, "--type=merge", f"--patch={patch}")
    name = f"{MODEL}-v{history.status(MODEL).champion}-predictor"
    until(lambda: (cluster.kube().get(DEPLOYMENT, name) or {})["status"].get("availableReplicas", 0) >= number, 300)


def kill(cluster, selector: str, *, force: bool, namespace: str = "") -> None:
    """Delete the first pod that a selector names."""
    place = ("--namespace", namespace or cluster.namespace)
    names = cluster.kubectl(*place, "get", "pods", f"--selector={selector}", "--output=name").split()
    assert names, f"no pod has {selector}"
    cluster.kubectl(*place, "delete", names[0], *(("--grace-period=0", "--force") if force else ()), "--wait")


def all_ready(cluster, selector: str, namespace: str = "") -> bool:
    """Return whether there are pods and all of them are ready."""
    place = ("--namespace", namespace or cluster.namespace)
    found = json.loads(cluster.kubectl(*place, "get", "pods", f"--selector={selector}", "--output=json"))["items"]
    conditions = [{item["type"]: item["status"] for item in pod["status"].get("conditions", [])} for pod in found]
    return bool(found) and all(known.get("Ready") == "True" for known in conditions)


def until_answered(client: Client, models, version: str) -> str:
    """Return the version that answers, as soon as one does."""
    found: list[str] = []

    def answered() -> bool:
        try:
            found.append(client.version(models.rows(version)[0]))
        except (AssertionError, OSError, urllib3.exceptions.HTTPError):
            return False
        return True

    until(answered, 120)
    return found[-1]


def _environment() -> str:
    """Return this environment's folder as make takes it: no rule of make's can name a path with a space in it."""
    return os.path.relpath(sys.prefix, ROOT)
