"""What happens to single tasks: retries, failures, time limits, optional inputs, placeholders, importers, outputs."""

# KFP reads annotations at run time, so this file has no `from __future__ import annotations`.
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from kfp import dsl, kubernetes
from kfp.dsl import Artifact, Input, Metrics, Model, Output

from components.errors import InputError
from pipelines import ir
from pipelines.local.progress import Plain
from pipelines.local.run import Order, run

component = dsl.component(base_image="headrace/python:1", install_kfp_package=False)
Laptop = Any
Out = Callable[..., Any]


@component
def echo(x: str) -> str:
    return x


@component
def double(x: int) -> int:
    return 2 * x


@component
def failing() -> str:
    raise RuntimeError("boom")


def test_retries_start_in_an_empty_folder(laptop: Laptop, output: Out, tmp_path: Path) -> None:
    @component
    def flaky(marks: str, model: Output[Model]) -> int:
        from pathlib import Path

        Path(model.path).mkdir()
        tried = Path(marks)
        count = int(tried.read_text()) + 1 if tried.exists() else 1
        tried.write_text(str(count))
        if count < 3:
            raise RuntimeError("not yet")
        return count

    @dsl.pipeline
    def graph(marks: str) -> None:
        flaky(marks=marks).set_retry(num_retries=3, backoff_duration="0s")

    done = laptop(graph, marks=str(tmp_path / "marks"))

    assert output(done, "flaky") == 3
    assert done.tasks["flaky"].attempts == 3


def test_a_failed_task_stops_what_depends_on_it_and_nothing_else(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph() -> None:
        echo(x="independent")
        echo(x=failing().output)

    done = laptop(graph, workers=1)

    assert done.status == "failed"
    assert "failing: RuntimeError: boom" in done.error
    assert done.tasks["failing"].status == "failed"
    assert done.tasks["echo-2"].status == "skipped"
    assert "RuntimeError: boom" in laptop.shown


def test_after_a_failure_nothing_more_is_started_in_graphs_beside_it(laptop: Laptop) -> None:
    """A failed validation need not wait for candidates that have not begun."""

    @dsl.pipeline
    def graph() -> None:
        failing()
        with dsl.ParallelFor(items=["a", "b", "c"]) as item:
            echo(x=item)

    done = laptop(graph, workers=1)

    assert done.status == "failed"
    assert "failing: RuntimeError: boom" in done.error
    assert not [task.path for task in done.tasks.values() if task.status == "succeeded"]


def test_an_exit_task_runs_after_a_failure_and_knows_of_it(laptop: Laptop, output: Out) -> None:
    @component
    def report(status: dsl.PipelineTaskFinalStatus) -> str:
        return status.state

    @dsl.pipeline
    def graph() -> None:
        with dsl.ExitHandler(report()):
            failing()

    done = laptop(graph)

    assert done.status == "failed"
    assert output(done, "report") == "FAILED"


def test_optional_inputs_may_be_absent(laptop: Laptop, output: Out) -> None:
    @component
    def optional(n: Optional[int] = None, s: Optional[str] = None, d: Optional[dict] = None) -> str:  # noqa: UP045
        return f"{n} {s} {d}"

    @dsl.pipeline
    def graph(text: Optional[str] = None) -> None:  # noqa: UP045
        optional()
        optional(n=3, s=text)

    done = laptop(graph)

    assert output(done, "optional") == "None None None"
    assert output(done, "optional-2") == "3 None None"


def test_the_run_id_and_texts_joined_in_the_graph(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph(name: str) -> None:
        echo(x=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        echo(x=f"hello {name}")

    done = laptop(graph, name="{{$.pipeline_job_uuid}}")

    assert output(done, "echo") == done.identifier
    assert output(done, "echo-2") == "hello {{$.pipeline_job_uuid}}", "data is never taken for a placeholder"


def test_an_importer_takes_a_local_file(laptop: Laptop, output: Out, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("there")

    @component
    def content(data: Input[Artifact]) -> str:
        from pathlib import Path

        return Path(data.path).read_text()

    @dsl.pipeline
    def graph(uri: str) -> None:
        there = dsl.importer(artifact_uri=uri, artifact_class=Artifact)
        content(data=there.output)

    assert output(laptop(graph, uri=str(tmp_path / "data.txt")), "content") == "there"


def test_numbers_that_json_lacks_are_errors(laptop: Laptop) -> None:
    @component
    def infinite() -> float:
        return float("inf")

    @dsl.pipeline
    def graph() -> None:
        infinite()

    assert "no JSON number" in laptop(graph).error


def test_metrics_appear_in_the_record(laptop: Laptop) -> None:
    @component
    def measure(metrics: Output[Metrics]) -> None:
        metrics.log_metric("auc", 0.9)

    @dsl.pipeline
    def graph() -> None:
        measure()

    assert laptop(graph).tasks["measure"].artifacts["metrics"].metadata == {"auc": 0.9}


def test_an_output_moved_out_of_its_root_is_an_error(laptop: Laptop) -> None:
    @component
    def mover(model: Output[Model]) -> None:
        model.uri = "/elsewhere/model"

    @dsl.pipeline
    def graph() -> None:
        mover()

    assert "moved its output" in laptop(graph).error


def test_a_task_that_runs_too_long_is_ended(laptop: Laptop) -> None:
    @component
    def slow() -> None:
        import time

        time.sleep(60)

    @dsl.pipeline
    def graph() -> None:
        kubernetes.set_timeout(slow(), 1)

    assert "it ran longer than its 1 s" in laptop(graph).error


def test_independent_tasks_run_at_the_same_time(laptop: Laptop, tmp_path: Path) -> None:
    @component
    def meet(folder: str, mine: str, theirs: str) -> None:
        import time
        from pathlib import Path

        Path(folder, mine).touch()
        while not Path(folder, theirs).exists():
            time.sleep(0.01)

    @dsl.pipeline
    def graph(folder: str) -> None:
        meet(folder=folder, mine="a", theirs="b")
        meet(folder=folder, mine="b", theirs="a")

    assert laptop(graph, folder=str(tmp_path)).status == "succeeded"


def test_loop_bodies_keep_to_the_parallelism_of_the_graph(laptop: Laptop, tmp_path: Path) -> None:
    @component
    def alone(folder: str, x: int) -> int:
        import time
        from pathlib import Path

        Path(folder, "busy").mkdir()
        time.sleep(0.05)
        Path(folder, "busy").rmdir()
        return x

    @dsl.pipeline
    def graph(folder: str) -> None:
        with dsl.ParallelFor(items=[1, 2, 3], parallelism=1) as x:
            alone(folder=folder, x=x)

    assert laptop(graph, folder=str(tmp_path)).status == "succeeded"


def test_an_unknown_argument_is_refused_with_the_choice(laptop: Laptop, tmp_path: Path) -> None:
    @dsl.pipeline
    def graph(n: int = 1) -> None:
        double(x=n)

    with pytest.raises(InputError, match="unknown parameter 'm': choose from n"):
        laptop(graph, m=1)
    with pytest.raises(InputError, match="parameter 'n' is 'three', expected integer"):
        run(Order(ir.load(laptop.compile(graph)), {"n": "three"}, tmp_path), Plain())


def test_a_value_that_a_parameter_does_not_list_is_refused_before_anything_starts(
    laptop: Laptop,
) -> None:
    @dsl.pipeline
    def graph(colour: str = "green") -> None:
        echo(x=colour)

    for colour in ("red", "green"):
        graph.pipeline_spec.root.input_definitions.parameters["colour"].literals.add(string_value=colour)

    with pytest.raises(InputError, match="parameter 'colour' is 'blue', expected one of red, green"):
        laptop(graph, colour="blue")
    assert not (laptop.home / "runs").exists()
    assert laptop(graph, colour="red").status == "succeeded"
