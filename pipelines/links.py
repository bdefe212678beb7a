"""How many pods a compiled pipeline costs on KFP, and how many of them start one after another.

    python -m pipelines.links pipelines/compiled/training.yaml [--items 5]

KFP's compiler to Argo (backend/src/v2/compiler/argocompiler at 2.17) makes, for every run and in this order: a driver
pod for the pipeline; for a task its driver pod and then its own pod; for a graph within the graph its driver pod and
then its tasks; for a loop a driver pod, and for every item one more before its tasks. A task whose condition does not
hold costs its driver pod and nothing more. What starts after another one has ended waits for the next look of the
workflow controller, about ten seconds however short the step is (about six with DEFAULT_REQUEUE_TIME=1s in the
controller's environment): that is a link.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from pipelines import ir

UNTAKEN = ("!(", "== false")
"""How the conditions of branches begin or end that an accepted winner does not take."""


@dataclass(frozen=True)
class Cost:
    """What a graph, or a part of one, costs.

    Attributes:
        pods: All that are made.
        chain: What starts one after another on the longest way, in order.
    """

    pods: int
    chain: tuple[str, ...]

    @property
    def links(self) -> int:
        """How often the longest way waits for the workflow controller."""
        return len(self.chain)


def count(compiled: ir.Compiled, items: int) -> Cost:
    """Return what a run costs in which every loop has `items` items and the winner is accepted."""
    inner = _graph(compiled, compiled.spec.root, items, "")
    return Cost(1 + inner.pods, ("root driver", *inner.chain))


def _graph(compiled: ir.Compiled, component: Any, items: int, path: str) -> Cost:
    tasks: Mapping[str, Any] = component.dag.tasks
    costs: dict[str, Cost] = {}
    until: dict[str, tuple[str, ...]] = {}
    for name in _upstream_first(tasks):
        costs[name] = _task(compiled, tasks[name], items, f"{path}{name}")
        before = max((until[needed] for needed in tasks[name].dependent_tasks), key=len, default=())
        until[name] = before + costs[name].chain
    return Cost(sum(cost.pods for cost in costs.values()), max(until.values(), key=len, default=()))


def _upstream_first(tasks: Mapping[str, Any]) -> list[str]:
    needed = {name: set(task.dependent_tasks) for name, task in tasks.items()}
    return list(TopologicalSorter(needed).static_order())


def _task(compiled: ir.Compiled, task: Any, items: int, path: str) -> Cost:
    component = compiled.components[task.component_ref.name]
    driver = (f"{path} driver",)
    condition = task.trigger_policy.condition
    if condition.startswith(UNTAKEN[0]) or condition.endswith(UNTAKEN[1]):
        return Cost(1, driver)
    if component.WhichOneof("implementation") != "dag":
        return Cost(2, (*driver, path))
    inner = _graph(compiled, component, items, f"{path}/")
    if task.WhichOneof("iterator") is None:
        return Cost(1 + inner.pods, driver + inner.chain)
    at_once = task.iterator_policy.parallelism_limit or items
    turns = math.ceil(items / at_once)
    one = (f"{path} item driver", *inner.chain)
    return Cost(1 + items * (1 + inner.pods), driver + one * turns)


def main(words: list[str] | None = None) -> int:
    """Print pods, links and the longest way of compiled files."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.links", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--items", type=int, default=5, metavar="N", help="items of every loop [5]")
    options = parser.parse_args(words)
    for file in options.file:
        cost = count(ir.load(file), options.items)
        sys.stdout.write(f"{file}: {cost.pods} pods, {cost.links} links\n  {' > '.join(cost.chain)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
