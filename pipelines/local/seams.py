"""The parts of kfp.local that the runner leans on, and the check that they are still what it was written against.

kfp.local keeps what it does well: it builds the input of a task, reads its outputs and artifacts, and knows importers.
The walk over the graph is ours (graph.py, engine.py), because kfp.local 2.17 runs tasks one after another and answers
some graphs with wrong values or silently skipped branches. None of these functions is documented, so an upgrade is
found here and in tests/pipelines, not in a run.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.local.values import canonical

EXPECTED = {
    ("kfp.local.executor_input_utils", "construct_executor_input"): (
        "component_spec",
        "arguments",
        "task_root",
        "block_input_artifact",
    ),
    ("kfp.local.executor_input_utils", "executor_input_to_dict"): ("executor_input", "component_spec"),
    ("kfp.local.executor_output_utils", "get_outputs_for_task"): ("executor_input", "component_spec"),
    ("kfp.local.importer_handler", "get_artifact_class_from_schema_title"): ("schema_title",),
}
"""Module and function -> its parameters in kfp 2.17.0."""


class SeamMoved(RuntimeError):
    """kfp.local is not the version this runner was written against."""


def check() -> None:
    """Make sure that kfp.local has the functions the runner calls.

    Raises:
        SeamMoved: One is gone or takes other parameters.
    """
    import importlib

    for (module, name), parameters in EXPECTED.items():
        function = getattr(importlib.import_module(module), name, None)
        found = None if function is None else tuple(inspect.signature(function).parameters)
        if found != parameters:
            raise SeamMoved(
                f"{module}.{name} has the parameters {found}, expected {parameters}: install kfp==2.17.0, or adapt "
                "pipelines/local/seams.py and run tests/pipelines"
            )


def executor_input(component: Any, arguments: Mapping[str, Any], artifacts: Mapping[str, Any], root: Path) -> Any:
    """Return the input of a task as message and as the object that its command gets.

    kfp.local sends numbers through a protobuf value, where 100 becomes 100.0; parameters are therefore set here as a
    cluster writes them.

    Args:
        arguments: Parameter name -> canonical value; None is left out.
        artifacts: Artifact name -> artifact, or list of them.
    """
    from kfp.local import executor_input_utils

    bare = copy.deepcopy(component)
    bare.input_definitions.parameters.clear()
    message = executor_input_utils.construct_executor_input(
        component_spec=bare, arguments=dict(artifacts), task_root=str(root), block_input_artifact=False
    )
    document = canonical(executor_input_utils.executor_input_to_dict(executor_input=message, component_spec=bare))
    given = {name: canonical(value) for name, value in arguments.items() if value is not None}
    if given:
        document.setdefault("inputs", {})["parameterValues"] = given
    return message, document


def outputs(component: Any, message: Any, root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters and the artifacts that a finished task wrote."""
    from kfp.local import executor_output_utils

    found = executor_output_utils.get_outputs_for_task(executor_input=message, component_spec=component)
    artifacts = {name: found[name] for name in component.output_definitions.artifacts if name in found}
    written = root / "executor_output.json"
    raw = json.loads(written.read_text()).get("parameterValues", {}) if written.is_file() else {}
    parameters = {
        name: canonical(raw.get(name, found.get(name)))
        for name in component.output_definitions.parameters
        if name in raw or name in found
    }
    return parameters, artifacts


def artifact(title: str, name: str, uri: str, metadata: Mapping[str, Any]) -> Any:
    """Return an artifact object of a schema title, such as `system.Model`."""
    from kfp.local import importer_handler

    kind = importer_handler.get_artifact_class_from_schema_title(title)
    return kind(name=name, uri=uri, metadata=dict(metadata))
