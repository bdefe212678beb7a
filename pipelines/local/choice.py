"""From what a person typed to what is run: the compiled pipeline, its arguments, and the run to go on with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components import use_cases
from components.errors import InputError
from components.models import bars
from components.tables import overrides
from pipelines import compiling, ir
from pipelines.local import record
from pipelines.local.record import Run
from pipelines.local.run import Order
from pipelines.local.slots import cores

LAST = "last"
ENVIRONMENT = "laptop"
LOOKED_AT_BYTES = 500_000_000


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
    bars: tuple[str, ...] = ()
    resume: str | None = None
    workers: int = field(default_factory=cores)


def order(wanted: Wanted, home: Path) -> Order:
    """Return what to run.

    Raises:
        InputError: A use case, candidate, run or option does not exist or fit; the message names the choice.
    """
    if wanted.workers < 1:
        raise InputError(f"--workers {wanted.workers}: expected 1 or more")
    earlier = _earlier(home, wanted) if wanted.resume is not None else None
    name = wanted.use_case or (str(earlier.arguments["use_case"]) if earlier else "heart")
    compiled = ir.load(compiling.of(name, home))
    given: dict[str, Any] = dict(earlier.arguments) if earlier else {"use_case": name, "environment": ENVIRONMENT}
    typed = {
        "source": _absolute(wanted.source) if wanted.source is not None else None,
        "target": wanted.target,
        "model": wanted.model,
        "overrides": _checked_overrides(wanted.overrides) if wanted.overrides is not None else None,
        "candidates": use_cases.load(name).chosen(wanted.candidates) if wanted.candidates else None,
        "seed": wanted.seed,
        "bar": _checked_bar(wanted.bars) if wanted.bars else None,
    }
    given.update({key: value for key, value in typed.items() if value is not None})
    lacking = [key for key in ("source", "target") if name == use_cases.OWN_DATA and not given.get(key)]
    if lacking:
        raise InputError(f"{name} needs {' and '.join(lacking)}: give --csv FILE --target COLUMN")
    if earlier is None or typed["source"] or wanted.target or wanted.overrides:
        _check_table(name, given)
    return Order(compiled, given, home, wanted.workers, earlier, name)


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


def _checked_overrides(text: str) -> str:
    overrides.parse(text)
    return text


def _check_table(name: str, given: Mapping[str, Any]) -> None:
    """Look at the header of a person's file, so that a typo costs a second and not a failed run.

    Files of other machines, and large packed ones, are looked at by the first step.
    """
    path = Path(str(given.get("source", "")))
    if name != use_cases.OWN_DATA or not path.is_absolute() or path.stat().st_size > LOOKED_AT_BYTES:
        return
    from components.ingest.step import checked_name
    from components.tables import inference, reading

    chosen = overrides.parse(str(given.get("overrides", "{}")))
    checked_name(str(given.get("model", "")))
    with tempfile.TemporaryDirectory(prefix="headrace-look-") as scratch:
        said = reading.Format(chosen.encoding, chosen.header, chosen.sheet)
        table = reading.open_table(path, Path(scratch), said)
        inference.check_target(table, str(given["target"]))
        overrides.check_columns(chosen, table.names, str(given["target"]))


def _checked_bar(parts: tuple[str, ...]) -> str:
    text = ", ".join(parts)
    bars.parse(text)
    return text


def _absolute(source: str) -> str:
    """Return a source with a path made absolute; steps do not run where the person stands."""
    if "://" in source or not source:
        return source
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        raise InputError(f"{source} is a folder: name one file in it")
    if not path.is_file():
        raise InputError(f"{source}: there is no such file; give a path, a URL or an s3:// address")
    return str(path)
