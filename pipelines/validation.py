"""What is wrong with a compiled pipeline, found offline: what the backend refuses, and what would differ on a laptop.

The KFP server accepts some of these at upload and fails, or does something else, when they run. The rules restate what
KFP 2.17's backend and its executor do; each one has a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.local import conditions, graph, values

if TYPE_CHECKING:
    from pipelines.ir import Compiled

REFUSED = "refused"
"""The backend does not run it."""
DIFFERS = "differs"
"""The backend runs something else than the graph says."""
LOCAL = "laptop"
"""A cluster runs it, the laptop runner does not."""
ADVICE = "advice"
"""It works; something better is known."""

SCHEMA = "2.1.0"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
PLACEHOLDER = re.compile(r"\{\{\$[^}]*\}\}")
EXACT = frozenset({"{{$.pipeline_job_uuid}}", "{{$.pipeline_job_name}}", "{{$.pipeline_task_uuid}}"} | {
    "{{$.pipeline_task_name}}", "{{$.pipeline_job_resource_name}}", "{{$.pipeline_job_create_time_utc}}",
    "{{$.pipeline_job_schedule_time_utc}}",
})  # fmt: skip
"""Replaced by the backend where they are the whole value, and only there."""
HERE = frozenset({"{{$.pipeline_job_uuid}}", "{{$.pipeline_job_name}}"})
"""Of those, the ones a laptop run knows."""
HONOURED = frozenset(
    {"secret_as_env", "config_map_as_env", "active_deadline_seconds", "security_context", "image_pull_policy",
     "image_pull_secret", "pod_metadata", "tolerations", "node_selector", "node_affinity", "pod_affinity"}
)  # fmt: skip
"""Platform settings that change nothing for a step on a laptop, or that the runner honours (variables, time limit)."""
IDENTITY = "run_as_non_root"
SECRET = re.compile(r"(?i)(password|passwd|secret|token|api_?key|access_key)")


@dataclass(frozen=True)
class Finding:
    """Something to know about a compiled pipeline.

    Attributes:
        where: Path of tasks, or an executor.
    """

    level: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.text}"


def check(compiled: Compiled) -> list[Finding]:
    """Return everything found, the worst first."""
    found = [*_document(compiled), *_graph(compiled, compiled.spec.root, compiled.name), *_executors(compiled)]
    order = (REFUSED, DIFFERS, LOCAL, ADVICE)
    return sorted(dict.fromkeys(found), key=lambda finding: (order.index(finding.level), finding.where))


def _document(compiled: Compiled) -> Iterator[Finding]:
    name = compiled.name
    if compiled.spec.schema_version != SCHEMA:
        yield Finding(REFUSED, name, f"schema version {compiled.spec.schema_version!r}, the backend takes {SCHEMA}")
    if not NAME.fullmatch(name) or len(name) > 128:
        yield Finding(REFUSED, name, "a pipeline name has lower-case letters, digits and inner dashes, up to 128")
    if not compiled.spec.root.dag.tasks:
        yield Finding(REFUSED, name, "the pipeline has no tasks")
    for label in sorted(set(compiled.platform) - set(compiled.executors)):
        yield Finding(REFUSED, label, "platform settings of an executor that does not exist")
    for artifact in sorted(compiled.spec.root.input_definitions.artifacts):
        yield Finding(LOCAL, name, f"input artifact {artifact!r}: a laptop run starts from parameters")
    for parameter, spec in sorted(compiled.spec.root.input_definitions.parameters.items()):
        if SECRET.search(parameter):
            yield Finding(DIFFERS, name, f"parameter {parameter!r} looks like a credential: the server stores and "
                          "shows parameters in clear; refer to a Secret")  # fmt: skip
        listed = compiled.choices(parameter)
        if listed and spec.HasField("default_value") and values.from_protobuf(spec.default_value) not in listed:
            yield Finding(REFUSED, name, f"parameter {parameter!r} defaults to a value that its list lacks")
        if "" in listed:
            yield Finding(
                DIFFERS, name, f"parameter {parameter!r} lists an empty value, which the UI shows as no choice"
            )
    if len(compiled.spec.SerializeToString()) > 700_000:
        yield Finding(REFUSED, name, "larger than 700 kB, more than a workflow may be")


def _graph(compiled: Compiled, component: Any, path: str) -> Iterator[Finding]:
    tasks = component.dag.tasks
    for name, task in sorted(tasks.items()):
        where = f"{path}/{name}"
        missing = [needed for needed in task.dependent_tasks if needed not in tasks]
        if missing:
            yield Finding(REFUSED, where, f"depends on {missing[0]!r}, which is not in its graph")
        if task.component_ref.name not in compiled.components:
            yield Finding(REFUSED, where, f"component {task.component_ref.name!r} is not defined")
            continue
        inner = compiled.components[task.component_ref.name]
        yield from _task(compiled, task, inner, where)
        if inner.WhichOneof("implementation") == "dag":
            yield from _graph(compiled, inner, where)
    yield from _exits(component, path)
    for key, spec in component.dag.outputs.parameters.items():
        if spec.WhichOneof("kind") is None:
            yield Finding(REFUSED, path, f"output {key!r} comes from nowhere")


def _task(compiled: Compiled, task: Any, inner: Any, where: str) -> Iterator[Finding]:
    if task.WhichOneof("iterator") == "artifact_iterator":
        yield Finding(REFUSED, where, "a loop over artifacts: the backend has none; loop over names or numbers")
    condition = task.trigger_policy.condition
    if condition:
        try:
            conditions.check(condition, task.inputs.parameters)
        except conditions.BadCondition as error:
            yield Finding(REFUSED, where, f"{error}; a text with quotes cannot be compared, compare a bool output")
        if inner.executor_label and compiled.executors[inner.executor_label].WhichOneof("spec") == "importer":
            yield Finding(REFUSED, where, "a condition on an importer: put it inside dsl.If")
    for name, spec in task.inputs.parameters.items():
        if spec.WhichOneof("kind") == "runtime_value":
            yield from _constant(name, spec.runtime_value.constant, task, where)
        if spec.WhichOneof("kind") == "task_final_status" and not graph.is_exit(task):
            yield Finding(REFUSED, where, "asks for a final status, but is no exit task")


def _constant(name: str, value: Any, task: Any, where: str) -> Iterator[Finding]:
    text = value.string_value if value.WhichOneof("kind") == "string_value" else ""
    for placeholder in PLACEHOLDER.findall(text):
        other = re.fullmatch(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}", placeholder)
        if other is not None:
            if other[1] not in task.inputs.parameters:
                yield Finding(REFUSED, where, f"{name!r} refers to {other[1]!r}, which the task does not get")
        elif placeholder not in EXACT:
            yield Finding(DIFFERS, where, f"{name!r} holds {placeholder}, which the backend does not replace")
        elif placeholder != text:
            yield Finding(DIFFERS, where, f"{name!r} holds {placeholder} inside a longer text: the backend replaces it "
                          "only where it is the whole value; join them inside the step")  # fmt: skip
        elif placeholder not in HERE:
            yield Finding(LOCAL, where, f"{name!r} is {placeholder}, which a laptop run does not know")


def _exits(component: Any, path: str) -> Iterator[Finding]:
    tasks = component.dag.tasks
    exits = {name for name, task in tasks.items() if graph.is_exit(task)}
    for name in sorted(exits):
        upstream = list(tasks[name].dependent_tasks)
        if len(upstream) != 1 or not upstream[0].startswith("exit-handler-"):
            yield Finding(DIFFERS, f"{path}/{name}", "ignore_upstream_failure: the backend makes it an exit hook, "
                          "which others cannot depend on; use dsl.ExitHandler")  # fmt: skip
    for name, task in sorted(tasks.items()):
        if exits & set(task.dependent_tasks):
            yield Finding(REFUSED, f"{path}/{name}", "depends on an exit task, which is not part of the graph")


def _executors(compiled: Compiled) -> Iterator[Finding]:
    for label, executor in sorted(compiled.executors.items()):
        kind = executor.WhichOneof("spec")
        if kind == "container":
            yield from _container(label, executor.container)
        elif kind != "importer":
            yield Finding(REFUSED, label, f"a {kind} executor: the backend runs containers and importers")
        elif "://" in executor.importer.artifact_uri.constant.string_value:
            yield Finding(LOCAL, label, "imports a remote artifact: a laptop run imports local paths only")
        if label in compiled.platform:
            yield from _platform(label, compiled.platform[label])


def _container(label: str, container: Any) -> Iterator[Finding]:
    command = list(container.command)
    if "pip install" in " ".join(command):
        yield Finding(ADVICE, label, "installs packages when it runs: set install_kfp_package=False, bake the image")
        yield Finding(LOCAL, label, "installs packages when it runs: a laptop run uses those that are there")
    elif len(command) != 4 or command[:2] != ["sh", "-ec"] or "kfp.dsl.executor_main" not in command[2]:
        yield Finding(LOCAL, label, "is no lightweight Python component: it needs its container")
    elif list(container.args[:3]) != ["--executor_input", "{{$}}", "--function_to_execute"]:
        yield Finding(LOCAL, label, "takes other arguments than a lightweight Python component")
    if "{{$" in "".join(command):
        yield Finding(DIFFERS, label, "its source holds {{$, which the backend replaces inside it")
    if "/kfp-workspace" in json.dumps([*command, *container.args]):
        yield Finding(LOCAL, label, "uses the workspace volume")
    if "@sha256:" not in container.image:
        yield Finding(ADVICE, label, f"image {container.image} is not named by digest: a moved tag is not noticed")
    for item in container.env:
        if SECRET.search(item.name) and item.value:
            yield Finding(DIFFERS, label, f"variable {item.name} holds its value in clear: refer to a Secret")


def _platform(label: str, config: Any) -> Iterator[Finding]:
    for field, _ in config.ListFields():
        if field.name not in HONOURED:
            yield Finding(LOCAL, label, f"platform setting {field.name} has no meaning on a laptop")
    for source in [*config.secret_as_env, *config.config_map_as_env]:
        name = source.secret_name_parameter if hasattr(source, "secret_name_parameter") else (
            source.config_map_name_parameter
        )  # fmt: skip
        if name.WhichOneof("kind") != "runtime_value":
            yield Finding(LOCAL, label, "the name of a Secret or ConfigMap comes from another task")
    if not getattr(config.security_context, IDENTITY):
        yield Finding(ADVICE, label, "may run as root: set run_as_non_root for restricted namespaces")
