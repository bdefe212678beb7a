"""What two versions answered to the same requests, found in their logs."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from standins import GOLDEN

from components.releases import ReleaseError, answers, shadow


def line(identity, version, predictions, *, scores=None, status=200, time="2026-01-01T00:00:00.000+00:00", **more):
    response = {"predictions": predictions} | ({"probabilities": scores} if scores else {})
    document = {"time": time, "message": "request", "id": identity, "version": version, "status": status}
    return json.dumps({**document, "path": "/v1/models/heart:predict", "response": json.dumps(response), **more})


def test_requests_are_joined_by_id_and_differing_rows_counted_by_class():
    lines = [
        line("a", "1", ["yes", "no"]),
        line("b", "1", ["yes"]),
        line("b", "2", ["no"]),
        line("a", "2", ["yes", "no"]),
    ]

    found = shadow.diff(lines, "1", "2")

    assert (found.requests, found.rows, found.agreed) == (2, 3, 2)
    assert found.pairs == {("yes", "yes"): 1, ("no", "no"): 1, ("yes", "no"): 1}
    assert found.by_class == {"no": (1, 1), "yes": (2, 1)}
    assert found.examples == ("b",)
    assert found.within.low < 2 / 3 < found.within.high


def test_probabilities_are_compared_where_the_client_asked_for_them():
    lines = [
        line("a", "1", ["yes"], scores=[[0.2, 0.8]]),
        line("a", "2", ["yes"], scores=[[0.45, 0.55]]),
        line("b", "1", ["yes"]),
        line("b", "2", ["yes"]),
    ]

    found = shadow.diff(lines, "1", "2")

    assert found.distances == pytest.approx((0.25,))
    assert found.agreed == found.rows == 2


def test_numbers_are_compared_by_their_distance():
    found = shadow.diff([line("a", "1", [10.0, 7.5]), line("a", "2", [12.5, 7.5])], "1", "2")

    assert found.distances == (0.0, 2.5)
    assert (found.agreed, found.pairs) == (1, {})
    assert (found.distance(0.5), found.distance(0.99)) == (2.5, 2.5)


def test_answers_of_v2_are_read():
    def answered(version, labels, flat):
        outputs = [
            {"name": "prediction", "datatype": "BYTES", "shape": [2], "data": labels},
            {"name": "probabilities", "datatype": "FP64", "shape": [2, 2], "data": flat},
        ]
        payload = json.dumps({"model_name": "heart", "outputs": outputs})
        return line("a", version, [], path="/v2/models/heart/infer", response=payload)

    lines = [answered("1", ["no", "yes"], [0.9, 0.1, 0.3, 0.7]), answered("2", ["no", "no"], [0.9, 0.1, 0.6, 0.4])]

    found = shadow.diff(lines, "1", "2")

    assert (found.rows, found.agreed) == (2, 1)
    assert found.distances == pytest.approx((0.0, 0.3))


def test_what_cannot_be_compared_is_counted():
    lines = [
        line("failed", "1", ["yes"]),
        line("failed", "2", [], status=500),
        line("unheard", "1", ["yes"]),
        line("twice", "1", ["yes"]),
        line("twice", "1", ["yes"]),
        line("twice", "2", ["yes"]),
        line("cut", "1", ["yes"]),
        line("cut", "2", [], response='{"predictions":["ye'),
        line("refused", "1", [], status=400),
        line("refused", "2", [], status=400),
    ]

    found = shadow.diff(lines, "1", "2")

    assert (found.failed, found.unheard, found.left_out, found.requests) == (1, 1, 2, 0)


def test_what_was_answered_before_the_shadow_listened_does_not_count():
    early, late = "2026-01-01T00:00:00.000+00:00", "2026-01-03T00:00:00.000+00:00"
    lines = [line("a", "1", ["yes"], time=early), line("b", "1", ["no"], time=late), line("b", "2", ["no"], time=late)]

    found = shadow.diff(lines, "1", "2", since=1767312000.0)  # the second of January

    assert (found.unheard, found.requests) == (0, 1)


def test_other_log_lines_are_skipped():
    lines = ["Traceback", "[1]", json.dumps({"message": "ready"}), line("", "1", ["yes"]), line("a", "1", ["yes"])]
    probe = line("p", "1", [], path="/v2/health/live")

    assert [answer.id for answer in answers.read([*lines, probe])] == ["a"]


def test_a_request_id_leads_to_the_version_that_answered():
    lines = [line("a", "1", ["yes"]), line("b", "1", ["no"]), line("b", "2", ["yes"])]

    assert [answer.version for answer in answers.find(lines, "b")] == ["1", "2"]
    with pytest.raises(ReleaseError, match="no log has the request 'c'"):
        answers.find(lines, "c")


def test_a_trace_leads_to_the_version_that_answered_whatever_id_the_gateway_gave():
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    traced = {**json.loads(line("given-by-the-gateway", "2", ["no"])), "trace_id": trace}
    lines = [line("b", "1", ["no"]), json.dumps(traced)]

    for asked in (trace, f"00-{trace}-00f067aa0ba902b7-01", "given-by-the-gateway"):
        assert [answer.version for answer in answers.find(lines, asked)] == ["2"]


def test_logs_are_read_from_folders_and_files(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.log").write_text(line("a", "1", ["yes"]) + "\n")
    (tmp_path / "two.log").write_text(line("b", "1", ["yes"]) + "\n")

    assert [answer.id for answer in answers.read(answers.stored(None, str(tmp_path)))] == ["a", "b"]
    assert [answer.id for answer in answers.read(answers.stored(None, str(tmp_path / "two.log")))] == ["b"]
    with pytest.raises(ReleaseError, match="does not exist"):
        list(answers.stored(None, str(tmp_path / "none")))


def test_logs_are_read_from_below_an_s3_prefix(monkeypatch):
    content = {"s3://logs/heart/1.log": line("a", "1", ["yes"]).encode()}
    store = SimpleNamespace(
        keys=lambda prefix: (key for key in content if key.startswith(str(prefix))), get=content.__getitem__
    )
    monkeypatch.setattr(answers, "Store", lambda settings: store)

    assert [answer.id for answer in answers.read(answers.stored(None, "s3://logs/heart"))] == ["a"]
    with pytest.raises(ReleaseError, match="holds no logs"):
        list(answers.stored(None, "s3://logs/iris"))


def test_logs_are_read_from_the_pods_of_both_versions(cluster):
    cluster.release("1")
    shadow.start(cluster.kube(), cluster.target("2"), GOLDEN, 100)
    for version in ("1", "2"):
        name = f"heart-v{version}-predictor-x"
        labels = {"serving.kserve.io/inferenceservice": "heart"}
        metadata = {"name": name, "labels": labels, "annotations": {"headrace/version": f"v{version}"}}
        log = line("a", version, ["yes" if version == "1" else "no"])
        cluster.api.put("pods", {"metadata": metadata, "log": log})

    found = shadow.diff(answers.pods(cluster.kube(), "heart"), "1", "2")

    assert found.pairs == {("yes", "no"): 1}


def test_a_pods_log_that_may_not_be_read_is_named(cluster):
    cluster.release("1")
    labels = {"serving.kserve.io/inferenceservice": "heart"}
    metadata = {"name": "heart-x", "labels": labels, "annotations": {"headrace/version": "v1"}}
    cluster.api.put("pods", {"metadata": metadata})
    cluster.api.fault = lambda method, path: (403, {}) if path.endswith("/log") else None

    with pytest.raises(ReleaseError, match="not allowed to get pods in namespace default"):
        list(answers.pods(cluster.kube(), "heart"))


def test_versions_that_answer_a_different_number_of_rows_are_left_out():
    found = shadow.diff([line("a", "1", ["yes", "no"]), line("a", "2", ["yes"])], "1", "2")

    assert found.left_out == 1
    assert replace(found, left_out=0).rows == 0
