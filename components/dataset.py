"""The data set folder: what `ingest` writes and every later step reads.

Splits keep the values a person knows (text categories, dates); `load` encodes them through serving.schema, so training
sees exactly the numbers that serving will.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.tables.decisions import Decision, as_json, from_json
from serving.schema import UNSEEN, Column, Schema, decode, schema_from_json, schema_to_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

FORMAT = 1
MANIFEST = "dataset.json"
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        version: SHA-256 over the schema and the bytes of the three splits: the same data, the same version.
        source: Location, sha256, bytes, licence and credit of where it came from.
        rows: Split -> number of rows.
        notes: What cleaning did, a sentence each.
        decisions: What was decided about each column of the source, see `components.tables.decisions`.
    """

    folder: Path
    model: str
    use_case: str
    version: str
    schema: Schema
    source: Mapping[str, Any]
    rows: Mapping[str, int]
    seed: int
    notes: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def frame(self, split: Split) -> pd.DataFrame:
        """Return the rows of a split as a person would read them, target included."""
        import pandas as pd

        return pd.read_parquet(self.folder / f"{split}.parquet")

    def sample(self, split: Split, most: int) -> pd.DataFrame:
        """Return at most `most` rows of a split, spread evenly over it, without holding the others in memory."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        step = max(1, -(-self.rows[split] // most))
        with pq.ParquetFile(self.folder / f"{split}.parquet") as file:
            start, picked = 0, []
            for batch in file.iter_batches(1 << 16):
                picked.append(batch.take(pa.array(range(-start % step, batch.num_rows, step), pa.int64())))
                start += batch.num_rows
            return pa.Table.from_batches(picked, file.schema_arrow).to_pandas()

    def load(self, split: Split) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return the encoded features [rows, columns] and the target [rows] of a split.

        The target is the position in `schema.target.classes` (int64) for classification, else float64.
        """
        frame = self.frame(split)
        return encode_frame(self.schema, frame), encode_target(self.schema, frame)


def save(dataset: Dataset) -> None:
    """Write `dataset.json` beside the splits."""
    document = {
        "format": FORMAT,
        "model": dataset.model,
        "use_case": dataset.use_case,
        "version": dataset.version,
        "schema": schema_to_json(dataset.schema),
        "source": dict(dataset.source),
        "rows": dict(dataset.rows),
        "seed": dataset.seed,
        "notes": list(dataset.notes),
        "columns": as_json(dataset.decisions),
    }
    (dataset.folder / MANIFEST).write_text(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True))


def read(folder: Path) -> Dataset:
    """Return the data set of a folder.

    Raises:
        ValueError: The folder has no readable dataset.json.
    """
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{folder} is not a data set: {error}; run ingest again") from error
    return Dataset(
        folder=folder,
        model=document["model"],
        use_case=document["use_case"],
        version=document["version"],
        schema=schema_from_json(document["schema"]),
        source=document["source"],
        rows=document["rows"],
        seed=document["seed"],
        notes=tuple(document["notes"]),
        decisions=from_json(document.get("columns", ())),
    )


def encode_frame(schema: Schema, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return the encoded feature matrix of a typed frame: column by column what `serving.schema.encode` gives."""
    import numpy as np

    matrix = np.empty((len(frame), len(schema.columns)), dtype=np.float64)
    for position, column in enumerate(schema.columns):
        matrix[:, position] = _encode_series(column, frame[column.name])
    return matrix


def encode_target(schema: Schema, frame: pd.DataFrame) -> NDArray[Any]:
    """Return class positions (int64) or values (float64) of the target column.

    Raises:
        ValueError: A row has a class the schema does not know.
    """
    import numpy as np
    import pandas as pd

    values = frame[schema.target.name]
    if schema.target.task == "regression":
        numbers: NDArray[np.float64] = values.to_numpy(dtype=np.float64)
        return numbers
    positions: NDArray[np.int64] = pd.Index(schema.target.classes).get_indexer(pd.Index(values)).astype(np.int64)
    if (positions < 0).any():
        unknown = values[positions < 0].iloc[0]
        raise ValueError(f"target {schema.target.name!r} holds the unknown class {unknown!r}")
    return positions


def rows_to_json(schema: Schema, matrix: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return encoded rows as the JSON objects a client would send; an unseen category becomes `"(unseen)"`."""
    return [
        {column.name: _client_value(column, float(value)) for column, value in zip(schema.columns, row, strict=True)}
        for row in matrix
    ]


def _client_value(column: Column, value: float) -> Any:
    if column.kind == "category" and value == UNSEEN:
        if not column.categories or isinstance(column.categories[0], str):
            return "(unseen)"
        return max(float(known) for known in column.categories) + 1.0
    return decode(column, value)


def _encode_series(column: Column, series: pd.Series[Any]) -> NDArray[np.float64]:
    import numpy as np
    import pandas as pd

    values: NDArray[np.float64]
    if column.kind == "category":
        values = pd.Index(column.categories).get_indexer(pd.Index(series)).astype(np.float64)
        values[series.isna().to_numpy()] = np.nan
    elif column.kind == "date":
        moments = pd.to_datetime(series, utc=True)
        days = (moments - pd.Timestamp("1970-01-01", tz="UTC")) / pd.Timedelta(days=1)
        values = days.to_numpy(dtype=np.float64)
    elif column.kind == "boolean":
        values = series.astype("boolean").to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = series.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return values
