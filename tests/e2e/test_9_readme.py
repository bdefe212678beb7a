"""The README keeps its word: its commands for a cluster are run as they are written, in a cluster without the chart."""

from __future__ import annotations

import re

import pytest
from cleaning import clean
from readme import Command, commands
from real import PREFIX
from test_8_uninstall import INSTALLED, OURS, until_gone
from versions import write_record

from components.releases import history

pytestmark = pytest.mark.xdist_group("e2e")

USE_CASE = "heart"


def test_the_commands_of_the_readme_do_what_it_says(cluster):
    """Addresses and the images' registry are put in; nothing else is changed.

    Building images is not repeated: the cluster has those that the suite was given. Where there is no KFP, the graph
    that `submit` would run is run by the laptop runner; on a cluster without KFP the walk is skipped.
    """
    cluster.need("pipelines")
    assert clean(cluster) == []
    until_gone(cluster, INSTALLED)
    walk = commands()
    kinds = [kind_of(command) for command in walk]

    for command, kind in zip(walk, kinds, strict=True):
        said = ""
        if kind == "submit":
            submit(cluster, command)
        elif kind not in ("export", "images"):
            said = shell(cluster, command, kind)
        assert command.is_answered_by(said), f"{command.text}\nanswers\n{said}"
        if kind == "install":
            cluster.prepare()

    steps = [
        "export",
        "images",
        "install",
        "launcher",
        "submit",
        "get",
        "curl",
        "submit",
        "rollback",
        "delete",
        "uninstall",
    ]
    assert kinds == steps
    assert history.status(USE_CASE).champion == ""


def kind_of(command: Command) -> str:
    """Return the word that tells what a command does."""
    if "kfp-launcher" in command.text:
        return "launcher"
    verbs = r"\b(export|images|install|submit|get|curl|rollback|delete|uninstall)\b"
    match = re.search(verbs, command.text)
    assert match, f"the suite does not know what to do with {command.text}"
    return match[1]


def submit(cluster, command: Command) -> None:
    """Run the pipeline as a command of the README asks, and wait until its version serves."""
    seed = re.search(r"--seed (\d+)", command.text)
    before = history.status(USE_CASE).champion
    cluster.train(USE_CASE, int(seed[1]) if seed else None)
    assert history.status(USE_CASE).champion not in ("", before)


def shell(cluster, command: Command, kind: str) -> str:
    """Run a command as it is written, with the addresses of this cluster."""
    text = command.text.replace("--namespace kubeflow", f"--namespace {cluster.namespace}")
    if kind == "install":
        text = " ".join([text, *cluster.chart_values, "--set=keep=false", "--set=images.pullPolicy=IfNotPresent"])
    if kind == "curl":
        host = re.sub(r"^http://", "", history.status(USE_CASE).url)
        text = re.sub(r"Host: [\w.-]+", f"Host: {host}", text)
    variables = {"HEADRACE_IMAGE_PREFIX": PREFIX, "GATEWAY": cluster.gateway}
    return cluster.run("bash", "-euc", text, **variables)


def test_nothing_is_left_after_cleaning(cluster):
    assert clean(cluster) == []

    until_gone(cluster, INSTALLED)
    assert cluster.objects("inferenceservices,leases,httproutes", OURS) == []


def test_the_record_tells_what_was_done_on_what(cluster, tmp_path):
    """On the emulator it is written to a folder that goes: only a cluster's record is worth keeping."""
    text = write_record(cluster, PREFIX, tmp_path).read_text()

    assert re.search(r"^\| Kubernetes \| v1\.\d+", text, re.M)
    assert re.search(r"^\| Headrace \| \w+", text, re.M)
    assert re.search(r"^\| nothing is left after cleaning \| passed \| \d+\.\d \|", text, re.M)
    assert sum(step.sent for step in cluster.record.steps) > 0 or len(cluster.record.steps) < 10
    assert cluster.described in text.splitlines()[0]
