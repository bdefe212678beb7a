"""Each rule of the offline validation, on a pipeline that KFP's SDK compiles without a word."""

# KFP reads annotations at run time, so this file has no `from __future__ import annotations`.
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl, kubernetes
from kfp.dsl import Artifact, Dataset, Input, Output

from pipelines import ir, validation
from pipelines.validation import ADVICE, DIFFERS, LOCAL, REFUSED

IMAGE = "headrace/python@sha256:abc"
component = dsl.component(base_image=IMAGE, install_kfp_package=False)
Checked = Callable[..., list[tuple[str, str]]]


@component
def echo(x: str) -> str:
    return x


@component
def make(data: Output[Dataset]) -> None:
    with open(data.path, "w") as stream:  # noqa: PTH123
        stream.write("")


@component
def use(data: Input[Dataset]) -> None:
    return None


def found(path: Path) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in validation.check(ir.load(path))]


@pytest.fixture
def checked(tmp_path: Path) -> Checked:
    """Compile a graph, change its documents if wanted, and return what is found beyond advice."""

    def check(graph: Any, change: Callable[[list[dict[str, Any]]], None] | None = None) -> list[tuple[str, str]]:
        path = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(dsl.pipeline(name="graph")(graph), str(path))
        if change is not None:
            documents = list(yaml.safe_load_all(path.read_text()))
            change(documents)
            path.write_text(yaml.safe_dump_all(documents))
        return [item for item in found(path) if item[0] != ADVICE]

    return check


def has(findings: list[tuple[str, str]], level: str, text: str) -> bool:
    return any(item[0] == level and text in item[1] for item in findings)


def test_nothing_is_found_in_an_ordinary_graph(checked: Checked) -> None:
    def graph(n: int = 1) -> None:
        with dsl.If(echo(x="a").output == "a"):
            use(data=make().outputs["data"])
        echo(x=dsl.PIPELINE_JOB_ID_PLACEHOLDER)

    assert checked(graph) == []


def listing(*literals: str) -> Callable[[list[dict[str, Any]]], None]:
    def change(documents: list[dict[str, Any]]) -> None:
        documents[0]["root"]["inputDefinitions"]["parameters"]["colour"]["literals"] = list(literals)

    return change


def test_a_default_that_cannot_be_chosen(checked: Checked) -> None:
    def graph(colour: str = "green") -> None:
        echo(x=colour)

    assert checked(graph, listing("red", "green")) == []
    assert has(checked(graph, listing("red", "blue")), REFUSED, "'colour' defaults to a value that its list lacks")


def test_an_empty_text_to_choose(checked: Checked) -> None:
    def graph(colour: str = "green") -> None:
        echo(x=colour)

    assert has(checked(graph, listing("green", "")), DIFFERS, "which the UI shows as no choice")


def test_a_loop_over_artifacts(checked: Checked) -> None:
    def graph() -> None:
        with dsl.ParallelFor(items=["a", "b"]) as item:
            echo(x=item)

    def over_artifacts(documents: list[dict[str, Any]]) -> None:
        task = documents[0]["root"]["dag"]["tasks"]["for-loop-2"]
        del task["parameterIterator"]
        task["artifactIterator"] = {"itemInput": "item", "items": {"inputArtifact": "made"}}

    assert has(checked(graph, over_artifacts), REFUSED, "a loop over artifacts")


def test_a_comparison_with_a_quote_in_it(checked: Checked) -> None:
    def graph() -> None:
        with dsl.If(echo(x="a").output == "it's"):
            echo(x="b")

    assert has(checked(graph), REFUSED, "a text with quotes cannot be compared")


def test_a_placeholder_inside_a_longer_text(checked: Checked) -> None:
    def graph() -> None:
        echo(x=f"run-{dsl.PIPELINE_JOB_ID_PLACEHOLDER}")

    assert has(checked(graph), DIFFERS, "only where it is the whole value")


def test_placeholders_that_nobody_replaces(checked: Checked) -> None:
    def graph() -> None:
        echo(x=dsl.PIPELINE_ROOT_PLACEHOLDER)

    assert has(checked(graph), DIFFERS, "which the backend does not replace")


def test_placeholders_that_a_laptop_does_not_know(checked: Checked) -> None:
    def graph() -> None:
        echo(x=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)

    assert has(checked(graph), LOCAL, "which a laptop run does not know")


def test_ignoring_an_upstream_failure(checked: Checked) -> None:
    def graph() -> None:
        echo(x="b").after(echo(x="a")).ignore_upstream_failure()

    assert has(checked(graph), DIFFERS, "ignore_upstream_failure")


def test_a_task_after_an_exit_task(checked: Checked) -> None:
    def graph() -> None:
        last = echo(x="last")
        with dsl.ExitHandler(last):
            echo(x="body")

    def depend(documents: list[dict[str, Any]]) -> None:
        tasks = documents[0]["root"]["dag"]["tasks"]
        tasks["late"] = {**tasks["echo"], "dependentTasks": ["echo"], "triggerPolicy": {}}

    assert checked(graph) == []
    assert has(checked(graph, depend), REFUSED, "depends on an exit task")


def test_a_parameter_that_is_a_credential(checked: Checked) -> None:
    def graph(password: str) -> None:
        echo(x=password)

    assert has(checked(graph), DIFFERS, "looks like a credential")


def test_a_variable_that_is_a_credential(checked: Checked) -> None:
    def graph() -> None:
        echo(x="a").set_env_variable("API_TOKEN", "abc")

    assert has(checked(graph), DIFFERS, "holds its value in clear")


def test_platform_settings_without_meaning_on_a_laptop(checked: Checked) -> None:
    def graph() -> None:
        kubernetes.mount_pvc(echo(x="a"), "data", "/data")

    assert has(checked(graph), LOCAL, "pvc_mount")


def test_platform_settings_that_are_honoured(checked: Checked) -> None:
    def graph() -> None:
        task = echo(x="a")
        kubernetes.use_secret_as_env(task, "store", {"key": "STORE_NAME"})
        kubernetes.use_config_map_as_env(task, "config", {"place": "PLACE"})
        kubernetes.set_timeout(task, 60)
        kubernetes.set_security_context(task, run_as_non_root=True)
        task.set_cpu_limit("1").set_memory_limit("1Gi")

    assert checked(graph) == []


def test_the_name_of_a_secret_from_another_task(checked: Checked) -> None:
    def graph() -> None:
        kubernetes.use_secret_as_env(echo(x="a"), echo(x="name").output, {"key": "STORE_NAME"})

    assert has(checked(graph), LOCAL, "comes from another task")


def test_a_container_component(checked: Checked) -> None:
    @dsl.container_component
    def box() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image=IMAGE, command=["true"])

    def graph() -> None:
        box()

    assert has(checked(graph), LOCAL, "needs its container")


def test_packages_installed_when_it_runs(checked: Checked) -> None:
    @dsl.component(base_image=IMAGE)
    def late() -> None:
        return None

    def graph() -> None:
        late()

    assert has(checked(graph), LOCAL, "installs packages when it runs")


def test_braces_in_the_source(checked: Checked) -> None:
    @component
    def braces() -> str:
        return "{{$.outputs}}"

    def graph() -> None:
        braces()

    assert has(checked(graph), DIFFERS, "its source holds {{$")


def test_a_remote_artifact(checked: Checked) -> None:
    def graph() -> None:
        dsl.importer(artifact_uri="s3://bucket/key", artifact_class=Artifact)

    assert has(checked(graph), LOCAL, "imports a remote artifact")


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        (lambda d: d[0].update(schemaVersion="2.0.0"), REFUSED, "schema version '2.0.0'"),
        (lambda d: d[0]["pipelineInfo"].update(name="Graph_1"), REFUSED, "a pipeline name has lower-case letters"),
        (
            lambda d: d[0]["root"]["dag"]["tasks"]["echo"].update(dependentTasks=["gone"]),
            REFUSED,
            "depends on 'gone', which is not in its graph",
        ),
        (
            lambda d: d[0]["root"]["dag"]["tasks"]["echo"]["componentRef"].update(name="comp-gone"),
            REFUSED,
            "component 'comp-gone' is not defined",
        ),
        (
            lambda d: d.append({"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-gone": {}}}}}}),
            REFUSED,
            "platform settings of an executor that does not exist",
        ),
    ],
)
def test_broken_documents(
    checked: Checked, change: Callable[[list[dict[str, Any]]], None], level: str, text: str
) -> None:
    def graph() -> None:
        echo(x="a")

    assert has(checked(graph, change), level, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no pipeline"),
        ("a: [", "not YAML"),
        ("- 1", "holds no pipeline"),
        ("a: 1", "expected one pipeline document"),
        ("pipelineInfo: {name: a}\nroot: {dag: {}}\nsurprise: 1", "surprise"),
        ("pipelineInfo: {name: a}", "has no name or no root"),
    ],
)
def test_what_is_no_pipeline_is_unreadable(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)

    with pytest.raises(ir.Unreadable, match=message):
        ir.load(path)


def test_a_tag_and_root_are_worth_a_word(tmp_path: Path) -> None:
    @dsl.component(base_image="headrace/python:latest", install_kfp_package=False)
    def tagged() -> None:
        return None

    def graph() -> None:
        kubernetes.set_timeout(tagged(), 60)

    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(dsl.pipeline(name="graph")(graph), str(path))

    assert has(found(path), ADVICE, "not named by digest")
    assert has(found(path), ADVICE, "may run as root")
