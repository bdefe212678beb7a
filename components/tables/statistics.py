"""Numbers about the columns of a data set, one column in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.tables.splitting import row_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serving.schema import Kind

CELLS = 2_000_000
"""Values (16 MB of numbers) read at a time."""
MILLISECONDS_PER_DAY = 86_400_000.0


@dataclass(frozen=True)
class Numbers:
    """Of a column of numbers or dates (as days since 1970): quantiles are minimum, quartiles and maximum."""

    rows: int
    missing: int
    distinct: int
    mean: float
    deviation: float
    quantiles: tuple[float, float, float, float, float]

    @property
    def missing_share(self) -> float:
        return self.missing / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Values:
    """Of a column of categories, truths or classes: how often each value occurs, most frequent first."""

    rows: int
    missing: int
    counts: Mapping[Any, int]

    @property
    def missing_share(self) -> float:
        return self.missing / self.rows if self.rows else 0.0

    @property
    def distinct(self) -> int:
        return len(self.counts)


def column(paths: Sequence[Path], name: str) -> pa.ChunkedArray:
    """Return one column of Parquet files, and read nothing else of them."""
    return pa.chunked_array([chunk for path in paths for chunk in pq.read_table(path, columns=[name]).column(0).chunks])


def columns(paths: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield columns of Parquet files by name, as many in memory at a time as have `CELLS` values together.

    Every look into a file reads its description of all columns: one look each for 2,000 would read 4,000,000.
    """
    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    step = max(1, CELLS // max(1, rows))
    for start in range(0, len(names), step):
        some = list(dict.fromkeys(names[start : start + step]))
        tables = [pq.read_table(path, columns=some) for path in paths]
        for name in some:
            yield name, pa.chunked_array([chunk for table in tables for chunk in table.column(name).chunks])


def summary(array: pa.ChunkedArray, kind: Kind) -> Numbers | Values:
    """Return the statistics that suit the kind of a column."""
    return value_counts(array) if kind in ("category", "boolean") else numbers(array)


def numbers(array: pa.ChunkedArray) -> Numbers:
    """Return the statistics of a column of numbers or dates."""
    values = as_floats(array)
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return Numbers(len(values), len(values), 0, np.nan, np.nan, (np.nan,) * 5)
    low, quarter, half, three, high = (float(edge) for edge in np.quantile(present, (0, 0.25, 0.5, 0.75, 1)))
    distinct = len(np.unique(present))
    missing = len(values) - len(present)
    return Numbers(
        len(values), missing, distinct, float(present.mean()), float(present.std()), (low, quarter, half, three, high)
    )


def value_counts(array: pa.ChunkedArray) -> Values:
    """Return how often each value occurs; the order of equally frequent ones is that of their text."""
    counted = {item["values"]: item["counts"] for item in pc.value_counts(array.drop_null()).to_pylist()}
    ordered = sorted(counted.items(), key=lambda item: (-item[1], str(item[0])))
    return Values(len(array), array.null_count, dict(ordered))


def as_floats(array: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return the encoded numbers of a column: dates as days since 1970, missing as NaN."""
    if pa.types.is_timestamp(array.type):
        days = pc.divide(pc.cast(pc.cast(array, pa.int64()), pa.float64()), MILLISECONDS_PER_DAY)
        return _numpy(days)
    return _numpy(pc.cast(array, pa.float64(), safe=False))


def duplicates(paths: Sequence[Path]) -> int:
    """Return how many rows are exact copies, target included, of a row before them in any of the files."""
    keys = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            keys += [row_keys(batch, batch.schema.names, exact=True) for batch in file.iter_batches(1 << 16)]
    joined = np.concatenate(keys) if keys else np.empty(0, dtype=np.uint64)
    return len(joined) - len(np.unique(joined))


def _numpy(array: pa.ChunkedArray) -> NDArray[np.float64]:
    result: NDArray[np.float64] = pc.fill_null(array, np.nan).to_numpy()
    return result
