"""The connection that the official client's configuration leads to."""

from __future__ import annotations

import json

import pytest

from components.releases.kube import CONFIG_MAP, KubeError, connect


def write_config(path, url, **context):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **context}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))


def test_the_namespace_and_the_token_come_from_the_kubeconfig(cluster, tmp_path, monkeypatch):
    write_config(tmp_path / "config", cluster.api.url, namespace="default")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))

    kube = connect()
    kube.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})

    found = kube.get(CONFIG_MAP, "a")
    assert kube.namespace == "default"
    assert found is not None
    assert found["data"] == {"k": "v"}
    assert not kube.inside


def test_without_a_cluster_the_message_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(KubeError, match="set KUBECONFIG, or run inside the cluster"):
        connect()
