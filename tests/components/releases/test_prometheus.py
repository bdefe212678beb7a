"""Counting since a moment, from counters that start, restart and appear."""

from __future__ import annotations

import json

import pytest
from standins import serve

from components.releases.prometheus import PrometheusError, Watch
from components.releases.sequential import Counts


@pytest.fixture
def series():
    """What Prometheus answers by series name; tests change it."""
    answers: dict[str, list[tuple[dict[str, str], float]]] = {}

    def answer(method, path, body):
        name = next(name for name in ("headrace_requests_total", "headrace_request_seconds_bucket") if name in path)
        result = [
            {"metric": {"__name__": name, **labels}, "value": [0, str(value)]}
            for labels, value in answers.get(name, [])
        ]
        return 200, json.dumps({"status": "success", "data": {"result": result}}).encode()

    server = serve(answer)
    answers["url"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield answers
    server.shutdown()
    server.server_close()


def requests(good, bad, pod="a"):
    labels = {"version": "4", "pod": pod}
    return [({**labels, "code": "200"}, good), ({**labels, "code": "503"}, bad)]


def seconds(quick, total, pod="a"):
    labels = {"version": "4", "pod": pod}
    return [({**labels, "le": "0.2"}, quick), ({**labels, "le": "+Inf"}, total)]


def test_what_was_counted_before_does_not_count(series):
    watch = Watch(series["url"], "heart", "default", 0.2)
    series["headrace_requests_total"], series["headrace_request_seconds_bucket"] = requests(100, 5), seconds(90, 105)
    watch.look()
    series["headrace_requests_total"], series["headrace_request_seconds_bucket"] = requests(190, 15), seconds(185, 205)

    assert watch.look()("4") == Counts(100, 10, 5)


def test_a_new_pod_counts_from_its_start_and_a_restarted_one_again(series):
    watch = Watch(series["url"], "heart", "default", 0.2)
    series["headrace_requests_total"], series["headrace_request_seconds_bucket"] = requests(100, 0), seconds(100, 100)
    watch.look()
    series["headrace_requests_total"] = requests(7, 0) + requests(3, 2, "b")
    series["headrace_request_seconds_bucket"] = seconds(7, 7) + seconds(5, 5, "b")

    assert watch.look()("4") == Counts(12, 2, 0)


def test_requests_whose_latency_nobody_measured_do_not_count(series):
    watch = Watch(series["url"], "heart", "default", 0.2)
    series["headrace_requests_total"] = requests(0, 0)
    watch.look()
    series["headrace_requests_total"] = requests(1000, 0)

    assert watch.look()("4").requests == 0


def test_another_version_is_counted_apart(series):
    watch = Watch(series["url"], "heart", "default", 0.2)
    watch.look()
    series["headrace_requests_total"], series["headrace_request_seconds_bucket"] = requests(9, 0), seconds(9, 9)

    assert watch.look()("3") == Counts()


def test_a_prometheus_that_is_not_there_is_named():
    with pytest.raises(PrometheusError, match=r"Prometheus at http://127\.0\.0\.1:9 does not answer"):
        Watch("http://127.0.0.1:9", "heart", "default", 0.2).look()
