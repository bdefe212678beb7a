"""Walks a compiled graph: starts what is ready, a few tasks at a time, and stops where a cluster would stop."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.local import graph, record
from pipelines.local.graph import Scope
from pipelines.local.slots import Slots

if TYPE_CHECKING:
    from pipelines.ir import Compiled

Outputs = tuple[Mapping[str, Any], Mapping[str, Any]]
BRANCHES = "condition-branches-"


class TaskFailed(Exception):
    """A task, or a graph within the graph, did not succeed; the message names the innermost one."""


class Stopped(Exception):
    """The run was asked to stop."""


@dataclass(frozen=True)
class Call:
    """One task about to run.

    Attributes:
        path: Where it stands: names and loop positions, joined by `/`.
        label: For people.
    """

    path: str
    name: str
    label: str
    spec: Any
    component: str
    parameters: Mapping[str, Any]
    artifacts: Mapping[str, Any]


class Runner(Protocol):
    """What runs a single task."""

    def run(self, call: Call) -> Outputs:
        """Return the outputs of a task.

        Raises:
            TaskFailed: It failed, after its retries.
            Stopped: The run was asked to stop.
        """

    def skip(self, path: str, label: str) -> None:
        """Note that a task is not going to run."""


class Engine:
    """Runs the graph of a compiled pipeline."""

    def __init__(self, compiled: Compiled, runner: Runner, placeholders: Mapping[str, str], workers: int) -> None:
        """Take everything a run needs.

        Args:
            placeholders: Such as that of the run id -> its value.
            workers: How many tasks run at the same time.
        """
        self._compiled = compiled
        self._runner = runner
        self._placeholders = placeholders
        self._slots = Slots(workers)
        self._stopping = threading.Event()
        self._failed = threading.Event()

    def stop(self) -> None:
        """Start no further task."""
        self._stopping.set()

    def run(self, arguments: Mapping[str, Any]) -> Outputs:
        """Run the whole graph and return its outputs.

        Raises:
            GraphError: An argument does not fit.
            TaskFailed: A task failed; what ran beside it has ended, and nothing was started after it.
            Stopped: `stop` was called.
        """
        root = self._compiled.spec.root
        return self._graph(root, Scope(graph.defaults(root, arguments), {}), "", "")

    def _graph(self, component: Any, scope: Scope, path: str, suffix: str) -> Outputs:
        """Run one graph; its tasks run in threads, its bookkeeping in this one."""
        tasks = dict(sorted(component.dag.tasks.items()))
        waiting = {name: set(task.dependent_tasks) for name, task in tasks.items()}
        self._check_branches(path, tasks, scope)
        done: queue.Queue[tuple[str, Future[Outputs | None]]] = queue.Queue()
        running, failure = 0, None
        while waiting or running:
            ready = [name for name, needed in waiting.items() if needed <= set(scope.states)]
            ready.sort(key=lambda name: self._is_graph(tasks[name]))  # they would take the first turns for their tasks
            if not ready and not running:
                raise TaskFailed(f"{path}{next(iter(waiting))}: it waits for a task that is not in its graph")
            for name in ready:
                del waiting[name]
                if self._is_called(tasks[name], scope, failure):
                    running += 1
                    self._start(done, name, tasks[name], scope, path, suffix)
                else:
                    scope.states[name] = record.SKIPPED
                    self._runner.skip(path + name, _label(tasks[name], name) + suffix)
            if not running:
                continue
            name, future = done.get()
            running -= 1
            try:
                produced = future.result()
            except (TaskFailed, Stopped) as error:
                scope.states[name] = record.FAILED
                failure = failure or error
                self._failed.set()
                continue
            scope.states[name] = record.SKIPPED if produced is None else record.SUCCEEDED
            if produced is not None:
                scope.produced[name] = produced
        if failure is not None:
            raise failure
        return graph.outputs(component, scope)

    def _is_graph(self, task: Any) -> bool:
        return bool(self._compiled.components[task.component_ref.name].WhichOneof("implementation") == "dag")

    def _is_called(self, task: Any, scope: Scope, failure: Exception | None) -> bool:
        """Return whether a task whose upstream has ended is run at all: an exit task always, others after success."""
        if self._stopping.is_set():
            return False
        if graph.is_exit(task):
            return True
        return failure is None and all(scope.states[name] == record.SUCCEEDED for name in task.dependent_tasks)

    def _start(self, done: Any, name: str, task: Any, scope: Scope, path: str, suffix: str) -> None:
        future: Future[Outputs | None] = Future()

        def work() -> None:
            try:
                future.set_result(self._task(name, task, scope, path, suffix))
            except (TaskFailed, Stopped) as error:
                future.set_exception(error)
            except Exception as error:
                future.set_exception(TaskFailed(f"{path}{name}: {error}").with_traceback(error.__traceback__))
            done.put((name, future))

        threading.Thread(target=work, name=path + name, daemon=True).start()

    def _task(self, name: str, task: Any, scope: Scope, path: str, suffix: str) -> Outputs | None:
        """Run one task, whatever it is; None when its condition does not hold."""
        parameters, artifacts = graph.resolve(task, scope, self._placeholders)
        component = self._compiled.components[task.component_ref.name]
        if not graph.taken(task, parameters):
            self._runner.skip(path + name, _label(task, name) + suffix)
            return None
        if task.WhichOneof("iterator") == "parameter_iterator":
            return self._loop(name, task, component, parameters, artifacts, path, suffix)
        if component.WhichOneof("implementation") == "dag":
            inner = Scope(self._inputs(component, parameters), artifacts)
            return self._graph(component, inner, f"{path}{name}/", suffix)
        label = name + suffix
        given = self._inputs(component, parameters)
        call = Call(path + name, name, label, task, task.component_ref.name, given, artifacts)
        with self._slot(call.path.count("/"), whatever=graph.is_exit(task)):
            return self._runner.run(call)

    def _inputs(self, component: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a component is called with: declared ones typed and defaulted, injected ones as they are."""
        declared = component.input_definitions.parameters
        given = {name: value for name, value in parameters.items() if name in declared and value is not None}
        extra = {name: value for name, value in parameters.items() if name not in declared}
        return {**extra, **graph.defaults(component, given)}

    def _loop(
        self,
        name: str,
        task: Any,
        component: Any,
        parameters: Mapping[str, Any],
        artifacts: Mapping[str, Any],
        path: str,
        suffix: str,
    ) -> Outputs:
        """Run the body of a loop once per item, as many at a time as the graph allows."""
        items = graph.items(task, parameters)
        key = task.parameter_iterator.item_input
        limit = threading.BoundedSemaphore(task.iterator_policy.parallelism_limit or max(1, len(items)))
        futures: list[Future[Outputs]] = [Future() for _ in items]
        broken = threading.Event()

        def work(position: int, item: Any) -> None:
            inner = Scope({**parameters, key: item}, artifacts)
            try:
                with limit:
                    if broken.is_set() or self._stopping.is_set():
                        raise Stopped
                    outputs = self._graph(component, inner, f"{path}{name}/{position}/", f"{suffix} {_shown(item)}")
                futures[position].set_result(outputs)
            except (TaskFailed, Stopped) as error:
                broken.set()
                futures[position].set_exception(error)
            except Exception as error:
                broken.set()
                futures[position].set_exception(TaskFailed(f"{path}{name}/{position}: {error}"))

        threads = [
            threading.Thread(target=work, args=pair, name=f"{path}{name}/{pair[0]}", daemon=True)
            for pair in enumerate(items)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise next((error for error in errors if isinstance(error, TaskFailed)), errors[0])
        return graph.collect(component, [future.result() for future in futures])

    def _check_branches(self, path: str, tasks: Mapping[str, Any], scope: Scope) -> None:
        """Make sure before any branch runs that a gate takes exactly one: at most one without an `Else`.

        Raises:
            TaskFailed: It does not.
        """
        if not path.rstrip("/").rpartition("/")[2].startswith(BRANCHES):
            return
        names = graph.in_order(tasks)
        try:
            chosen = [n for n in names if graph.taken(tasks[n], graph.resolve(tasks[n], scope, self._placeholders)[0])]
        except ValueError as error:
            raise TaskFailed(f"{path.rstrip('/')}: {error}") from error
        whole = graph.has_else(tasks[name].trigger_policy.condition for name in names)
        if len(chosen) > 1 or (whole and not chosen):
            raise TaskFailed(f"{path.rstrip('/')}: the gate takes {len(chosen)} branches, expected exactly one")

    @contextlib.contextmanager
    def _slot(self, depth: int, *, whatever: bool) -> Any:
        """Wait for a turn; once a task has failed no other one gets it, but for exit tasks (`whatever`)."""
        with self._slots.turn(depth):
            if self._stopping.is_set() or (self._failed.is_set() and not whatever):
                raise Stopped
            try:
                yield
            except TaskFailed:
                self._failed.set()  # before the next one gets the turn
                raise


def _label(task: Any, name: str) -> str:
    """Return what a person calls a task or a branch; KFP's numbered groups of branches have no name of their own."""
    return "gate" if name.startswith(BRANCHES) else str(task.task_info.name or name)


def _shown(item: Any) -> str:
    text = item if isinstance(item, str) else str(item)
    return text if len(text) <= 24 else text[:23] + "…"
