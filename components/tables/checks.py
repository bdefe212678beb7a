"""The single checks of `validate`: each looks at one thing and says what was found and what would be accepted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.dataset import SPLITS, Dataset
from components.tables.statistics import Numbers, Values, as_floats, column, columns, duplicates, summary, value_counts
from components.tables.wording import number, share
from components.use_cases import UseCase
from serving.schema import Column

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

LEAST_CLASS_SHARE = 0.01
FEW_ROWS = 5
MOST_DUPLICATES = 0.1
MOST_DUPLICATES_INFERRED = 0.5
"""A table nobody described may repeat rows for good reasons; half of it being copies is an accident."""
MORE_MISSING = 0.2
OUTSIDE = 0.1
CLASS_SHIFT = 0.2
FEWER_ROWS = 0.5
"""How far a new version may be from the previous one: missing share, share of values outside the known range or
categories, share of a class (all absolute), and rows relative to before."""


@dataclass(frozen=True)
class Check:
    """One expectation and whether it holds.

    Attributes:
        subject: The column, or `table`.
        rule: What is looked at, in a word or two.
        remedy: What to do when it failed.
    """

    subject: str
    rule: str
    found: str
    accepted: str
    passed: bool
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """What the checks look at, computed once: a summary per column (all splits together), the target and copies."""

    columns: Mapping[str, Numbers | Values]
    target: Numbers | Values
    rows: int
    duplicates: int


def facts_of(dataset: Dataset) -> Facts:
    """Return the facts of a data set, one column in memory at a time."""
    paths = paths_of(dataset)
    kinds = {one.name: one.kind for one in dataset.schema.columns}
    found_columns = {name: summary(array, kinds[name]) for name, array in columns(paths, list(kinds))}
    target = dataset.schema.target
    found = column(paths, target.name)
    return Facts(
        columns=found_columns,
        target=value_counts(found) if target.classes else summary(found, "number"),
        rows=sum(dataset.rows.values()),
        duplicates=duplicates(paths),
    )


def paths_of(dataset: Dataset) -> list[Any]:
    """Return the files of the three splits."""
    return [dataset.folder / f"{split}.parquet" for split in SPLITS]


def expected(dataset: Dataset, facts: Facts, use_case: UseCase) -> Iterator[Check]:
    """Yield the checks of every column against what the use case declares."""
    for name, wanted in use_case.columns.items():
        found = facts.columns.get(name)
        if found is None:
            yield Check(name, "presence", "no such column", f"a column of kind {wanted.kind}", False, "add it")
            continue
        kind = next(one.kind for one in dataset.schema.columns if one.name == name)
        yield Check(name, "type", kind, wanted.kind, kind == wanted.kind, "correct the values at the source")
        yield Check(
            name,
            "missing",
            share(found.missing_share),
            f"at most {share(wanted.missing_share)}",
            found.missing_share <= wanted.missing_share,
            "find out why values are missing, or raise missing_share in the use case",
        )
        if isinstance(found, Numbers) and (wanted.minimum is not None or wanted.maximum is not None):
            yield _range(name, found, wanted.minimum, wanted.maximum, wanted.unit)
        if isinstance(found, Values) and wanted.categories is not None:
            yield _categories(name, found, wanted.categories)


def general(dataset: Dataset, facts: Facts, *, declared: bool) -> Iterator[Check]:
    """Yield the checks that every table must pass: rows in every split, few copies, a target that can be learned."""
    for split in SPLITS:
        rows = dataset.rows[split]
        yield Check("table", f"rows of {split}", f"{rows:,}", "at least 1", rows > 0, "add rows")
    copies = facts.duplicates / facts.rows if facts.rows else 0.0
    most = MOST_DUPLICATES if declared else MOST_DUPLICATES_INFERRED
    excused = bool(dataset.source.get("overrides", {}).get("accept_duplicates")) or repeats_by_nature(dataset)
    yield Check(
        "table",
        "duplicate rows",
        share(copies),
        "any (rows repeat by nature)" if excused else f"at most {share(most)}",
        excused or copies <= most,
        'remove the copies, or override {"accept_duplicates": true}',
    )
    if isinstance(facts.target, Values):
        yield from _balance(dataset, facts.target, declared)
    else:
        yield from _spread(dataset, facts.target)


def repeats_by_nature(dataset: Dataset) -> bool:
    """Return whether ingest found so few distinct rows that equal ones are no copies."""
    return any(note.startswith("rows repeat by nature") for note in dataset.notes)


def compared(dataset: Dataset, facts: Facts, previous: Dataset) -> Iterator[Check]:
    """Yield the checks against the previous accepted version: columns, kinds, ranges, categories, gaps, classes."""
    rows = sum(previous.rows.values())
    yield Check(
        "table",
        "rows",
        f"{facts.rows:,}",
        f"at least {rows * FEWER_ROWS:,.0f}",
        facts.rows >= rows * FEWER_ROWS,
        ACCEPT,
    )
    before, now = ({one.name: one for one in data.schema.columns} for data in (previous, dataset))
    for name in before.keys() - now.keys():
        yield Check(name, "presence", "no such column", f"the {before[name].kind} column of before", False, ACCEPT)
    for name in now.keys() - before.keys():
        yield Check(name, "presence", f"a new {now[name].kind} column", "the columns of before", False, ACCEPT)
    shared = [name for name in before if name in now]
    arrays = zip(columns(paths_of(previous), shared), columns(paths_of(dataset), shared), strict=True)
    for (name, was), (_, found) in arrays:
        yield from _column_compared(facts, before[name], now[name], was, found)
    yield from _target_compared(facts, previous, dataset)


ACCEPT = 'correct the data, or override {"accept_changes": true} if the change is meant'


def shown(value: Any) -> str:
    """Return a value as a person reads it."""
    return number(value) if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)


def listing(values: Sequence[Any], most: int = 8) -> str:
    """Return values for a message, cut where nobody would read on."""
    told = ", ".join(shown(value) for value in values[:most])
    return f"{told} and {len(values) - most} more" if len(values) > most else told


def _range(name: str, found: Numbers, minimum: float | None, maximum: float | None, unit: str) -> Check:
    low, high = found.quantiles[0], found.quantiles[-1]
    passed = (minimum is None or not low < minimum) and (maximum is None or not high > maximum)
    bounds = ["any" if bound is None else shown(float(bound)) for bound in (minimum, maximum)]
    return Check(
        name,
        "range",
        f"{shown(low)} to {shown(high)}",
        f"{bounds[0]} to {bounds[1]} {unit}".strip(),
        passed,
        "correct the values, or their unit, at the source",
    )


def _categories(name: str, found: Values, accepted: Sequence[Any]) -> Check:
    strange = [value for value in found.counts if value not in accepted]
    return Check(
        name,
        "categories",
        listing(strange or list(found.counts)),
        listing(accepted, 20),
        not strange,
        "correct the values, or add the category to the use case",
    )


def _balance(dataset: Dataset, target: Values, declared: bool) -> Iterator[Check]:
    name = dataset.schema.target.name
    rarest = min(target.counts, key=lambda label: target.counts[label])
    part = target.counts[rarest] / target.rows
    least = LEAST_CLASS_SHARE if declared else 0.0
    yield Check(
        name,
        "class balance",
        f"{shown(rarest)}: {share(part)}",
        f"at least {share(least)} for every class" if least else "any",
        part >= least,
        "collect more rows of that class",
    )
    for split in SPLITS:
        counted = value_counts(column([dataset.folder / f"{split}.parquet"], name))
        lacking = [label for label in dataset.schema.target.classes if label not in counted.counts]
        yield Check(
            name,
            f"classes in {split}",
            f"without {listing(lacking)}" if lacking else "all",
            "all",
            not lacking,
            "collect more rows of that class, or leave it out",
        )
        if not lacking:
            yield _shares_kept(name, split, counted, target)


def _shares_kept(name: str, split: str, part: Values, whole: Values) -> Check:
    """The class whose share of a part is farthest below its share of all rows still has half of it there.

    Small numbers may miss that by chance: a class counts once half of what it should have is five rows.
    """
    ratios = {}
    for label, count in whole.counts.items():
        wanted = count / whole.rows * part.rows
        if wanted / 2 >= FEW_ROWS:
            ratios[label] = part.counts[label] / wanted
    worst = min(ratios, key=lambda label: ratios[label], default=None)
    found = "too few rows to tell" if worst is None else f"{shown(worst)}: {ratios[worst]:.2f} of its share of all rows"
    remedy = "rows repeat so often that no split is fair: remove repeated rows, or collect more of that class"
    return Check(
        name, f"class shares in {split}", found, "at least 0.50", worst is None or ratios[worst] >= 0.5, remedy
    )


def _spread(dataset: Dataset, target: Numbers) -> Iterator[Check]:
    """Each part has about a quarter of its rows between two quartiles of the whole target.

    By how much a fair split of `rows` rows may miss that: four standard deviations of a binomial share, which chance
    exceeds once in 16,000 splits; the split is stratified, so it does not come near.
    """
    name = dataset.schema.target.name
    edges = np.unique(target.quantiles[1:4])
    whole = _shares(np.concatenate([_values(dataset, split) for split in SPLITS]), edges)
    for split in SPLITS:
        values = _values(dataset, split)
        if len(values) == 0:
            continue
        apart = np.abs(_shares(values, edges) - whole)
        allowed = 4 * np.sqrt(whole * (1 - whole) / len(values)) + 0.02
        worst = int((apart - allowed).argmax())
        yield Check(
            name,
            f"quartiles in {split}",
            f"{apart[worst]:.1%} of the rows from where they are in all rows",
            f"at most {allowed[worst]:.1%}",
            bool((apart <= allowed).all()),
            "rows repeat so often that no split is fair: remove repeated rows, or collect more",
        )


def _values(dataset: Dataset, split: str) -> NDArray[np.float64]:
    return as_floats(column([dataset.folder / f"{split}.parquet"], dataset.schema.target.name))


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.searchsorted(edges, values, side="right")
    return np.bincount(places, minlength=len(edges) + 1) / max(1, len(values))


def _column_compared(
    facts: Facts, before: Column, now: Column, was: pa.ChunkedArray, held: pa.ChunkedArray
) -> Iterator[Check]:
    if before.kind != now.kind:
        yield Check(now.name, "type", now.kind, before.kind, False, ACCEPT)
        return
    found = facts.columns[now.name]
    known = summary(was, now.kind)
    most = min(1.0, known.missing_share + MORE_MISSING)
    yield Check(
        now.name, "missing", share(found.missing_share), f"at most {share(most)}", found.missing_share <= most, ACCEPT
    )
    if isinstance(found, Values) and isinstance(known, Values):
        new = sum(count for value, count in found.counts.items() if value not in known.counts)
        part = new / max(1, found.rows - found.missing)
        strange = [value for value in found.counts if value not in known.counts]
        told = f"{share(part)} in new categories" + (f" ({listing(strange, 3)})" if strange else "")
        yield Check(now.name, "categories", told, f"at most {share(OUTSIDE)}", part <= OUTSIDE, ACCEPT)
    elif isinstance(known, Numbers):
        low, high = known.quantiles[0], known.quantiles[-1]
        values = as_floats(held)
        values = values[~np.isnan(values)]
        part = float(((values < low) | (values > high)).mean()) if len(values) else 0.0
        accepted = f"at most {share(OUTSIDE)} outside {shown(low)} to {shown(high)}"
        yield Check(now.name, "range", f"{share(part)} outside", accepted, part <= OUTSIDE, ACCEPT)


def _target_compared(facts: Facts, previous: Dataset, dataset: Dataset) -> Iterator[Check]:
    before, now = previous.schema.target, dataset.schema.target
    if (before.name, before.task) != (now.name, now.task):
        yield Check(now.name, "target", f"{now.name} ({now.task})", f"{before.name} ({before.task})", False, ACCEPT)
        return
    if not isinstance(facts.target, Values):
        return
    same = before.classes == now.classes
    yield Check(now.name, "classes", listing(now.classes), listing(before.classes), same, ACCEPT)
    known = value_counts(column(paths_of(previous), before.name))
    for label in before.classes:
        was = known.counts.get(label, 0) / max(1, known.rows)
        part = facts.target.counts.get(label, 0) / max(1, facts.target.rows)
        accepted = f"{share(max(0.0, was - CLASS_SHIFT))} to {share(min(1.0, was + CLASS_SHIFT))}"
        yield Check(now.name, f"share of {shown(label)}", share(part), accepted, abs(part - was) <= CLASS_SHIFT, ACCEPT)
