"""Runs of a KFP server: listed, shown, followed again, ended; and what can be learned about a task."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argo import look, node_name, pod_name
from hypothesis import given
from hypothesis import strategies as st
from kfpapi import Fault, Kfp

from pipelines.kfpserver import logs, pods

sys.path.insert(0, str(Path(__file__).parents[2] / "cluster"))

from apiserver import ApiServer

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


@pytest.mark.parametrize("retried", [True, False])
def test_the_log_of_a_task_is_shown_where_the_server_has_it(kfp: Kfp, cli: Cli, retried: bool) -> None:
    kfp.steps = [look("SUCCEEDED", retried=retried, ingest="SUCCEEDED", train="SUCCEEDED", deploy="SUCCEEDED")]
    kfp.logs[pod_name("train", retried=retried)] = "fitting\nfitted 3 candidates\n"
    kfp.logs[pod_name("deploy", retried=retried)] = "released\n"
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 0
    assert out == "train succeeded\nfitting\nfitted 3 candidates\n"


def test_every_attempt_of_a_task_is_shown(kfp: Kfp, cli: Cli) -> None:
    kfp.logs |= {pod_name("train", 0): "out of memory", pod_name("train", 1): "fitted\n"}
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 0
    assert out == "train succeeded\nout of memory\n--- attempt 2\nfitted\n"


def test_a_log_that_the_server_has_archived_is_found_by_the_node_above(kfp: Kfp, cli: Cli) -> None:
    kfp.steps = [look("SUCCEEDED", train="SUCCEEDED")]
    (node,) = [item for item in kfp.steps[0]["run_details"]["task_details"] if item["display_name"] == "train"]
    kfp.logs[node["child_tasks"][0]["pod_name"]] = "kept\n"
    cli("submit", "heart")

    assert cli("logs", "last", "train")[:2] == (0, "train succeeded\nkept\n")


def test_a_log_that_nobody_has_is_not_made_up(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 1
    assert "error_message" not in out
    assert "neither the KFP server nor the cluster of the kubeconfig has a log of it" in out
    assert "kubectl -n kubeflow logs -l pipeline/runid=" in out


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ApiServer]:
    """An emulated Kubernetes API server where the kubeconfig of the `kfp` fixture is looked for."""
    server = ApiServer(namespace="kubeflow")
    known = {
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "mine"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(known))
    yield server
    server.close()


def pod(run: str, node: str, log: str) -> dict[str, Any]:
    """A pod of a run as Argo labels it."""
    metadata = {"labels": {logs.LABEL: run}, "annotations": {pods.NODE_NAME: node}}
    return {"metadata": {"name": f"pod-{uuid.uuid4()}", **metadata}, "log": log}


@pytest.mark.parametrize("retried", [True, False])
def test_a_log_that_the_server_does_not_have_is_read_from_the_cluster(
    kfp: Kfp, cli: Cli, cluster: ApiServer, retried: bool
) -> None:
    kfp.steps = [look("FAILED", retried=retried, ingest="SUCCEEDED", train="FAILED")]
    cli("submit", "heart")
    (run,) = kfp.runs
    for attempt in (0, 1):
        cluster.put("pods", pod(run, node_name("train", attempt, retried=retried), f"attempt {attempt}\n"))
    cluster.put("pods", pod(run, node_name("ingest", retried=retried), "not this one"))
    driver = node_name("train-driver", retried=retried).removesuffix(".executor(0)")
    cluster.put("pods", pod(run, driver, "nor this"))
    cluster.put("pods", pod("another", node_name("train", retried=retried), "nor that"))

    code, out, _ = cli("logs", "last", "train")

    assert code == 0
    assert out == "train failed\nattempt 0\n--- attempt 2\nattempt 1\n"


def test_a_cluster_that_does_not_let_us_is_named(kfp: Kfp, cli: Cli, cluster: ApiServer) -> None:
    cluster.fault = lambda method, path: (403, {})
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 1
    assert "not allowed to list pods in namespace kubeflow" in out
    assert "kubectl -n kubeflow logs" in out


@given(st.text(max_size=20), st.text(max_size=20))
def test_the_hash_of_a_longer_name_goes_on_from_its_beginning(first: str, rest: str) -> None:
    assert pods.hashed(rest, pods.hashed(first)) == pods.hashed(first + rest)
    assert pods.hashed("a") == 0xE40C292C, "as the specification of FNV-1a has it"


@pytest.mark.parametrize("node", ["", "x", "-", "workflow-", "workflow-x1"])
def test_what_is_no_id_of_a_node_leads_to_no_pod(node: str) -> None:
    assert list(pods.attempts(node)) == []
    assert not pods.is_below("workflow.root", [node])


def test_a_log_that_names_an_error_message_of_its_own_is_a_log(kfp: Kfp, cli: Cli) -> None:
    kfp.logs[pod_name("train")] = 'starting\n{"error_message": "from the step"}\n'
    cli("submit", "heart")

    code, out, _ = cli("logs", "last", "train")

    assert code == 0
    assert "from the step" in out


def test_a_task_that_is_not_there_is_wrong_input(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart")

    code, _, err = cli("logs", "last", "fly")

    assert code == 2
    assert "no task 'fly': choose one of ingest, train, evaluate, deploy" in err


def test_the_tasks_of_a_run_whose_version_is_gone_are_shown_all_the_same(kfp: Kfp, cli: Cli) -> None:
    cli("submit", "heart")
    kfp.versions.clear()

    code, out, _ = cli("logs", "last")

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == ["ingest", "train", "evaluate", "deploy"]


def test_a_task_that_was_never_reached_is_pending_while_the_run_goes_on_and_skipped_afterwards(
    kfp: Kfp, cli: Cli
) -> None:
    kfp.steps = [look("RUNNING", train="FAILED", evaluate=""), look("FAILED", train="FAILED", evaluate="")]
    cli("submit", "heart", "--no-follow")

    first, second = cli("logs", "last")[1], cli("logs", "last")[1]

    assert re.search(r"evaluate +pending", first)
    assert re.search(r"evaluate +skipped", second)


def test_a_server_that_is_away_is_no_wrong_input(kfp: Kfp, cli: Cli) -> None:
    kfp.faults = [Fault("GET .*/runs", 503, times=99)]

    code, _, err = cli("runs")

    assert code == 1
    assert "answers 503" in err
