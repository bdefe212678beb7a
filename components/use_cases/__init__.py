"""What a use case is, and the list of them: one file of this folder each, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.errors import InputError
from serving.schema import Kind, Label, Schema, Task

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

OWN_DATA = "csv"
"""The use case of a table that a person names: it has neither a source nor a target of its own."""


@dataclass(frozen=True)
class Source:
    """Where the data of a use case comes from.

    Attributes:
        location: A URL, an `s3://` address, a path, or a file that an installed package ships
            (`package:name/path/inside`); empty when the person names it.
        sha256: Of the file's bytes; None only for data that a person names.
        file: Its name in a mirror folder (`HEADRACE_MIRROR`), for machines that reach no network.
    """

    location: str
    sha256: str | None
    file: str
    licence: str
    credit: str


@dataclass(frozen=True)
class Expected:
    """What one column must look like for a data set to be accepted by `validate`.

    Attributes:
        categories: The only values accepted (None: any).
        missing_share: The largest accepted share of missing values.
    """

    kind: Kind
    unit: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str | int | float, ...] | None = None
    missing_share: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """A model the use case proposes.

    Attributes:
        build: Returns an unfitted scikit-learn pipeline for a schema and a seed; its input is the float64 matrix
            [rows, columns] of encoded values (missing is NaN, an unseen category -1), so imputation, scaling and
            one-hot encoding are steps of this pipeline.
        space: Parameter name of the pipeline -> values to try; empty fits once. It may name parameters of every model
            that `build` chooses between by task; those that a pipeline lacks are skipped.
        search: `grid` tries all, `halving` gives more rows to better settings (successive halving).
    """

    name: str
    build: Callable[[Schema, int], Pipeline]
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    search: Literal["grid", "halving"] = "grid"


@dataclass(frozen=True)
class Gate:
    """How good is good enough.

    Attributes:
        metric: What candidates are compared by, higher is better (`roc_auc`, `accuracy`, `r2`, ...); empty when the
            task is inferred, which means the usual one of the task.
        at_least: Metric name -> smallest accepted value on the test split.
        at_most: Metric name -> largest accepted value on the test split (`rmse`, ...).
        tolerance: How much worse than the champion, in `metric`, is still accepted (lower end of the paired
            bootstrap interval).
        latency_ms: Largest accepted median time of one prediction of one row, in milliseconds.
        slice_excess: How far the mean error (log loss, absolute error in the target's unit) of any slice of 30 rows or
            more may certainly be above that of the other rows (lower end of the 95 % interval); None does not gate.
    """

    metric: str
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.0
    latency_ms: float = 5.0
    slice_excess: float | None = None


@dataclass(frozen=True)
class UseCase:
    """One use case: what is predicted, from which columns, with which candidates, and how good is good enough.

    Attributes:
        task: None when it is inferred from the data (csv).
        columns: Name -> expectation, in model order; empty when inferred.
        candidates: Simplest and cheapest to serve first: a later one wins only when it is clearly better.
        read: Returns the raw table of a downloaded file, target included; columns typed, missing as NA.
        example: One request row by column name; empty when inferred (the first test row).
    """

    name: str
    title: str
    description: str
    target: str
    task: Task | None
    source: Source
    columns: Mapping[str, Expected]
    candidates: tuple[Candidate, ...]
    gate: Gate
    read: Callable[[Path], pd.DataFrame]
    positive: Label | None = None
    target_unit: str = ""
    target_description: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)

    def candidate(self, name: str) -> Candidate:
        """Return one of the candidates.

        Raises:
            InputError: No candidate has this name.
        """
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        raise InputError(
            f"unknown candidate {name!r} of {self.name}: choose one of {', '.join(c.name for c in self.candidates)}"
        )

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return the names of the candidates to fit: those given, each once, or all when none is.

        Raises:
            InputError: No candidate has one of these names.
        """
        return [self.candidate(name).name for name in dict.fromkeys(names)] or [one.name for one in self.candidates]


@cache
def names() -> tuple[str, ...]:
    """Return the names of all use cases, sorted: the modules of this package."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def load(name: str) -> UseCase:
    """Return the use case of a name.

    Raises:
        InputError: There is no such use case.
    """
    if name not in names():
        raise InputError(f"unknown use case {name!r}: choose one of {', '.join(names())}")
    use_case = importlib.import_module(f"{__name__}.{name}").USE_CASE
    assert isinstance(use_case, UseCase)
    return use_case
