"""Runs of a KFP server: listed, shown, followed again, ended; and what can be learned about a task."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kfpapi import Fault, Kfp, look

Cli = Callable[..., tuple[int, str, str]]


def test_runs_are_listed_newest_first(kfp: Kfp, cli: Cli) -> None:
    for use_case in ("heart", "iris"):
        cli("submit", use_case, "--no-follow", "--name", f"my-{use_case}")

    everything = cli("runs")[1].splitlines()
    some = cli("runs", "--experiment", "heart")[1].splitlines()
    none = cli("runs", "--experiment", "nobody")

    assert [("my-iris" in line, "my-heart" in line) for line in everything[1:]] == [(True, False), (False, True)]
    assert len(some) == 2
    assert none[0] == 0
    assert "nobody" not in [item["display_name"] for item in kfp.experiments.values()]


def test_no_more_runs_are_fetched_than_asked_for(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart", "--no-follow")
    (one,) = kfp.runs.values()
    for number in range(300):
        kfp.runs[str(number)] = {**one, "run_id": str(number), "created_at": kfp.moment()}
    kfp.requests.clear()

    out = cli("runs", "--limit", "150")[1]

    assert len(out.splitlines()) == 151
    assert kfp.asked("GET .*/runs$") == 2


def test_a_run_is_found_by_its_id_its_beginning_its_name_or_as_the_last(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart", "--name", "mine")
    (run,) = kfp.runs

    shown = [cli("runs", text) for text in (run, run[:8], "mine", "last")]

    assert {code for code, _, _ in shown} == {0}
    assert len({out for _, out, _ in shown}) == 1
    assert "deploy" in shown[0][1]


@pytest.mark.parametrize("text", ["00000000-0000-0000-0000-000000000000", "nothing", "last"])
def test_a_run_that_is_not_there_is_wrong_input(cli: Cli, text: str) -> None:
    code, _, err = cli("runs", text)

    assert code == 2
    assert "python -m pipelines" in err


def test_a_run_can_be_followed_again_and_ended(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart", "--no-follow")
    (run,) = kfp.runs

    followed = cli("runs", run, "--follow")
    ended = cli("runs", run, "--terminate")

    assert followed[0] == 0
    assert "ingest" in followed[1]
    assert ended[0] == 0
    assert kfp.runs[run]["state"] == "CANCELED"
    assert cli("runs", run)[0] == 1


def test_logs_show_the_state_and_the_error_of_each_task(kfp: Kfp, cli: Cli) -> None:
    kfp.steps = [look("FAILED", "the workflow failed", ingest="SUCCEEDED", train="FAILED: out of memory")]
    cli("submit", "heart", "--no-follow")

    code, out, _ = cli("logs", "last")

    (run,) = kfp.runs
    assert code == 0
    assert "the workflow failed" in out
    assert "out of memory" in out
    assert f"kubectl -n kubeflow logs -l pipeline/runid={run} -c main" in out


def test_the_log_of_a_task_is_shown_where_the_server_has_it(kfp: Kfp, cli: Cli) -> None:
    kfp.logs["train-pod"] = "fitting\nfitted 3 candidates\n"
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 0
    assert out == "train succeeded\nfitting\nfitted 3 candidates\n"


def test_a_log_that_the_server_does_not_have_is_not_made_up(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 1
    assert "error_message" not in out
    assert "the KFP server has no log of it; from the cluster" in out


def test_a_log_that_names_an_error_message_of_its_own_is_a_log(kfp: Kfp, cli: Cli) -> None:
    kfp.logs["train-pod"] = 'starting\n{"error_message": "from the step"}\n'
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 0
    assert "from the step" in out


def test_a_task_that_is_not_there_is_wrong_input(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart")

    code, _, err = cli("logs", "last", "fly")

    assert code == 2
    assert "no task 'fly': choose one of deploy, evaluate, ingest, train" in err


def test_the_tasks_of_a_run_whose_version_is_gone_are_shown_all_the_same(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart")
    kfp.versions.clear()

    code, out, _ = cli("logs", "last")

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == ["deploy", "evaluate", "ingest", "train"]


def test_a_server_that_is_away_is_no_wrong_input(kfp: Kfp, cli: Cli) -> None:
    kfp.faults = [Fault("GET .*/runs", 503, times=99)]

    code, _, err = cli("runs")

    assert code == 1
    assert "answers 503" in err
