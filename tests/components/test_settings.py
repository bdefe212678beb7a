"""Settings: defaults on a laptop, none in a pod."""

from __future__ import annotations

import pytest

from components.settings import SettingsError, read

KNOWN = {"AWS_ENDPOINT_URL": "http://headrace-store:8333", "MLFLOW_TRACKING_URI": "http://headrace-mlflow:5000"}


def test_a_laptop_needs_nothing_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    found = read({})

    assert found.tracking_uri == f"sqlite:///{tmp_path}/.headrace/mlflow.db"
    assert found.s3_endpoint == ""


@pytest.mark.parametrize("sign", [{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {"KFP_POD_NAME": "train-1"}])
@pytest.mark.parametrize("absent", [["AWS_ENDPOINT_URL"], ["MLFLOW_TRACKING_URI"], list(KNOWN)])
def test_a_pod_without_a_store_or_a_registry_is_refused_and_told_where_they_stand(sign, absent):
    given = {name: value for name, value in KNOWN.items() if name not in absent}

    with pytest.raises(SettingsError) as raised:
        read({**sign, **given})

    for name in absent:
        assert name in str(raised.value)
    assert "ConfigMap headrace" in str(raised.value)
    assert "Secret headrace-s3" in str(raised.value)


def test_a_pod_with_both_is_served():
    assert read({"KFP_POD_NAME": "train-1", **KNOWN}).in_cluster


def test_a_pod_that_names_a_home_works_in_it(tmp_path):
    found = read({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HEADRACE_HOME": str(tmp_path)})

    assert found.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
