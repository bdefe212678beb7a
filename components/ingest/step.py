"""From a source to a data set folder: fetched, checked, cleaned, typed, split, versioned and published."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import datasets, settings, sources, use_cases
from components.dataset import MANIFEST, SPLITS, Dataset, read, save
from components.errors import InputError, full_disk_told
from components.models import bars
from components.tables import decisions, overrides, splitting, staging
from components.tables.learning import Labels, labels, schema_of
from components.tables.reading import BATCH_ROWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.sources import Obtained
    from components.tables.overrides import Overrides
    from components.tables.staging import Staged
    from components.use_cases import UseCase

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z][a-z0-9]*")


def candidates(use_case: str, names: list[str]) -> list[str]:
    """Return the candidates of a use case that a run fits: those named, or all when none is.

    Raises:
        InputError: There is no such use case, or no such candidate of it.
    """
    return use_cases.load(use_case).chosen(names)


def ingest(
    output: Path,
    use_case: str,
    source: str = "",
    target: str = "",
    overrides: str = "{}",
    model: str = "",
    seed: int = 42,
    bar: str = "",
) -> str:
    """Write the data set of a use case into a folder, publish it, and return its version.

    Args:
        output: A folder of its own; what an earlier ingest left in it is replaced.
        source: Where the data is, in place of the use case's own source; the csv use case has none of its own.
        target: The column to predict (csv only).
        overrides: JSON object, see `components.tables.overrides` (csv only).
        model: The name to publish under; empty means the use case's, for csv the name of the file.
        bar: What a winner must reach, see `components.models.bars`; wrong ones end the run here.

    Raises:
        InputError: The source or the settings cannot be used; the message says what to change.
        StoreError: The object store cannot be written.
    """
    case = use_cases.load(use_case)
    chosen = _chosen(case, source, target, overrides)
    bars.parse(bar)
    where = settings.read()
    published = datasets.is_kept(where)
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        full_disk_told(output.parent),
        tempfile.TemporaryDirectory(prefix=".ingest-", dir=output.parent) as scratch,
    ):
        folder = Path(scratch)
        found = sources.named(source, where, folder) if source else sources.obtain(case.source, where, folder)
        dataset = _built(case, found, target, chosen, model or _model_name(case, source), seed, folder)
        found.check_unchanged()
        bars.check(bar, dataset.schema.target)
        for note in dataset.notes:
            log.info("%s", note)
        dataset = _moved(dataset, output)
    if published:
        datasets.publish(where, dataset)
    return dataset.version


def checked_name(model: str) -> None:
    """Make sure that a model may be called so; an empty name is chosen later.

    Raises:
        InputError: It may not.
    """
    if model and not NAME.fullmatch(model):
        raise InputError(f"model name {model!r}: expected lower-case letters and digits, starting with a letter")


def understood(folder: Path) -> str:
    """Return the table of what was decided about each column of a data set."""
    return "\n".join(decisions.lines(read(folder).decisions))


def _chosen(case: UseCase, source: str, target: str, text: str) -> Overrides:
    """Return the parsed overrides after checking that the arguments go together."""
    chosen = overrides.parse(text)
    if case.columns:
        if target and target != case.target:
            raise InputError(f"{case.name} predicts {case.target!r}, not {target!r}: leave the target empty")
        if chosen != overrides.Overrides():
            raise InputError(f"{case.name} declares its columns itself: overrides are for the use case csv")
    elif not (source and target):
        lacking = "a source" if target else "a target" if source else "a source and a target"
        raise InputError(
            f"{case.name} needs {lacking}: the source (CSV=...) is a path on a laptop, an s3:// or https:// address "
            "anywhere; the target (TARGET=...) is the column to predict"
        )
    return chosen


def _model_name(case: UseCase, source: str) -> str:
    """Return the use case's name; for data a person names, what is left of the file's name."""
    if case.columns:
        return case.name
    stem = Path(source.split("?")[0].rstrip("/")).name.split(".")[0]
    name = re.sub(r"[^a-z0-9]", "", stem.casefold()).lstrip("0123456789")
    return name or case.name


def _built(
    case: UseCase, found: Obtained, target: str, chosen: Overrides, model: str, seed: int, folder: Path
) -> Dataset:
    checked_name(model)
    path = folder / "staged.parquet"
    if case.columns:
        staged = staging.stage_known(case, found.path, path)
    else:
        staged = staging.stage_inferred(found.path, target, chosen, path)
    truth = labels(staged)
    if staged.task == "multiclass" and len(truth.classes) == 2 and not case.columns and chosen.task is None:
        staged = _binary(staged)
        truth = labels(staged)
    places, grouped = _places(staged, truth, seed)
    ready = folder / "dataset"
    ready.mkdir()
    rows = _write_splits(staged.path, places, ready)
    schema, lacking = schema_of(staged, truth, case, ready / "train.parquet")
    repeats = () if grouped else ("rows repeat by nature: equal rows may be in several splits",)
    dataset = Dataset(
        folder=ready,
        model=model,
        use_case=case.name,
        version=datasets.version_of(schema, ready),
        schema=schema,
        source=_provenance(case, found, chosen),
        rows=rows,
        seed=seed,
        notes=(*staged.notes, *truth.notes, *repeats, *lacking),
        decisions=tuple(one.also(*truth.notes) if one.column == staged.target else one for one in staged.decisions),
    )
    save(dataset)
    return dataset


def _binary(staged: Staged) -> Staged:
    """Return a table of which all classes but two were too rare to be learned."""
    return replace(
        staged,
        task="binary",
        decisions=tuple(
            replace(one, remarks=("binary, inferred", *one.remarks[1:])) if one.column == staged.target else one
            for one in staged.decisions
        ),
    )


def _provenance(case: UseCase, found: Obtained, chosen: Overrides) -> dict[str, Any]:
    own = found.location == case.source.location
    usual = vars(overrides.Overrides())
    decided = {name: value for name, value in vars(chosen).items() if value != usual[name]}
    return {
        "location": found.location,
        "sha256": found.sha256,
        "bytes": found.bytes,
        "licence": case.source.licence if own else "",
        "credit": case.source.credit if own else "",
    } | ({"overrides": json.loads(json.dumps(decided))} if decided else {})


def _places(staged: Staged, truth: Labels, seed: int) -> tuple[NDArray[np.int8], bool]:
    """Return the split of each staged row, and whether equal rows were kept together; -1 leaves a row out."""
    names = list(staged.kinds)
    with pq.ParquetFile(staged.path) as file:
        keys = [splitting.row_keys(batch, names) for batch in file.iter_batches(BATCH_ROWS, columns=names)]
    places = np.full(len(truth.usable), splitting.LEFT_OUT, dtype=np.int8)
    places[truth.usable], grouped = splitting.split_rows(
        np.concatenate(keys)[truth.usable],
        truth.positions[truth.usable],
        regression=staged.task == "regression",
        seed=seed,
    )
    return places, grouped


def _write_splits(staged: Path, places: NDArray[np.int8], folder: Path) -> dict[str, int]:
    """Write one Parquet file per split, rows in source order, and return their numbers of rows."""
    with pq.ParquetFile(staged) as file:
        schema = file.schema_arrow.remove_metadata()
        writers = [pq.ParquetWriter(folder / f"{split}.parquet", schema, compression="zstd") for split in SPLITS]
        start = 0
        for batch in file.iter_batches(staging.GROUP_ROWS):
            part = places[start : start + batch.num_rows]
            start += batch.num_rows
            for place, writer in enumerate(writers):
                if (mask := part == place).any():
                    writer.write_table(pa.table(batch).filter(pa.array(mask)))
        for writer in writers:
            writer.close()
    return {split: int((places == place).sum()) for place, split in enumerate(SPLITS)}


def _moved(dataset: Dataset, output: Path) -> Dataset:
    """Move the finished files into the output folder, `dataset.json` last, and return the data set there."""
    from dataclasses import replace

    names = (*(f"{split}.parquet" for split in SPLITS), MANIFEST)
    output.mkdir(exist_ok=True)
    strange = sorted(path.name for path in output.iterdir() if path.name not in names)
    if strange:
        raise InputError(f"{output} holds {strange[0]}: ingest writes into a folder of its own")
    (output / MANIFEST).unlink(missing_ok=True)
    for name in names:
        shutil.move(dataset.folder / name, output / name)
    return replace(dataset, folder=output)
