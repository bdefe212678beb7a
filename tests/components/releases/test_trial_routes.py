"""The routes of trials: who gets what, and whether the Gateway API takes them."""

from __future__ import annotations

import re
import uuid

import crds
import pytest
from crds import CRDS

from components.releases import routes

LIVE = {
    "spec": {"parentRefs": [{"name": "gateway", "namespace": "kserve"}], "hostnames": ["heart-default.example.com"]}
}


@pytest.mark.parametrize("percent", [1, 5, 20, 33, 50, 99])
def test_the_share_of_ids_is_the_asked_one_to_half_a_bucket(percent):
    expression = re.compile(routes.pattern(routes.buckets(percent), "heart 1 2"))

    found = sum(expression.match(f"client-{bucket:02x}") is not None for bucket in range(256))

    assert abs(found / 256 - percent / 100) <= 0.5 / 256


def test_real_ids_are_shared_out_and_keep_their_side():
    expression = re.compile(routes.pattern(routes.buckets(20), "heart 1 2"))
    ids = [str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)) for number in range(4000)]

    sides = [bool(expression.match(identity)) for identity in ids]

    assert 0.17 < sum(sides) / len(sides) < 0.23
    assert sides == [bool(expression.match(identity.upper())) for identity in ids]


def test_another_pair_of_versions_picks_other_clients():
    assert routes.pattern(51, "heart 1 2") != routes.pattern(51, "heart 1 3")


def test_an_id_that_does_not_end_in_hexadecimal_digits_stays_with_the_champion():
    assert re.match(routes.pattern(255, "any"), "client-xy") is None


@pytest.mark.skipif(not CRDS.is_dir(), reason="needs the CRDs of the Gateway API")
@pytest.mark.parametrize(
    "route",
    [
        routes.split(LIVE, "heart", "heart-v1-predictor", "heart-v2-predictor", 20, "seed"),
        routes.mirror(LIVE, "heart", "heart-v1-predictor", "heart-v2-predictor", 30),
    ],
    ids=["split", "mirror"],
)
def test_the_standard_channel_takes_the_route(route):
    assert crds.errors(CRDS, route) == []


def test_only_predictions_are_touched():
    route = routes.mirror(LIVE, "heart", "one", "two", 100)

    paths = {match["path"]["value"] for rule in route["spec"]["rules"] for match in rule["matches"]}

    grpc = "/inference.GRPCInferenceService/ModelInfer"
    assert paths == {"/v1/models/heart:predict", "/v2/models/heart/infer", grpc}
    ports = {
        rule["backendRefs"][0]["port"] for rule in route["spec"]["rules"] if rule["matches"][0]["path"]["value"] == grpc
    }
    assert ports == {8081}
