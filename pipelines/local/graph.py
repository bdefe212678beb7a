"""What the graph says: which value goes where, which branch is taken, in which order tasks may start.

All of it as a cluster does it; kfp.local 2.17 replaces outer values inside loops, skips branches on named outputs and
cannot choose between artifacts of branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.local import conditions, values

MISSING = object()


class GraphError(ValueError):
    """The graph asks for something that is not there."""


@dataclass
class Scope:
    """What is known inside one graph: the inputs it was called with, and what its tasks produced so far."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, Any]
    produced: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def output(self, task: str, key: str, kind: int) -> Any:
        """Return an output parameter (kind 0) or artifact (kind 1) of a task, MISSING when it has none."""
        return self.produced[task][kind].get(key, MISSING) if task in self.produced else MISSING


def defaults(component: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a component: what is given, else its default, else None where it is optional.

    Raises:
        GraphError: One is unknown, missing, or of another type.
    """
    specs = component.input_definitions.parameters
    unknown = sorted(set(given) - set(specs))
    if unknown:
        raise GraphError(f"unknown parameter {unknown[0]!r}: choose from {', '.join(sorted(specs)) or 'none'}")
    found = {}
    for name, spec in sorted(specs.items()):
        value = given[name] if name in given else values.from_protobuf(spec.default_value)
        if value is None and not spec.is_optional:
            raise GraphError(f"parameter {name!r} has no value and no default")
        found[name] = typed(name, spec, value)
    return found


def typed(name: str, spec: Any, value: Any) -> Any:
    """Return a value as its declared type has it, canonical.

    Raises:
        GraphError: It is of another type, or none of the values that the parameter lists.
    """
    if value is None:
        return None
    value = values.canonical(value)
    kind = _kind(spec)
    accepted = {
        "STRING": isinstance(value, str),
        "BOOLEAN": isinstance(value, bool),
        "NUMBER_INTEGER": isinstance(value, int) and not isinstance(value, bool),
        "NUMBER_DOUBLE": isinstance(value, int | float) and not isinstance(value, bool),
        "LIST": isinstance(value, list),
        "STRUCT": isinstance(value, dict),
    }
    if not accepted.get(kind, True):
        raise GraphError(f"parameter {name!r} is {value!r}, expected {kind.lower().replace('number_', '')}")
    listed = [values.from_protobuf(literal) for literal in spec.literals]
    if listed and value not in listed:
        raise GraphError(f"parameter {name!r} is {value!r}, expected one of {', '.join(map(str, listed))}")
    return value


def _kind(spec: Any) -> str:
    from kfp.pipeline_spec import pipeline_spec_pb2

    return str(pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(spec.parameter_type))


def resolve(task: Any, scope: Scope, run: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters and artifacts a task is called with; a value that is absent is None.

    Args:
        run: Placeholder -> value, such as the run id.
    """
    parameters = {name: _parameter(spec, scope, run) for name, spec in task.inputs.parameters.items()}
    parameters = {name: _filled(value, parameters, task, name) for name, value in parameters.items()}
    artifacts = {name: _artifact(spec, scope) for name, spec in task.inputs.artifacts.items()}
    return parameters, {name: value for name, value in artifacts.items() if value is not None}


def _parameter(spec: Any, scope: Scope, run: Mapping[str, str]) -> Any:
    kind = spec.WhichOneof("kind")
    if kind == "runtime_value":
        value = values.from_protobuf(spec.runtime_value.constant)
        return run.get(value, value) if isinstance(value, str) else value
    if kind == "task_output_parameter":
        source = spec.task_output_parameter
        value = _required(scope, source.producer_task, source.output_parameter_key, 0)
    elif kind == "component_input_parameter":
        value = scope.parameters.get(spec.component_input_parameter)
    elif kind == "task_final_status":
        return _final_status(scope, spec.task_final_status.producer_task, run)
    else:
        raise GraphError(f"an input of kind {kind} is not known")
    selector = spec.parameter_expression_selector
    return values.select(value, selector) if selector else value


def _artifact(spec: Any, scope: Scope) -> Any:
    if spec.WhichOneof("kind") == "task_output_artifact":
        source = spec.task_output_artifact
        return _required(scope, source.producer_task, source.output_artifact_key, 1)
    return scope.artifacts.get(spec.component_input_artifact)


def _required(scope: Scope, task: str, key: str, kind: int) -> Any:
    value = scope.output(task, key, kind)
    if value is MISSING:
        raise GraphError(f"task {task!r} wrote no output {key!r}")
    return value


def _final_status(scope: Scope, task: str, run: Mapping[str, str]) -> dict[str, Any]:
    return {
        "state": "SUCCEEDED" if scope.states.get(task) == "succeeded" else "FAILED",
        "pipelineJobResourceName": run.get("{{$.pipeline_job_name}}", ""),
        "pipelineTaskName": task,
        "error": {},
    }


def _filled(value: Any, parameters: Mapping[str, Any], task: Any, name: str) -> Any:
    """Return a constant text with references to other inputs of the task replaced (an f-string in the graph).

    Only constants of the graph are looked at: a text that a step produced is data, whatever it looks like.
    """
    spec = task.inputs.parameters[name]
    if not isinstance(value, str) or spec.WhichOneof("kind") != "runtime_value" or "{{$" not in value:
        return value
    for other, found in parameters.items():
        shown = found if isinstance(found, str) else _json(found)
        value = value.replace(f"{{{{$.inputs.parameters['{other}']}}}}", shown)
    return value


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def items(task: Any, parameters: Mapping[str, Any]) -> list[Any]:
    """Return what a loop runs over.

    Raises:
        GraphError: That is no list.
    """
    import json

    source = task.parameter_iterator.items
    value = json.loads(source.raw) if source.raw else parameters.get(source.input_parameter)
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, list):
        raise GraphError(f"a loop runs over {value!r}, which is no list")
    return [values.canonical(item) for item in value]


def outputs(component: Any, scope: Scope) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a graph gives back: outputs of its tasks, or of the one branch that ran.

    Raises:
        GraphError: None of the branches, or more than one, has it.
    """
    parameters, artifacts = {}, {}
    for key, spec in component.dag.outputs.parameters.items():
        choice = (
            [spec.value_from_parameter]
            if spec.WhichOneof("kind") == "value_from_parameter"
            else list(spec.value_from_oneof.parameter_selectors)
        )
        found = [scope.output(one.producer_subtask, one.output_parameter_key, 0) for one in choice]
        parameters[key] = _only(found, key)
    for key, spec in component.dag.outputs.artifacts.items():
        found = [scope.output(one.producer_subtask, one.output_artifact_key, 1) for one in spec.artifact_selectors]
        artifacts[key] = _only(found, key)
    return parameters, artifacts


def _only(found: Iterable[Any], key: str) -> Any:
    present = [value for value in found if value is not MISSING]
    if len(present) != 1:
        raise GraphError(f"output {key!r} comes from {len(present)} branches, expected exactly one")
    return present[0]


def collect(
    component: Any, rounds: list[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the outputs of a loop: a list per output, in the order of the items; lists of artifacts are flattened."""
    parameters = {key: [one[0].get(key) for one in rounds] for key in component.dag.outputs.parameters}
    artifacts: dict[str, Any] = {}
    for key in component.dag.outputs.artifacts:
        found = [one[1].get(key) for one in rounds]
        artifacts[key] = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return parameters, artifacts


def taken(task: Any, parameters: Mapping[str, Any]) -> bool:
    """Return whether the condition of a task holds; one without a condition always runs."""
    condition = task.trigger_policy.condition
    return not condition or conditions.holds(condition, parameters)


def has_else(branches: Iterable[str]) -> bool:
    """Return whether a group of branches ends in an `Else`, given its conditions in order.

    KFP writes each condition as the negations of those before it and its own comparison; an `Else` has none of its own.
    """
    negated: list[str] = []
    for condition in branches:
        before = " && ".join(negated)
        if negated and condition == before:
            return True
        negated.append(f"!({condition[len(before) + 4 :] if negated else condition})")
    return False


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of tasks by the number KFP put at their end: the order in which the graph was written."""
    return sorted(names, key=lambda name: (int(name.rpartition("-")[2]) if name[-1:].isdigit() else 0, name))


def is_exit(task: Any) -> bool:
    """Return whether a task runs even when what it depends on failed."""
    from kfp.pipeline_spec import pipeline_spec_pb2

    strategy = pipeline_spec_pb2.PipelineTaskSpec.TriggerPolicy.TriggerStrategy
    return bool(task.trigger_policy.strategy == strategy.ALL_UPSTREAM_TASKS_COMPLETED)
