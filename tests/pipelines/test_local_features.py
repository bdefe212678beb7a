"""How values, branches, loops and artifacts go through a graph: an upgrade of KFP that changes one shows here."""

# KFP reads annotations at run time, so this file has no `from __future__ import annotations`.
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

component = dsl.component(base_image="headrace/python:1", install_kfp_package=False)
Laptop = Any
Out = Callable[..., Any]


@component
def echo(x: str) -> str:
    return x


@component
def add(a: int, b: int) -> int:
    return a + b


@component
def show(value: dict) -> str:
    import json

    return json.dumps(value, sort_keys=True)


@component
def show_list(value: list) -> str:
    import json

    return json.dumps(value)


@component
def total(xs: list) -> int:
    return sum(xs)


@component
def double(x: int) -> int:
    return 2 * x


@component
def give_list() -> list:
    return ["b", "a"]


@component
def split(text: str) -> list:
    return text.split()


@component
def give_named() -> NamedTuple("Outputs", [("decision", str), ("score", float)]):  # type: ignore[valid-type]
    return "deploy", 0.5


@component
def write(text: str, data: Output[Dataset]) -> None:
    with open(data.path, "w") as stream:  # noqa: PTH123
        stream.write(text)
    data.metadata["rows"] = 3


@component
def read(data: Input[Dataset]) -> str:
    with open(data.path) as stream:  # noqa: PTH123
        return f"{stream.read()} {data.metadata['rows']!r}"


@component
def read_all(data: Input[list[Dataset]]) -> str:
    from pathlib import Path

    return ",".join(Path(item.path).read_text() for item in data)


def test_an_outer_task_output_keeps_its_value_inside_a_loop(laptop: Laptop, output: Out) -> None:
    @component
    def pair(c: float, tag: str) -> str:
        return f"c={c} tag={tag}"

    @component
    def join(xs: list) -> str:
        return "; ".join(xs)

    @dsl.pipeline
    def graph() -> None:
        outer = echo(x="TAG")
        with dsl.ParallelFor(items=[0.1, 1.5]) as c:
            inner = pair(c=c, tag=outer.output)
        join(xs=dsl.Collected(inner.output))

    done = laptop(graph)

    assert output(done, "join") == "c=0.1 tag=TAG; c=1.5 tag=TAG"


def test_a_branch_on_a_named_output_is_taken(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph() -> None:
        given = give_named()
        with dsl.If(given.outputs["decision"] == "deploy"):
            echo(x="deployed")

    assert output(laptop(graph), "echo") == "deployed"


@pytest.mark.parametrize(("value", "task"), [("yes", "echo"), ("no", "echo-2"), ("perhaps", "echo-3")])
def test_exactly_one_branch_of_a_gate_runs(laptop: Laptop, output: Out, value: str, task: str) -> None:
    @dsl.pipeline
    def graph(value: str) -> None:
        given = echo(x=value).set_display_name("given")
        with dsl.If(given.output == "yes"):
            add(a=1, b=1)
        with dsl.Elif(given.output == "no"):
            add(a=2, b=2)
        with dsl.Else():
            add(a=3, b=3)

    done = laptop(graph, value=value)

    expected = {"echo": "add", "echo-2": "add-2", "echo-3": "add-3"}[task]
    ran = [path.rsplit("/", 1)[-1] for path, one in done.tasks.items() if one.status == "succeeded"]
    assert sorted(ran) == ["echo", expected] or sorted(ran) == [expected, "echo"]


def test_a_text_is_never_evaluated_in_a_condition(laptop: Laptop) -> None:
    @dsl.pipeline
    def graph(value: str) -> None:
        given = echo(x=value)
        with dsl.If(given.output == "yes"):
            add(a=1, b=1)

    done = laptop(graph, value="x' or True or 'y")

    assert done.status == "succeeded"
    assert done.task("add") is None


def test_a_condition_on_a_text_with_a_quote_holds(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph(value: str, other: str) -> None:
        given = echo(x=value)
        with dsl.If(given.output == other):
            add(a=1, b=1)

    done = laptop(graph, value="it's", other="it's")

    assert output(done, "add") == 2


def test_conditions_on_numbers_and_bools(laptop: Laptop, output: Out) -> None:
    @component
    def good() -> bool:
        return True

    @dsl.pipeline
    def graph(limit: float) -> None:
        enough = add(a=1, b=2)
        with dsl.If(good().output == True), dsl.If(enough.output >= 3), dsl.If(limit > 0.25):  # noqa: E712
            double(x=4)

    assert output(laptop(graph, limit=0.5), "double") == 8


def test_whole_numbers_inside_dicts_and_lists_arrive_as_integers(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph(settings: dict = {"trees": 100, "rate": 0.5, "deep": {"n": [1, 2.5]}}) -> None:  # noqa: B006
        show(value=settings)
        show_list(value=[1, 2.5, 3])

    done = laptop(graph)

    assert output(done, "show") == '{"deep": {"n": [1, 2.5]}, "rate": 0.5, "trees": 100}'
    assert output(done, "show-list") == "[1, 2.5, 3]"


def test_collected_integers_stay_integers(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph() -> None:
        with dsl.ParallelFor(items=[1, 2, 3]) as x:
            each = double(x=x)
        total(xs=dsl.Collected(each.output))

    result = output(laptop(graph), "total")

    assert result == 12
    assert isinstance(result, int)


def test_a_loop_over_nothing_collects_an_empty_list(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph(items: list) -> None:
        with dsl.ParallelFor(items=items) as x:
            each = double(x=x)
        total(xs=dsl.Collected(each.output))

    assert output(laptop(graph, items=[]), "total") == 0


def test_a_loop_over_a_task_output(laptop: Laptop, output: Out) -> None:
    @component
    def named() -> NamedTuple("Outputs", [("items", list)]):  # type: ignore[valid-type]
        return (["x", "y"],)

    @dsl.pipeline
    def graph() -> None:
        with dsl.ParallelFor(items=give_list().output) as x:
            one = echo(x=x)
        show_list(value=dsl.Collected(one.output))
        with dsl.ParallelFor(items=named().outputs["items"]) as x:
            two = echo(x=x)
        show_list(value=dsl.Collected(two.output))

    done = laptop(graph)

    assert output(done, "show-list") == '["b", "a"]'
    assert output(done, "show-list-2") == '["x", "y"]'


def test_fields_of_loop_items(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph(items: list) -> None:
        with dsl.ParallelFor(items=items) as item:
            each = add(a=item.a, b=item.b)
        total(xs=dsl.Collected(each.output))

    assert output(laptop(graph, items=[{"a": 1, "b": 2}, {"a": 3, "b": 4}]), "total") == 10


def test_loops_inside_loops(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph() -> None:
        with dsl.ParallelFor(items=[1, 2]) as x, dsl.ParallelFor(items=[10, 20]) as y:
            add(a=x, b=y)

    done = laptop(graph)

    sums = sorted(task.parameters["Output"] for path, task in done.tasks.items() if path.endswith("/add"))
    assert sums == [11, 12, 21, 22]


def test_a_loop_over_an_output_is_resumed_round_by_round(laptop: Laptop) -> None:
    @dsl.pipeline
    def graph(names: str) -> None:
        with dsl.ParallelFor(items=split(text=names).output) as name:
            echo(x=name)

    first = laptop(graph, names="one two")
    again = laptop(graph, resume=first, names="one two")
    other = laptop(graph, resume=again, names="one three four")

    def reused(run: Any) -> dict[str, bool]:
        return {task.label: task.reused for task in run.tasks.values()}

    assert reused(again) == {"split": True, "echo one": True, "echo two": True}
    assert reused(other) == {"split": False, "echo one": True, "echo three": False, "echo four": False}
    assert other.arguments == {"names": "one three four"}


def test_artifacts_with_metadata_through_nested_pipelines(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def inner(text: str) -> Dataset:
        return write(text=text).outputs["data"]

    @dsl.pipeline
    def graph() -> None:
        one = inner(text="one")
        two = inner(text="two")
        read(data=one.output)
        read(data=two.output)

    done = laptop(graph)

    assert output(done, "read") == "one 3"
    assert output(done, "read-2") == "two 3"


def test_collected_artifacts_keep_the_order_of_the_items(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph() -> None:
        with dsl.ParallelFor(items=["a", "b", "c"]) as x:
            each = write(text=x)
        read_all(data=dsl.Collected(each.outputs["data"]))

    assert output(laptop(graph), "read-all") == "a,b,c"


def test_one_of_the_branches_gives_the_artifact(laptop: Laptop, output: Out) -> None:
    @dsl.pipeline
    def graph(flag: str) -> None:
        given = echo(x=flag)
        with dsl.If(given.output == "left"):
            left = write(text="left")
        with dsl.Else():
            right = write(text="right")
        read(data=dsl.OneOf(left.outputs["data"], right.outputs["data"]))

    assert output(laptop(graph, flag="elsewhere"), "read") == "right 3"
