"""From what a person typed to what a server is asked for: the compiled file and its arguments, checked before anything
is sent.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components import images, use_cases
from components.errors import InputError
from components.releases import LAPTOP
from pipelines import compiling, ir, validation
from pipelines.local import graph

OPTIONS = {
    "source": "source",
    "target": "target",
    "model": "model",
    "overrides": "override",
    "candidates": "candidate",
    "environment": "environment",
    "strategy": "strategy",
    "seed": "seed",
}
"""Parameter -> the option that sets it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to run."""
    parser.add_argument("--source", metavar="PLACE", help="another place for the data: URL or s3:// address")
    parser.add_argument("--target", metavar="COLUMN", help="the column to predict")
    parser.add_argument("--model", metavar="NAME", help="name to register and serve under")
    parser.add_argument("--override", metavar="JSON", help="replace inferred properties of columns")
    parser.add_argument("--candidate", action="append", metavar="NAME", help="fit only this one; may be repeated")
    parser.add_argument("--environment", metavar="NAME", help="where an accepted winner goes [production]")
    parser.add_argument("--strategy", metavar="NAME", help="how traffic moves: canary or rolling [as it says]")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the split, the search and the models")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="any parameter by its name"
    )
    parser.add_argument("--pipeline", type=Path, metavar="FILE", help="another compiled file than the committed one")


def pipeline(options: argparse.Namespace, home: Path) -> Path:
    """Return the compiled file to upload, compiled now where the images are a registry's of one's own; one that the
    backend would refuse is refused here.

    Raises:
        InputError: There is no such use case, or the file is not usable.
    """
    committed = compiling.of(options.use_case, home)
    if os.environ.get(images.PREFIX):
        committed = compiling.write(home.absolute() / "compiled")
    path = options.pipeline or committed
    try:
        findings = validation.check(ir.load(path))
    except ir.Unreadable as error:
        raise InputError(str(error)) from error
    refused = [str(finding) for finding in findings if finding.level == validation.REFUSED]
    if refused:
        raise InputError(f"{path} would not run on a cluster: {refused[0]}")
    return Path(path)


def parameters(options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Return the use case and the arguments that were given, typed as a compiled file declares them.

    Raises:
        InputError: One is unknown, of another type, none of those to choose from, or out of reach for a pod.
    """
    root = ir.load(path).spec.root
    given = {name: getattr(options, option) for name, option in OPTIONS.items() if getattr(options, option) is not None}
    given.update(_free(options.parameter, root))
    if given.setdefault("use_case", options.use_case) != options.use_case:
        raise InputError(f"--parameter use_case={given['use_case']}: name the use case once, after the verb")
    if options.use_case == use_cases.OWN_DATA and not (given.get("source") and given.get("target")):
        raise InputError(
            f"{options.use_case} needs to know what to predict from which data: give --source and --target"
        )
    try:
        whole = graph.defaults(root, given)
    except ValueError as error:
        raise InputError(str(error)) from error
    _check(options.use_case, whole)
    return {name: whole[name] for name in given}


def _free(texts: Sequence[str], root: Any) -> dict[str, Any]:
    """Return `NAME=VALUE` texts as values; what is not declared as text is JSON."""
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InputError(f"--parameter {text!r}: expected NAME=VALUE")
        spec = root.input_definitions.parameters.get(name)
        try:
            found[name] = value if spec is None or _is_text(spec) else json.loads(value)
        except ValueError as error:
            raise InputError(f'--parameter {text!r}: expected JSON, such as 7, true or ["a"]') from error
    return found


def _is_text(spec: Any) -> bool:
    from kfp.pipeline_spec import pipeline_spec_pb2

    kinds = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
    return bool(spec.parameter_type == kinds.STRING)


def _check(use_case: str, whole: dict[str, Any]) -> None:
    if whole.get("environment") == LAPTOP:
        raise InputError(f"--environment {LAPTOP}: a pod cannot release to a laptop; choose another environment")
    source = str(whole.get("source") or "")
    if source and "://" not in source and not source.startswith("package:"):
        raise InputError(f"--source {source}: a pod cannot read this machine's files; give a URL or an s3:// address")
    if whole.get("candidates"):
        use_cases.load(use_case).chosen(whole["candidates"])
    try:
        if isinstance(json.loads(whole.get("overrides") or "{}"), dict):
            return
    except ValueError:
        pass
    raise InputError(f"--override {whole['overrides']!r}: expected a JSON object")
