"""The verdict of a comparison: how often it is wrong, how often it finds what is there, and what it counts."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest
from standins import serve

from components.releases import outcomes
from components.releases.compare import judge
from components.releases.outcomes import Outcomes
from components.releases.prometheus import PrometheusError


def outcome(version, requests, errors, slow, predictions=None):
    return Outcomes(version, requests, errors, requests, slow, Counter(predictions or {}))


def draw(source, total, rate):
    """Count of successes, by the normal approximation: total is large here."""
    return min(total, max(0, round(source.gauss(total * rate, (total * rate * (1 - rate)) ** 0.5))))


def verdicts(a, b, *, repeats=1000):
    """How comparisons end that are looked at when they are large enough; `a` and `b` are (errors, slow) rates."""
    source, ends = random.Random(11), Counter()
    rates = [max(pair) for pair in zip(a, b, strict=True)]
    size = judge(
        outcome("1", 4e4, 4e4 * rates[0], 4e4 * rates[1]), outcome("2", 1e4, 1e4 * rates[0], 1e4 * rates[1])
    ).needed
    for _ in range(repeats):
        total = int(size * 1.3)
        found = judge(
            outcome("1", 4 * total, draw(source, 4 * total, a[0]), draw(source, 4 * total, a[1])),
            outcome("2", total, draw(source, total, b[0]), draw(source, total, b[1])),
        )
        ends[found.verdict.split(":")[0].split(",")[0]] += 1
    return ends


@pytest.mark.parametrize("rates", [(0.01, 0.01), (0.02, 0.05), (0.2, 0.3)])
def test_equal_versions_are_rarely_told_apart(rates):
    ends = verdicts(rates, rates)

    assert ends["no difference at this size"] >= 930
    assert ends["too early"] == 0


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((0.02, 0.05), (0.03, 0.05), "1 is better"),
        ((0.02, 0.05), (0.01, 0.05), "2 is better"),
        ((0.02, 0.05), (0.02, 0.06), "1 is better"),
    ],
    ids=["errors", "fewer errors", "slow"],
)
def test_a_difference_worth_finding_is_found_in_four_of_five_comparisons(a, b, verdict):
    assert verdicts(a, b)[verdict] >= 800


def test_there_is_no_verdict_before_the_smaller_group_is_large_enough():
    found = judge(outcome("1", 100_000, 0, 0), outcome("2", 200, 100, 100))

    assert found.verdict == f"too early: 200 of {found.needed} requests to the version with fewer"


def test_better_in_one_way_and_worse_in_the_other_is_no_winner():
    found = judge(outcome("1", 50_000, 2500, 500), outcome("2", 50_000, 500, 2500))

    assert found.verdict == "mixed: 2 has fewer failed requests, but more slow ones"


def test_requests_whose_latency_nobody_measured_are_not_enough():
    blind = Outcomes("2", 100_000, 0, 0, 0)

    assert judge(outcome("1", 100_000, 0, 0), blind).verdict.startswith("too early: 0 of")


def test_a_shifted_prediction_distribution_is_told_and_not_judged():
    found = judge(
        outcome("1", 50_000, 50, 50, {"yes": 25_000, "no": 24_990, "maybe": 10}),
        outcome("2", 50_000, 50, 50, {"yes": 27_000, "no": 22_990, "maybe": 10}),
    )

    assert [shares.name for shares in found.predicted] == ["predicted no", "predicted yes"]
    assert found.verdict.startswith("no difference at this size")


@pytest.fixture
def series():
    """Series by moment: `before` the trial began and `now`, as [(labels, value)] by name."""
    answers = {"before": {}, "now": {}}

    def answer(method, path, body):
        query = parse_qs(urlsplit(path).query)
        name = query["query"][0].removeprefix("last_over_time(").partition("{")[0]
        found = answers["before" if "time" in query else "now"].get(name, [])
        result = [{"metric": {"__name__": name, **labels}, "value": [0, str(value)]} for labels, value in found]
        return 200, json.dumps({"status": "success", "data": {"result": result}}).encode()

    server = serve(answer)
    answers["url"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield answers
    server.shutdown()
    server.server_close()


def read(series):
    return outcomes.read(series["url"], "heart", "default", "2", 0.2, time.time() - 60)


def test_only_what_came_after_the_beginning_counts(series):
    code, bucket = "headrace_requests_total", "headrace_request_seconds_bucket"
    series["before"] = {code: [({"code": "200", "pod": "a"}, 100), ({"code": "500", "pod": "a"}, 3)]}
    series["now"] = {
        code: [({"code": "200", "pod": "a"}, 180), ({"code": "500", "pod": "a"}, 5), ({"code": "200", "pod": "b"}, 18)],
        bucket: [({"le": "0.2", "pod": "b"}, 90), ({"le": "0.5", "pod": "b"}, 99), ({"le": "+Inf", "pod": "b"}, 100)],
        "headrace_predictions_total": [({"value": "yes", "pod": "a"}, 7), ({"value": "yes", "pod": "b"}, 5)],
        "headrace_scores_total": [({"bucket": "00 [0, 0.5)", "pod": "b"}, 4)],
    }

    found = read(series)

    assert (found.requests, found.errors, found.measured, found.slow) == (100, 2, 100, 10)
    assert found.predictions == {"yes": 12}
    assert found.scores == {"00 [0, 0.5)": 4}


def test_a_pod_that_started_again_counts_from_zero(series):
    series["before"] = {"headrace_requests_total": [({"code": "200", "pod": "a"}, 100)]}
    series["now"] = {"headrace_requests_total": [({"code": "200", "pod": "a"}, 40)]}

    assert read(series).requests == 40


def test_a_prometheus_that_is_not_there_is_named():
    with pytest.raises(PrometheusError, match=r"Prometheus at http://127\.0\.0\.1:9 does not answer"):
        outcomes.read("http://127.0.0.1:9", "heart", "default", "2", 0.2, 0)
