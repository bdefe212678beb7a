"""What deploy refuses before it touches anything; what it does else is tested where releases are."""

from __future__ import annotations

import pytest

from components.deploy.step import deploy
from components.errors import InputError


def test_a_pod_does_not_release_to_the_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "headrace-training-x7k2p-retry-system-container-impl-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://headrace-store:8333")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://headrace-mlflow:5000")

    with pytest.raises(InputError, match="'laptop' is for runs on a laptop, and this one is in a cluster"):
        deploy("heart", "1", "laptop")
