"""A cluster in a hurry: the emulated API server, a stand-in for KServe, and models that behave as a test says."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

sys.path.insert(0, str(Path(__file__).parents[2] / "cluster"))

from apiserver import ApiServer
from controller import KServe
from crds import CRDS
from standins import GOLDEN, Prometheus, StandIns

from components import tracking
from components.releases import Release, history, kube, plans
from components.releases import cluster as releasing
from components.releases.cluster import roll_out
from components.releases.kube import Kube, Pace

PACE = Pace(poll=0.02, retry=0.02, retry_limit=2.0, give_up=0.3, settle=0.1, lease=1.0, skew=0.2, lease_wait=5.0)


@dataclass
class Cluster:
    """Everything a release talks to.

    Attributes:
        plan: Overrides of the plan, by field.
    """

    api: ApiServer
    workload: StandIns
    prometheus: Prometheus
    controller: KServe
    plan: dict[str, Any] = field(default_factory=dict)

    def kube(self, pace: Pace = PACE) -> Kube:
        """Return a client without credentials."""
        pool, base = urllib3.PoolManager(), self.api.url

        def request(method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: Any) -> Any:
            return pool.request(method, base + path, body=body, headers=headers, timeout=2.0, retries=False)

        return Kube(request, "default", pace=pace)

    def target(self, version: str, environment: str = "production", strategy: str = "") -> plans.Target:
        """Return a stamped manifest whose plan points at the stand-ins."""
        facts = {plans.DIGEST: version.rjust(64, "0"), plans.RUN: f"run-{version}"}
        target = plans.stamp(environment, "heart", version, f"s3://models/heart/{version}", facts, strategy)
        known = {"timeout": 20.0, "patience": 20.0, "scrape": 0.03}
        known |= {"prometheus": self.prometheus.url, "gateway": self.workload.gateway}
        return replace(target, plan=replace(target.plan, **{**known, **self.plan}))

    def release(self, version: str, environment: str = "production", strategy: str = "") -> Release:
        """Release a version as the deploy step does."""
        return roll_out(self.kube(), self.target(version, environment, strategy), GOLDEN, environment)

    @property
    def service(self) -> dict[str, Any]:
        """The InferenceService as it is."""
        found = self.api.get("inferenceservices", "heart")
        assert found is not None
        return found

    def serving(self) -> str:
        """Return the version of the stable predictor."""
        return str(self.service["spec"]["predictor"]["annotations"][plans.VERSION]).removeprefix("v")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """An empty cluster with KServe."""
    api, workload = ApiServer(CRDS if CRDS.is_dir() else None), StandIns()
    prometheus, controller = Prometheus(workload), KServe(api, workload, lag=0.03)
    yield Cluster(api, workload, prometheus, controller)
    controller.close()
    prometheus.close()
    workload.close()
    api.close()


@pytest.fixture
def registry(cluster_settings: Cluster, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Three registered versions whose bundles are published; returns the content of the store, to be tampered with."""
    content, items = {}, []
    for number in (1, 2, 3):
        uri = f"s3://models/heart/{number}"
        manifest = json.dumps({"version": number}).encode()
        golden = {"requests": [{"instances": [{"age": 60}], "predictions": ["yes"]}], "tolerance": 1e-6}
        content |= {f"{uri}/bundle.json": manifest, f"{uri}/golden.json": json.dumps(golden).encode()}
        digest, tags = hashlib.sha256(manifest).hexdigest(), {tracking.DATASET_TAG: f"data-{number}"}
        items.append(tracking.Registered("heart", number, uri, digest, f"run-{number}", 0, tags))

    def get(address):
        if str(address) not in content:
            raise FileNotFoundError(str(address))
        return content[str(address)]

    monkeypatch.setattr(releasing, "Store", lambda settings: SimpleNamespace(get=get))
    monkeypatch.setattr(tracking, "versions", lambda settings, model: items)
    champions, tags = [], {}
    monkeypatch.setattr(tracking, "set_champion", lambda settings, model, version: champions.append(version))
    monkeypatch.setattr(tracking, "champion", lambda settings, model: champions[-1] if champions else None)
    monkeypatch.setattr(tracking, "tag_version", lambda s, m, version, new: tags.setdefault(version, {}).update(new))
    return SimpleNamespace(content=content, champions=champions, tags=tags)


@pytest.fixture
def cluster_settings(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The release code finds this test's cluster and plan."""
    stamped = releasing.stamp

    def stamp(environment, model, version, uri, facts, strategy=""):
        target = stamped(environment, model, version, uri, facts, strategy)
        return plans.Target(**{**vars(target), "plan": cluster.target(version, environment, strategy).plan})

    monkeypatch.setattr(releasing, "stamp", stamp)
    monkeypatch.setattr(releasing, "connect", lambda pace=None: cluster.kube())
    monkeypatch.setattr(history, "connect", cluster.kube)
    monkeypatch.setattr(kube, "connect", cluster.kube)
    return cluster
