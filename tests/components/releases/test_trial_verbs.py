"""The verbs of trials as a person types them, on the emulated cluster."""

from __future__ import annotations

import json

import pytest

from components.deploy import step
from pipelines.__main__ import main

HERE = ("--environment", "production")


@pytest.fixture
def say(registry, cluster_settings, monkeypatch, capsys):
    """Version 1 serves; returns a function that runs a command line and returns exit code and what was said."""
    monkeypatch.setenv("HEADRACE_DATASETS_BUCKET", "")
    step.deploy("heart", "1", "production")
    capsys.readouterr()

    def run(*words):
        code = main([*words, *HERE])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def log(cluster, version, *answers):
    """Give the pods of a version a log."""
    lines = [
        json.dumps(
            {
                "time": "2126-01-01T00:00:00.000+00:00",
                "message": "request",
                "id": identity,
                "version": version,
                "status": 200,
                "path": "/v1/models/heart:predict",
                "response": json.dumps({"predictions": [predicted]}),
            }
        )
        for identity, predicted in answers
    ]
    metadata = {
        "name": f"heart-v{version}-predictor-x",
        "labels": {"serving.kserve.io/inferenceservice": "heart"},
        "annotations": {"headrace/version": f"v{version}"},
    }
    cluster.api.put("pods", {"metadata": metadata, "log": "\n".join(lines)})


def test_a_comparison_is_begun_told_and_ended(say, cluster):
    begun = say("compare", "heart", "1", "2", "--share", "30")
    told = say("compare", "heart")
    ended = say("compare", "heart", "--end")

    assert begun == (0, "heart 2 answers 30 % of the clients, 1 the others\n")
    assert "A 1, B 2 with 30 % of the clients since" in told[1]
    assert "verdict   too early: 0 of" in told[1]
    assert ended[1].endswith("heart 1 answers all clients again\n")
    assert (told[0], ended[0]) == (0, 0)
    assert "canary" not in cluster.service["spec"]


def test_a_shadow_is_begun_compared_and_ended(say, cluster):
    begun = say("shadow", "heart", "2", "--percent", "40")
    log(cluster, "1", ("a", "yes"), ("b", "no"), ("c", "yes"))
    log(cluster, "2", ("a", "yes"), ("b", "no"), ("c", "no"))
    status = say("status", "heart")
    told = say("shadow", "heart", "--diff")
    ended = say("shadow", "heart", "--end")

    assert begun == (0, "heart 2 gets copies of 40 % of the requests, and answers nobody\n")
    assert "canary    2 in a shadow" in status[1]
    assert "compared  3 requests, 3 rows, of 1 and 2" in told[1]
    assert "agreed    66.67% (95 %: 20.77% to 93.85%)" in told[1]
    assert "          yes became no: 1" in told[1]
    assert "look at   c" in told[1]
    assert ended == (0, "heart 2 listens no more\n")
    assert cluster.api.get("httproutes", "heart-trial") is None


def test_a_request_id_is_traced_back_to_its_run_and_data(say, cluster, tmp_path):
    log(cluster, "1", ("req-7", "yes"))

    code, text = say("trace", "heart", "--request", "req-7")

    assert code == 0
    assert "request   req-7 answered 200 by version 1 at 2126-01-01T00:00:00.000+00:00" in text
    assert "version   heart 1, the champion" in text
    assert "run       run-1" in text
    assert "data      data-1" in text
    assert say("trace", "heart", "--request", "req-8")[0] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("compare", "heart", "1"), 2, "compare takes two versions to begin"),
        (("compare", "heart", "1", "2", "--detect", "0"), 2, "--detect 0: expected percentage points"),
        (("shadow", "heart"), 2, "shadow takes a version to begin, or --diff, or --end"),
        (("shadow", "heart", "2", "--diff"), 2, "shadow takes a version to begin, or --diff, or --end"),
        (("shadow", "heart", "--diff"), 1, "no shadow of 'heart' runs here"),
        (("compare", "heart", "2", "3"), 1, "heart 2 does not serve here, 1 does"),
        (("shadow", "heart", "9"), 1, "has no version '9'"),
    ],
)
def test_wrong_use_is_told(say, words, code, said):
    found, text = say(*words)

    assert found == code
    assert said in text


def test_a_laptop_has_no_trials(capsys):
    assert main(["shadow", "heart", "2"]) == 2
    assert "a laptop has no gateway" in capsys.readouterr().err
