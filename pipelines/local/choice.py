"""From what a person typed to what is run: the compiled pipeline, its arguments, and the run to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import use_cases
from components.errors import InputError
from pipelines import compiling, ir
from pipelines.local import record, values
from pipelines.local.record import Run
from pipelines.local.run import WORKERS, Order

LAST = "last"
ENVIRONMENT = "laptop"
EXAMPLE = """'{"kinds": {"zip": "category"}}'"""


@dataclass(frozen=True)
class Wanted:
    """The options of `run`, as typed; None where an option was not given."""

    use_case: str | None = None
    source: str | None = None
    target: str | None = None
    model: str | None = None
    overrides: str | None = None
    candidates: tuple[str, ...] = ()
    seed: int | None = None
    resume: str | None = None
    workers: int = WORKERS


def order(wanted: Wanted, home: Path) -> Order:
    """Return what to run.

    Raises:
        InputError: A use case, candidate, run or option does not exist or fit; the message names the choice.
    """
    if wanted.workers < 1:
        raise InputError(f"--workers {wanted.workers}: expected 1 or more")
    earlier = _earlier(home, wanted) if wanted.resume is not None else None
    name = wanted.use_case or (str(earlier.arguments["use_case"]) if earlier else "heart")
    compiled = _pipeline(name, home)
    given: dict[str, Any] = dict(earlier.arguments) if earlier else {"environment": ENVIRONMENT}
    typed = {
        "source": _absolute(wanted.source) if wanted.source is not None else None,
        "target": wanted.target,
        "model": wanted.model,
        "overrides": _checked_json(wanted.overrides) if wanted.overrides is not None else None,
        "candidates": _checked_candidates(wanted.candidates, compiled) if wanted.candidates else None,
        "seed": wanted.seed,
    }
    given.update({key: value for key, value in typed.items() if value is not None})
    required = (key for key, spec in _parameters(compiled).items() if not spec.is_optional)
    lacking = sorted(key for key in required if not given.get(key))
    if lacking:
        raise InputError(f"{name} needs {' and '.join(lacking)}: give --csv FILE --target COLUMN")
    return Order(compiled, given, home, wanted.workers, earlier)


def find(home: Path, identifier: str, use_case: str | None = None) -> Run:
    """Return a run by its id, or by the only beginning that fits; `last` is the newest.

    Raises:
        InputError: There is none, or several.
    """
    runs = [run for run in record.runs(home) if use_case in (None, run.pipeline)]
    if not runs:
        raise InputError(f"no run is recorded in {home}{f' for {use_case}' if use_case else ''}: start one first")
    if identifier == LAST:
        return runs[-1]
    fitting = [run for run in runs if run.identifier.startswith(identifier)]
    exact = [run for run in fitting if run.identifier == identifier]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    if fitting:
        raise InputError(f"run {identifier!r} is ambiguous: {', '.join(run.identifier for run in fitting)}")
    newest = ", ".join(run.identifier for run in runs[-5:])
    raise InputError(f"unknown run {identifier!r}: the newest are {newest}")


def _earlier(home: Path, wanted: Wanted) -> Run:
    run = find(home, wanted.resume or LAST, wanted.use_case)
    if "use_case" not in run.arguments:
        raise InputError(f"run {run.identifier} is not one of a use case")
    return run


def _checked_candidates(names: tuple[str, ...], compiled: ir.Compiled) -> list[str]:
    known = values.from_protobuf(_parameters(compiled)["candidates"].default_value)
    for name in names:
        if name not in known:
            raise InputError(f"unknown candidate {name!r} of {compiled.name}: choose one of {', '.join(known)}")
    return list(dict.fromkeys(names))


def _parameters(compiled: ir.Compiled) -> Mapping[str, Any]:
    parameters: Mapping[str, Any] = compiled.spec.root.input_definitions.parameters
    return parameters


def _checked_json(text: str) -> str:
    try:
        if isinstance(json.loads(text), dict):
            return text
    except ValueError:
        pass
    raise InputError(f"--override {text!r}: expected a JSON object, such as {EXAMPLE}")


def _absolute(source: str) -> str:
    """Return a source with a path made absolute; steps do not run where the person stands."""
    if "://" in source or not source:
        return source
    path = Path(source).expanduser().absolute()
    if not path.is_file():
        raise InputError(f"{source}: there is no such file; give a path, a URL or an s3:// address")
    return str(path)


def _pipeline(name: str, home: Path) -> ir.Compiled:
    """Return the compiled pipeline of a use case; one without a committed file, such as a new one, is compiled now.

    The use case itself is not loaded: that would load scikit-learn, which only steps need.
    """
    if name not in use_cases.names():
        raise InputError(f"unknown use case {name!r}: choose one of {', '.join(use_cases.names())}")
    committed = compiling.FOLDER / f"{name}.yaml"
    try:
        return ir.load(committed if committed.is_file() else compiling.compile_one(name, home.absolute() / "compiled"))
    except ir.Unreadable as error:
        raise InputError(str(error)) from error
