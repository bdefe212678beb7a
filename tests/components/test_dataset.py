"""A data set folder is read as written, and its rows are encoded exactly as the server encodes a request."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.dataset import Dataset, encode_frame, encode_target, read, rows_to_json, save
from serving.schema import Column, Schema, Target, encode_row

SCHEMA = Schema(
    (
        Column("n", "number"),
        Column("i", "integer"),
        Column("s", "category", categories=("a", "b")),
        Column("c", "category", categories=(3, 6, 7)),
        Column("b", "boolean"),
        Column("d", "date"),
    ),
    Target("y", "binary", ("no", "yes"), "yes"),
)
FRAME = pd.DataFrame(
    {
        "n": [1.5, None, -2.0],
        "i": pd.array([1, None, 3], dtype="Int64"),
        "s": ["b", None, "zzz"],
        "c": [7, None, 4],
        "b": [True, None, False],
        "d": [datetime(2024, 2, 29, 12), None, datetime(1969, 12, 31)],
        "y": ["yes", "no", "yes"],
    }
)
REQUESTS = [
    [1.5, 1, "b", 7, True, "2024-02-29T12:00:00"],
    [None] * 6,
    [-2.0, 3, "zzz", 4, False, "1969-12-31"],
]


@pytest.mark.parametrize("through_parquet", [False, True])
def test_rows_are_encoded_as_the_server_encodes_requests(tmp_path: Path, through_parquet: bool) -> None:
    frame = FRAME
    if through_parquet:
        FRAME.to_parquet(tmp_path / "t.parquet")
        frame = pd.read_parquet(tmp_path / "t.parquet")

    expected = [encode_row(SCHEMA, row, "row") for row in REQUESTS]

    np.testing.assert_array_equal(encode_frame(SCHEMA, frame), np.array(expected))


def test_the_target_becomes_positions_of_classes() -> None:
    assert encode_target(SCHEMA, FRAME).tolist() == [1, 0, 1]


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(ValueError, match="target 'y' holds the unknown class 'perhaps'"):
        encode_target(SCHEMA, FRAME.assign(y=["yes", "perhaps", "no"]))


def test_encoded_rows_become_the_requests_a_client_sends() -> None:
    first, missing, unseen = rows_to_json(SCHEMA, encode_frame(SCHEMA, FRAME))

    assert first == {"n": 1.5, "i": 1, "s": "b", "c": 7, "b": True, "d": "2024-02-29T12:00:00+00:00"}
    assert set(missing.values()) == {None}
    assert (unseen["s"], unseen["c"], unseen["d"]) == ("(unseen)", 8.0, "1969-12-31")


def test_a_folder_is_read_as_written_and_sampled_evenly(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        pd.DataFrame({"n": np.arange(1000.0)}).to_parquet(tmp_path / f"{split}.parquet")
    rows = {"train": 1000, "validation": 1000, "test": 1000}
    written = Dataset(tmp_path, "m", "csv", "f" * 64, SCHEMA, {"location": "x"}, rows, 42, ("a note",))
    save(written)

    found = read(tmp_path)

    assert found == written
    assert found.sample("train", 10)["n"].tolist() == [float(row) for row in range(0, 1000, 100)]
    assert len(found.sample("test", 5000)) == 1000


def test_a_folder_without_a_manifest_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a data set: .*run ingest again"):
        read(tmp_path)
