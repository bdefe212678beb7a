"""A file's predictions are the server's, in any format, and only appear when they are complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from serving import batch
from serving.bundle import GOLDEN, Bundle

pytestmark = pytest.mark.usefixtures("quiet_logging")


@pytest.fixture
def quiet_logging() -> Any:
    """The command configures logging for its process; give it back afterwards."""
    import logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def _rows(bundle: Bundle) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    requests = bundle.json(GOLDEN)["requests"]
    rows = [{"id": f"r{n}", **row} for n, row in enumerate(row for one in requests for row in one["instances"])]
    return (
        rows,
        [label for one in requests for label in one["predictions"]],
        [numbers for one in requests for numbers in one.get("probabilities", [])],
    )


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    return path


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        return list(pyarrow.csv.read_csv(path).to_pylist())
    return list(pyarrow.parquet.read_table(path).to_pylist())


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".jsonl"])
def test_every_format_gets_the_golden_predictions(mixed: Bundle, tmp_path: Path, kind: str) -> None:
    rows, labels, probabilities = _rows(mixed)
    source = _write(tmp_path / f"in{kind}", rows)

    code = batch.main(
        [str(source), str(tmp_path / f"out{kind}"), "--model_dir", str(mixed.folder), "--rows_per_step", "5"]
    )

    found = _read(tmp_path / f"out{kind}")
    assert code == 0
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["prediction"] for row in found] == labels
    np.testing.assert_allclose(
        [[row["probability_no"], row["probability_yes"]] for row in found], probabilities, atol=1e-6
    )


def test_regression_adds_only_the_prediction(prices: Bundle, tmp_path: Path) -> None:
    rows, labels, _ = _rows(prices)
    source = _write(tmp_path / "in.parquet", rows)

    assert batch.main([str(source), str(tmp_path / "out.parquet"), "--model_dir", str(prices.folder)]) == 0
    found = _read(tmp_path / "out.parquet")
    assert set(found[0]) == {"id", "area", "rooms", "prediction"}
    np.testing.assert_allclose([row["prediction"] for row in found], labels, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "old"}, "row 0, column 'age': expected a number, got \"old\""),
        ({"prediction": 1}, "the input already has the columns prediction"),
    ],
)
def test_a_file_that_does_not_fit_leaves_nothing_behind(
    mixed: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    source = _write(tmp_path / "in.parquet", [{**row, **change} for row in _rows(mixed)[0]])

    code = batch.main([str(source), str(tmp_path / "out.parquet"), "--model_dir", str(mixed.folder)])

    assert code == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.parquet", b"no", "cannot be read"),
        ("in.csv", b"age\n1\n", "lacks the columns income"),
        ("in.jsonl", b"{", "cannot be read"),
        ("in.jsonl", b"", "holds no rows"),
        ("in.xlsx", b"", "expected a name that ends in .parquet, .csv, .jsonl"),
    ],
)
def test_what_cannot_be_read_is_told(
    mixed: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)

    code = batch.main([str(tmp_path / name), str(tmp_path / "out.jsonl"), "--model_dir", str(mixed.folder)])

    assert code == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
