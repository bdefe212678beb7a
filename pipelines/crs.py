"""The compiled pipeline as Kubernetes objects, for a KFP that keeps its pipelines there and for GitOps.

A `PipelineVersion` cannot be changed, so its name carries the digest of its content: the same name that `submit` gives
it, so that the two ways do not upload a version twice.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.errors import InputError
from pipelines import ir
from pipelines.kfpserver.uploads import version_name

API = "pipelines.kubeflow.org/v2beta1"
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def objects(path: Path, namespace: str) -> list[dict[str, Any]]:
    """Return the `Pipeline` and the `PipelineVersion` of a compiled file.

    Raises:
        InputError: The namespace is not one.
    """
    if not NAMESPACE.fullmatch(namespace):
        raise InputError(f"namespace {namespace!r}: expected lower-case letters, digits and '-', up to 63")
    compiled = ir.load(path)
    specification, platform = _documents(path)
    description = compiled.spec.pipeline_info.description
    version = version_name(path)
    content = {"pipelineName": compiled.name, "displayName": version, "pipelineSpec": specification}
    if platform:
        content["platformSpec"] = platform
    return [
        _object("Pipeline", compiled.name, namespace, {"displayName": compiled.name, "description": description}),
        _object("PipelineVersion", version, namespace, content),
    ]


def add_options(compile_verb: argparse.ArgumentParser) -> None:
    """Let `compile` write Kubernetes objects on request."""
    compile_verb.add_argument("--kubernetes", action="store_true", help="as Kubernetes objects, on the output")
    compile_verb.add_argument("--namespace", default="kubeflow", metavar="NAME", help="of those objects [kubeflow]")
    plain: Callable[[argparse.Namespace, Path], int] = compile_verb.get_default("verb")
    compile_verb.set_defaults(verb=lambda options, home: (_write if options.kubernetes else plain)(options, home))


def _write(options: argparse.Namespace, home: Path) -> int:
    """Write the objects into a file below --output, else on the output for `kubectl apply -f -`."""
    import yaml

    from pipelines import compiling

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    path = compiling.write(home / "compiled")
    text = yaml.dump_all(
        objects(path, options.namespace), Dumper=dumper, sort_keys=False, explicit_start=True, width=120
    )
    if options.output is None:
        sys.stdout.write(text)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / path.name).write_text(text)
    if not options.quiet:
        sys.stdout.write(f"{options.output / path.name}\n")
    return 0


def _documents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = [document for document in yaml.load_all(path.read_text(), Loader=loader) if document]
    platforms = [document for document in found if "platforms" in document]
    return next(document for document in found if "pipelineInfo" in document), platforms[0] if platforms else {}


def _object(kind: str, name: str, namespace: str, specification: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in specification.items() if value}
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": kept}
