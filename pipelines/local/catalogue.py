"""What there is to choose from: runs, use cases, versions of data sets and of models."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from components import settings, use_cases
from components.errors import InputError, meant
from pipelines.local import record, registered, services, summary
from pipelines.local.summary import moment

if TYPE_CHECKING:
    from components.settings import Settings


def lines(what: str, home: Path, model: str) -> list[str]:
    """Return a table of runs, usecases, datasets or versions.

    Args:
        model: Only of this model; empty means all.
    """
    if what == "usecases":
        rows = [(case.name, case.title, ", ".join(one.name for one in case.candidates)) for case in _use_cases()]
        return summary.table(rows, ("USE CASE", "", "CANDIDATES"))
    if what == "runs":
        return summary.listed_runs(run for run in record.runs(home) if model in ("", run.pipeline))
    if what == "versions":
        return _versions(settings.read({"HEADRACE_HOME": str(home), **os.environ}), model)
    with services.running(home) as reached:
        return _datasets(settings.read({**os.environ, **reached}), model)


def fetch(home: Path, model: str, version: str, folder: Path) -> Path:
    """Download a version of a data set and return its folder.

    Args:
        version: Its hash, or the only beginning that fits.

    Raises:
        InputError: There is no such version, or the folder exists.
    """
    from components import datasets

    if folder.exists():
        raise InputError(f"{folder} exists: name a folder that does not")
    with services.running(home) as reached:
        known = settings.read({**os.environ, **reached})
        found = [one.version for one in datasets.versions(known, model) if one.version.startswith(version)]
        if len(found) != 1:
            raise InputError(
                f"{len(found)} versions of {model!r} begin with {version!r}: see python -m pipelines list datasets"
            )
        return datasets.fetch(known, model, found[0], folder).folder


def _use_cases() -> Iterable[use_cases.UseCase]:
    return (use_cases.load(name) for name in use_cases.names())


def _datasets(known: Settings, model: str) -> list[str]:
    from components import datasets
    from components.store import Address, Store

    keys = Store(known).keys(Address(known.datasets_bucket, model))
    models = dict.fromkeys(address.key.partition("/")[0] for address in keys)
    rows = [
        (one.model, one.version, "validated" if one.validated else "", moment(one.published))
        for name in models
        for one in datasets.versions(known, name)
    ]
    return summary.table(rows, ("MODEL", "VERSION", "", "PUBLISHED")) if rows else ["no data sets yet: make run"]


def _versions(known: Settings, model: str) -> list[str]:
    from components import tracking

    every = registered.models(known)
    if model and model not in every:
        raise InputError(
            f"there is no model {model!r}{meant(model, every)}: choose one of {', '.join(every) or 'none'}"
        )
    names = [model] if model else every
    rows = []
    for name in names:
        serving = registered.champion(known, name)
        for one in registered.versions(known, name):
            mark = "champion" if str(one.number) == serving else ""
            here = known.home / "served" / name / str(one.number)
            place = summary.near(here) if here.is_dir() else one.uri
            rows.append((name, one.number, mark, one.tags.get(tracking.CANDIDATE_TAG, ""), place))
    head = ("MODEL", "VERSION", "", "CANDIDATE", "BUNDLE")
    return summary.table(rows, head) if rows else ["no versions yet: make run"]
