"""Submitting to a KFP server: what is uploaded, what is started, how it is followed, and what the exit code says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from argo import look
from kfpapi import Fault, Kfp

from components import use_cases
from pipelines import compiling
from pipelines.kfpserver import runs, uploads
from pipelines.kfpserver.connection import KfpError, Server

Cli = Callable[..., tuple[int, str, str]]


def test_submits_follows_and_succeeds(kfp: Kfp, cli: Cli) -> None:
    code, out, _ = cli("submit", "heart", "--model", "cardio", "--seed", "7")

    (run,) = kfp.runs.values()
    assert code == 0
    assert run["runtime_config"]["parameters"] == {"use_case": "heart", "model": "cardio", "seed": 7}
    assert [item["display_name"] for item in kfp.experiments.values()] == ["heart"]
    assert f"{kfp.url}/#/runs/details/{run['run_id']}" in out
    assert "environment production: a version that replaces another goes out as a canary" in out
    assert [line.split()[:2] for line in out.splitlines()[3:-1]] == [
        ["ingest", "running"],
        ["ingest", "succeeded"],
        ["train", "running"],
        ["train", "succeeded"],
        ["evaluate", "succeeded"],
        ["deploy", "succeeded"],
    ]


def test_a_run_names_where_its_artifacts_go(kfp: Kfp, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("submit", "heart", "--no-follow")
    cli("submit", "heart", "--no-follow", "--pipeline-root", "minio://mlpipeline/v2/artifacts")
    monkeypatch.setenv("HEADRACE_PIPELINE_ROOT", "s3://mine/kfp")
    cli("submit", "heart", "--no-follow")

    roots = [run["runtime_config"]["pipeline_root"] for run in kfp.runs.values()]
    assert roots == ["s3://artifacts/kfp", "minio://mlpipeline/v2/artifacts", "s3://mine/kfp"]


def test_one_uploaded_file_runs_every_use_case(kfp: Kfp, cli: Cli) -> None:
    for use_case in use_cases.names():
        own = ["--source", "s3://data/churn.csv", "--target", "left"] if use_case == use_cases.OWN_DATA else []
        assert cli("submit", use_case, "--no-follow", *own)[0] == 0

    given = [run["runtime_config"]["parameters"]["use_case"] for run in kfp.runs.values()]
    assert given == list(use_cases.names())
    assert [item["display_name"] for item in kfp.experiments.values()] == given
    assert [(item["name"], item["display_name"]) for item in kfp.pipelines.values()] == [
        ("headrace-training", "headrace-training")
    ]
    assert len(kfp.versions) == 1


def test_a_use_case_without_a_committed_file_is_submitted_with_one_made_now(
    kfp: Kfp, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "training.yaml"
    older.write_text(compiling.TRAINING.read_text().replace("        - iris\n", ""))
    monkeypatch.setattr(compiling, "TRAINING", older)

    cli("submit", "heart", "--no-follow")
    cli("submit", "iris", "--no-follow")

    names = [version["name"] for version in kfp.versions.values()]
    made = tmp_path / "home" / "compiled" / "training.yaml"
    assert names == [uploads.version_name(older), uploads.version_name(made)]


def test_uploads_a_version_only_when_the_content_is_new(kfp: Kfp, cli: Cli, tmp_path: Path) -> None:
    changed = tmp_path / "training.yaml"
    changed.write_text(compiling.TRAINING.read_text() + "# changed\n")

    first = cli("submit", "heart", "--no-follow")[1]
    second = cli("submit", "iris", "--no-follow")[1]
    third = cli("submit", "heart", "--no-follow", "--pipeline", str(changed))[1]

    names = [version["name"] for version in kfp.versions.values()]
    assert ["uploaded" in first, "is there already" in second, "uploaded" in third] == [True, True, True]
    assert names == [uploads.version_name(compiling.TRAINING), uploads.version_name(changed)]
    assert len(kfp.pipelines) == 1
    assert len(kfp.runs) == 3
    used = [run["pipeline_version_reference"]["pipeline_version_id"] for run in kfp.runs.values()]
    assert used[0] == used[1] != used[2]


def test_both_documents_of_the_compiled_file_arrive(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "iris", "--no-follow")

    (version,) = kfp.versions.values()
    assert set(version["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}


def test_a_winner_that_is_not_accepted_exits_with_3(kfp: Kfp, cli: Cli) -> None:
    kfp.steps = [look("SUCCEEDED", evaluate="SUCCEEDED", refuse="SUCCEEDED")]

    code, out, _ = cli("submit", "heart")

    assert code == 3
    assert "not accepted" in out


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_a_run_that_does_not_succeed_exits_with_1(kfp: Kfp, cli: Cli, state: str) -> None:
    kfp.steps = [look(state, train="FAILED: ValueError: no rows left")]

    code, out, _ = cli("submit", "heart")

    assert code == 1
    assert "no rows left" in out
    assert state.lower() in out


def test_rounds_of_a_loop_are_told_apart(kfp: Kfp, server: Server) -> None:
    detail = {"state": "RUNNING", "create_time": "2026-01-01T00:00:00Z"}
    names = ["train", "train-driver", "executor", "train", "for-loop-1"]
    kfp.steps = [{"state": "RUNNING", "run_details": {"task_details": [{**detail, "display_name": n} for n in names]}}]
    uploaded = uploads.ensure(server, compiling.TRAINING)

    run = runs.read(server, runs.start(server, uploaded, "one", runs.Wanted("heart")))

    assert [task.name for task in run.tasks] == ["train[0]", "train[1]"]


def test_ctrl_c_stops_following_and_leaves_the_run_alone(kfp: Kfp) -> None:
    kfp.steps = [look("RUNNING", ingest="RUNNING")]
    code, out = _interrupted(kfp)

    (run,) = kfp.runs.values()
    assert code == 130
    assert f"run {run['run_id']} goes on" in out
    assert run["state"] == "RUNNING"


def test_ctrl_c_ends_the_run_when_that_was_asked_for(kfp: Kfp) -> None:
    kfp.steps = [look("RUNNING", ingest="RUNNING")]
    code, out = _interrupted(kfp, "--terminate")

    (run,) = kfp.runs.values()
    assert code == 130
    assert f"run {run['run_id']} is being ended" in out
    assert run["state"] == "CANCELED"


def _interrupted(kfp: Kfp, *more: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pipelines", "submit", "heart", "--host", kfp.url, "--poll", "0.05", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        deadline = time.monotonic() + 60
        while kfp.asked(r"GET /apis/v2beta1/runs/") < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    return process.returncode, out


def test_following_survives_a_server_that_is_gone_for_a_moment(kfp: Kfp, cli: Cli) -> None:
    kfp.faults = [Fault(r"GET .*/runs/", status=502, times=4)]

    code, out, _ = cli("submit", "heart")

    assert code == 0
    assert "does not answer, trying on" in out


def test_following_gives_up_on_a_server_that_stays_away_and_says_that_the_run_goes_on(kfp: Kfp, cli: Cli) -> None:
    kfp.faults = [Fault(r"GET .*/runs/", status=502, times=10_000)]

    code, _, err = cli("submit", "heart")

    assert code == 1
    assert "which goes on" in err


def test_following_ends_at_its_time_limit(kfp: Kfp, cli: Cli) -> None:
    kfp.steps = [look("RUNNING", ingest="RUNNING")]

    code, _, err = cli("submit", "heart", "--timeout", "0.001")

    assert code == 1
    assert "it goes on" in err


@pytest.mark.parametrize(
    "fault", [Fault("POST .*/runs", after=True, drop=True), Fault("POST .*/runs", 504, after=True)]
)
def test_a_lost_answer_does_not_start_a_second_run(kfp: Kfp, cli: Cli, fault: Fault) -> None:
    kfp.faults = [fault]

    code, _, _ = cli("submit", "heart")

    assert code == 0
    assert len(kfp.runs) == 1


def test_a_request_that_never_arrived_is_sent_again(kfp: Kfp, cli: Cli) -> None:
    kfp.faults = [Fault("POST .*/runs", drop=True), Fault("POST .*/upload_version", drop=True)]

    code, _, _ = cli("submit", "heart")

    assert code == 0
    assert (len(kfp.runs), len(kfp.versions)) == (1, 1)


def test_429_and_503_are_waited_out(kfp: Kfp, cli: Cli) -> None:
    kfp.faults = [Fault("POST .*/runs", 429, headers={"Retry-After": "0"}), Fault("POST .*/upload_version", 503)]

    code, _, _ = cli("submit", "heart")

    assert code == 0
    assert len(kfp.runs) == 1


def test_retries_are_bounded(kfp: Kfp, server: Server) -> None:
    kfp.faults = [Fault("POST .*/experiments", 503, times=100)]

    with pytest.raises(KfpError, match="503"):
        runs.experiment(server, "heart")

    assert kfp.asked("POST .*/experiments") == server.access.pace.tries


def test_two_submissions_at_once_upload_one_version(kfp: Kfp, server: Server) -> None:
    path = compiling.TRAINING
    uploads.ensure(server, path)
    (hidden,) = kfp.versions.values()
    missed = Fault("GET .*/versions$", 200, body='{"pipeline_versions": []}')
    kfp.faults = [missed]

    found = uploads.ensure(server, path)

    assert missed.times == 0
    assert found.version == hidden["pipeline_version_id"]
    assert len(kfp.versions) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["haert"], "unknown use case 'haert': choose one of"),
        (["heart", "--candidate", "nope"], "unknown candidate 'nope' of heart: choose one of logistic, "),
        (["heart", "--environment", "prod"], "'environment' is 'prod', expected one of local, production, "),
        (["heart", "--environment", "laptop"], "a pod cannot release to a laptop"),
        (["heart", "--strategy", "blue"], "'strategy' is 'blue', expected one of default, canary, rolling"),
        (["heart", "--parameter", "use_case=iris"], "name the use case once"),
        (["heart", "--parameter", "sead=1"], "unknown parameter 'sead': choose from"),
        (["heart", "--parameter", "seed=one"], "expected JSON"),
        (["heart", "--parameter", 'seed="7"'], "expected integer"),
        (["heart", "--parameter", "seed"], "expected NAME=VALUE"),
        (["heart", "--override", "[]"], "expected a JSON object"),
        (["heart", "--source", "data.csv"], "a pod cannot read this machine's files"),
        (["csv"], "give --source and --target"),
        (["csv", "--source", "s3://data/churn.csv"], "give --source and --target"),
        (["heart", "--pipeline", "missing.yaml"], "missing.yaml"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_sent(kfp: Kfp, cli: Cli, arguments: list[str], said: str) -> None:
    code, _, err = cli("submit", *arguments)

    assert code == 2
    assert said in err
    assert kfp.requests == []


def test_a_pipeline_that_the_backend_would_refuse_is_not_uploaded(kfp: Kfp, cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(compiling.TRAINING.read_text().replace("schemaVersion: 2.1.0", "schemaVersion: 9.9.9"))

    code, _, err = cli("submit", "heart", "--pipeline", str(bad))

    assert code == 2
    assert "would not run on a cluster" in err
    assert kfp.requests == []


def test_the_images_of_a_registry_of_ones_own_are_compiled_in(tmp_path: Path) -> None:
    lines = [
        "import argparse, sys; from pathlib import Path; from pipelines.kfpserver import orders",
        "options = argparse.Namespace(use_case='heart', pipeline=None)",
        "print(orders.pipeline(options, Path(sys.argv[1])).read_text())",
    ]
    variables = {**os.environ, "HEADRACE_IMAGE_PREFIX": "registry.example/team"}
    command = [sys.executable, "-c", "\n".join(lines), str(tmp_path)]

    said = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout

    assert "image: registry.example/team/train:" in said
    assert "image: headrace/" not in said
