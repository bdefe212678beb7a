"""A compiled pipeline, read strictly: what runs here is the file that a cluster gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Unreadable(ValueError):
    """A file is not a compiled pipeline; the message says where it stops being one."""


@dataclass(frozen=True)
class Compiled:
    """The two documents of a compiled pipeline.

    Attributes:
        spec: `PipelineSpec` message.
        executors: Label -> `ExecutorSpec` message.
        platform: Executor label -> `KubernetesExecutorConfig` message.
    """

    name: str
    spec: Any
    executors: Mapping[str, Any]
    platform: Mapping[str, Any]

    @property
    def components(self) -> Mapping[str, Any]:
        """Name -> `ComponentSpec` message."""
        components: Mapping[str, Any] = self.spec.components
        return components

    def executor_of(self, component: str) -> Any:
        """Return the executor of a component that is no graph."""
        return self.executors[self.components[component].executor_label]

    def choices(self, parameter: str) -> tuple[Any, ...]:
        """Return the only values that a parameter of the pipeline takes; empty when it takes any, or is none."""
        declared = self.spec.root.input_definitions.parameters
        return choices(declared[parameter]) if parameter in declared else ()


def choices(spec: Any) -> tuple[Any, ...]:
    """Return the literals of a `ParameterSpec` message."""
    from pipelines.local.values import from_protobuf

    return tuple(from_protobuf(value) for value in spec.literals)


def load(path: Path) -> Compiled:
    """Return a compiled pipeline; unknown fields are errors.

    Raises:
        Unreadable: Not YAML, not one pipeline, or a field that the schema does not know.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreadable(f"{path}: {reason}; python -m pipelines compile writes what can be validated") from error
    return parse(text, str(path))


def parse(text: str, where: str = "pipeline") -> Compiled:
    """Return the compiled pipeline of a text; see `load`."""
    documents = _documents(text, where)
    pipelines = [document for document in documents if "pipelineInfo" in document]
    platforms = [document for document in documents if "platforms" in document]
    if len(pipelines) != 1 or len(platforms) > 1 or len(pipelines) + len(platforms) != len(documents):
        raise Unreadable(
            f"{where}: expected one pipeline document and at most one with platforms, found {len(documents)} documents "
            f"with {len(pipelines)} pipelines; compile the pipeline again"
        )
    return _compiled(pipelines[0], platforms[0] if platforms else {}, where)


def _documents(text: str, where: str) -> list[dict[str, Any]]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except yaml.YAMLError as error:
        raise Unreadable(f"{where}: not YAML: {error}") from error
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise Unreadable(f"{where}: holds no pipeline; compile one with python -m pipelines compile")
    return documents


def _compiled(pipeline: dict[str, Any], platforms: dict[str, Any], where: str) -> Compiled:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    def parsed(document: Any, message: Any, part: str) -> Any:
        try:
            return json_format.ParseDict(document, message)
        except json_format.ParseError as error:
            raise Unreadable(f"{where}: {part}: {error}") from error

    spec = parsed(pipeline, pipeline_spec_pb2.PipelineSpec(), "pipeline")
    if not spec.pipeline_info.name or not spec.HasField("root"):
        raise Unreadable(f"{where}: the pipeline has no name or no root; compile it again")
    executors = {
        label: parsed(executor, pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec(), f"executor {label}")
        for label, executor in pipeline.get("deploymentSpec", {}).get("executors", {}).items()
    }
    unknown = sorted(set(platforms.get("platforms", {})) - {"kubernetes"})
    if unknown:
        raise Unreadable(f"{where}: unknown platform {unknown[0]!r}: only kubernetes is known")
    configs = platforms.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    platform = {
        label: parsed(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig(), f"platform of {label}")
        for label, config in configs.items()
    }
    return Compiled(spec.pipeline_info.name, spec, executors, platform)
