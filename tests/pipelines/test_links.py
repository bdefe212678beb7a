"""What a compiled pipeline costs on KFP: pods, and how many of them start one after another."""

from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from pipelines import compiling, ir, links


@dsl.component(base_image="python")
def step(x: int = 1) -> bool:
    return True


@dsl.component(base_image="python")
def items() -> list:
    return [1]


def cost(pipeline: Any, tmp_path: Path, loop: int = 5) -> links.Cost:
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(dsl.pipeline(name="p")(pipeline), str(path))
    return links.count(ir.load(path), loop)


def test_a_step_costs_its_driver_and_itself_after_the_pipelines_driver(tmp_path):
    def one() -> None:
        step()

    assert cost(one, tmp_path) == links.Cost(3, ("root driver", "step driver", "step"))


def test_what_runs_beside_the_longest_way_costs_pods_and_no_links(tmp_path):
    def beside() -> None:
        first = step()
        step(x=1).after(first)
        step(x=2)

    assert (cost(beside, tmp_path).pods, cost(beside, tmp_path).links) == (7, 5)


@pytest.mark.parametrize(("at_once", "turns"), [(0, 1), (2, 3), (1, 5)])
def test_a_loop_that_may_not_run_at_once_goes_round_again(tmp_path, at_once, turns):
    def loop() -> None:
        with dsl.ParallelFor(items=items().output, parallelism=at_once) as item:
            step(x=item)

    found = cost(loop, tmp_path)

    assert found.pods == 1 + 2 + 1 + 5 * 3
    assert found.links == 1 + 2 + 1 + 3 * turns


def test_a_branch_costs_two_levels_and_the_other_one_its_driver(tmp_path):
    def gate() -> None:
        asked = step()
        with dsl.If(asked.output == True):  # noqa: E712
            step(x=1)
        with dsl.Else():
            step(x=2)

    found = cost(gate, tmp_path)

    assert found.pods == 1 + 2 + 1 + (1 + 2) + 1
    assert found.links == 1 + 2 + 1 + 1 + 2


def test_the_training_pipeline_is_as_short_as_kfp_allows():
    """Seven steps in a row and a loop: two pods a step, one for the pipeline, one for the loop and one for its item."""
    found = links.count(ir.load(compiling.TRAINING), 5)

    assert found.links == 13
    assert found.pods == 30
    assert not [name for name in found.chain if "validate" in name or "profile" in name or "condition" in name]


def test_it_prints_what_it_counted(capsys):
    assert links.main([str(compiling.TRAINING), "--items", "1"]) == 0

    assert "18 pods, 13 links" in capsys.readouterr().out
