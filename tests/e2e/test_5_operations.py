"""What operators do besides releasing: scale, and apply the reviewed file with kubectl alone."""

from __future__ import annotations

import json
import sys
import time

import pytest
from models import MODEL

from components.releases import goldens, history
from components.releases.kube import DEPLOYMENT

pytestmark = pytest.mark.xdist_group("e2e")

BY_HAND = "byhand"


def test_an_endpoint_scales(cluster):
    cluster.need("autoscaler")
    name = f"{MODEL}-v{history.status(MODEL).champion}-predictor"
    patch = json.dumps({"spec": {"predictor": {"minReplicas": 2}}})

    cluster.kubectl("patch", "inferenceservice", MODEL, "--type=merge", f"--patch={patch}")

    deadline = time.monotonic() + 300
    while (cluster.kube().get(DEPLOYMENT, name) or {}).get("status", {}).get("availableReplicas", 0) < 2:
        assert time.monotonic() < deadline
        time.sleep(2)
    assert cluster.objects("hpa", f"serving.kserve.io/inferenceservice={MODEL}")


def test_make_deploy_serves_a_version_with_kubectl_alone(cluster, models):
    version = models.publish(BY_HAND, seed=1)
    golden, kube = models.goldens[BY_HAND, version], cluster.kube()
    installed = [f"--old-file={sys.prefix}/{name}" for name in (".dev", ".laptop")]

    cluster.run("make", *installed, f"VENV={sys.prefix}", "deploy", "ENV=local", f"MODEL={BY_HAND}",
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
    cluster.run("make", f"--old-file={sys.prefix}/.dev", f"--old-file={sys.prefix}/.laptop", f"VENV={sys.prefix}",
                "deploy", "ENV=local", f"MODEL={BY_HAND}", f"VERSION={version}")  # fmt: skip
