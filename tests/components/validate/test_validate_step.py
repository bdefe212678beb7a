"""Validation accepts the real data, and stops a run at what cannot be right, saying what was found and accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import datasets
from components.ingest.step import ingest
from components.settings import Settings
from components.tables import statistics
from components.validate.step import ExpectationFailed, validate

HEART = "63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,{num}"


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_DATASETS_BUCKET", "")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Ingest a table of 400 rows; keyword arguments replace or add columns, None takes one away."""
    made = []

    def ingested(overrides: str = "{}", rows: int = 400, seed: int = 1, **columns: Any) -> Path:
        random = np.random.default_rng(seed)
        frame = pd.DataFrame(
            {
                "x": random.normal(size=rows),
                "k": random.choice(["a", "b"], rows),
                "y": random.choice(["no", "yes"], rows),
            }
        )
        frame = frame.assign(**{name: values for name, values in columns.items() if values is not None})
        frame = frame.drop(columns=[name for name, values in columns.items() if values is None])
        made.append(frame)
        source, folder = tmp_path / "orders.csv", tmp_path / f"dataset{len(made)}"
        frame.to_csv(source, index=False)
        ingest(folder, "csv", str(source), "y", overrides)
        return folder

    return ingested


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("name", ["heart", "iris"])
def test_accepts_the_data_of_a_use_case_and_reports_it(name: str, tmp_path: Path) -> None:
    ingest(tmp_path / "data", name)

    summary = validate(tmp_path / "data", tmp_path / "report.md")

    assert summary.numbers == pytest.approx(vars(summary))
    report = (tmp_path / "report.md").read_text()
    assert report.startswith(f"# Data of {name}: accepted\n\n**All {summary.checks} checks passed**")
    assert "held against the expectations of the use case" in report


@pytest.mark.usefixtures("local")
def test_accepts_housing_with_its_gaps(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MIRROR", str(shared / "data"))
    ingest(tmp_path / "data", "housing")

    summary = validate(tmp_path / "data", tmp_path / "report.md")

    assert summary.rows == 20_640
    assert summary.missing_share == pytest.approx(207 / 20_640 / 9)


@pytest.mark.usefixtures("local")
def test_lists_every_failed_expectation_with_column_found_and_accepted(tmp_path: Path) -> None:
    shipped = Path("components/use_cases/data/processed.cleveland.data")
    lines = (Path(__file__).parents[3] / shipped).read_text().splitlines()
    lines[:20] = [line.replace(".0,", "9.0,", 1) for line in lines[:20]]
    cells = [line.split(",") for line in lines]
    for row in cells[:40]:
        row[7] = "?"
    for row in cells[100:130]:
        row[2] = "5.0"
    (tmp_path / "heart.data").write_text("\n".join(",".join(row) for row in cells))
    ingest(tmp_path / "data", "heart", str(tmp_path / "heart.data"))

    with pytest.raises(ExpectationFailed) as failure:
        validate(tmp_path / "data", tmp_path / "report.md")

    message = str(failure.value)
    assert "3 expectations on the data of heart failed:" in message
    assert "age: range: found 29 to 679; accepted: 18 to 110 years" in message
    assert "cp: categories: found 5; accepted: 1, 2, 3, 4" in message
    assert "thalach: missing: found 13.2%; accepted: at most 0%" in message
    report = (tmp_path / "report.md").read_text()
    assert report.startswith("# Data of heart: not accepted")
    assert report.index("## What failed") < report.index("## Columns")


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_finds_a_column_that_gives_the_target_away(kind: str, make: Callable[..., Path], tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    target = random.choice(["no", "yes"], 400) if kind == "binary" else random.normal(size=400)
    leak = np.where(target == "yes", "paid", "open") if kind == "binary" else 3 * target + 1

    with pytest.raises(ExpectationFailed, match=r'given: target leakage: found .*"drop": \["given"\].*"accept"'):
        validate(make(y=target, given=leak), tmp_path / "report.md")
    validate(make('{"accept": ["given"]}', y=target, given=leak), tmp_path / "report.md")


@pytest.mark.usefixtures("local")
def test_a_good_predictor_is_no_leak(make: Callable[..., Path], tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=400)
    target = np.where(x + 0.3 * random.normal(size=400) > 0, "yes", "no")

    assert validate(make(x=x, y=target), tmp_path / "report.md").rows == 400


@pytest.mark.usefixtures("local")
def test_a_table_that_is_mostly_copies_is_refused(make: Callable[..., Path], tmp_path: Path) -> None:
    x = np.tile(np.random.default_rng(1).normal(size=100), 4)
    labels = np.tile(["no", "yes"], 200)

    with pytest.raises(ExpectationFailed, match=r"duplicate rows: found 74\.8%; accepted: at most 50\.0%"):
        validate(make(x=x, k=["a"] * 399 + ["b"], y=labels), tmp_path / "report.md")


@pytest.mark.usefixtures("local")
def test_a_table_of_few_distinct_rows_may_repeat_them(make: Callable[..., Path], tmp_path: Path) -> None:
    summary = validate(make(x=[1, 2] * 200), tmp_path / "report.md")

    assert summary.duplicate_share > 0.9


def test_a_table_is_held_against_the_last_accepted_version(
    make: Callable[..., Path], tmp_path: Path, settings: Settings
) -> None:
    report = tmp_path / "report.md"
    validate(make(), report)
    assert "this is the first version" in report.read_text()
    validate(make(seed=2), report)
    assert "held against the previous version" in report.read_text()

    with pytest.raises(ExpectationFailed) as failure:
        validate(
            make(seed=3, x=np.random.default_rng(3).normal(50, 1, 400), k=["c", "d"] * 200, new=[1, 2] * 200), report
        )

    message = str(failure.value)
    assert "x: range: found 100% outside; accepted: at most 10.0% outside" in message
    assert "k: categories: found 100% in new categories ('c', 'd'); accepted: at most 10.0%" in message
    assert "new: presence: found a new integer column; accepted: the columns of before" in message
    assert [one.validated for one in datasets.versions(settings, "orders")] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": None, "z": [1, 2] * 200}, "k: presence: found no such column; accepted: the category column of before"),
        ({"x": ["low", "high"] * 200}, "x: type: found category; accepted: number"),
        ({"x": [1.5, None, 2.5, None] * 100}, r"x: missing: found 50\.0%; accepted: at most 20\.0%"),
        ({"y": ["no", "yes", "maybe", "yes"] * 100}, "y: target: found y .multiclass.; accepted: y .binary."),
        ({"y": ["no"] * 360 + ["yes"] * 40}, r"y: share of 'no': found 90\.0%; accepted: "),
    ],
)
def test_names_what_differs_from_the_previous_version(
    make: Callable[..., Path], tmp_path: Path, settings: Settings, change: dict[str, Any], message: str
) -> None:
    for one in datasets.versions(settings, "orders"):
        _forget(settings, one)
    validate(make(), tmp_path / "report.md")

    with pytest.raises(ExpectationFailed, match=message):
        validate(make(seed=9, **change), tmp_path / "report.md")
    validate(make('{"accept_changes": true}', seed=9, **change), tmp_path / "report.md")


def test_a_much_smaller_version_is_refused(make: Callable[..., Path], tmp_path: Path, settings: Settings) -> None:
    for one in datasets.versions(settings, "orders"):
        _forget(settings, one)
    validate(make(), tmp_path / "report.md")

    with pytest.raises(ExpectationFailed, match="table: rows: found 100; accepted: at least 200"):
        validate(make(rows=100, seed=4), tmp_path / "report.md")


def _forget(settings: Settings, one: datasets.Published) -> None:
    from components.store import Store

    store = Store(settings)
    for address in list(store.keys(one.address)):
        store.remove(address)


@pytest.mark.usefixtures("local")
def test_the_report_survives_names_that_mean_something_in_markdown(make: Callable[..., Path], tmp_path: Path) -> None:
    validate(make(**{"a|b <i>": [1.5, 2.5] * 200}), tmp_path / "report.md")

    assert "a\\|b &lt;i>" in (tmp_path / "report.md").read_text()


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_split_whose_target_lies_elsewhere_is_refused(make: Callable[..., Path], tmp_path: Path, part: str) -> None:
    folder = make(rows=600, y=np.random.default_rng(5).lognormal(size=600))
    fair = validate(folder, tmp_path / "fair.md")
    file = folder / f"{part}.parquet"
    rows = pd.read_parquet(file)
    rows["y"] = rows["y"].where(rows["y"] > rows["y"].median(), rows["y"] + rows["y"].max())
    rows.to_parquet(file)

    with pytest.raises(ExpectationFailed, match=f"quartiles in {part}"):
        validate(folder, tmp_path / "report.md")

    assert fair.rows == 600


@pytest.mark.usefixtures("local")
def test_a_target_of_few_values_or_heavy_tails_is_split_fairly_and_passes(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    generator = np.random.default_rng(2)
    for values in (generator.poisson(0.3, 500) + 0.5, generator.pareto(0.7, 500), np.round(generator.normal(size=500))):
        validate(make('{"task": "regression"}', rows=500, y=values), tmp_path / "report.md")


def test_a_wide_table_is_read_in_few_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look reads the description of all columns: one a column made 2,000 of them cost minutes."""
    looks = []
    read = statistics.pq.read_table
    monkeypatch.setattr(statistics.pq, "read_table", lambda *args, **how: looks.append(how) or read(*args, **how))
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 300)), columns=[f"c{place}" for place in range(300)])
    for split in ("train", "validation", "test"):
        frame.to_parquet(tmp_path / f"{split}.parquet")
    paths = [tmp_path / f"{split}.parquet" for split in ("train", "validation", "test")]

    found = dict(statistics.columns(paths, list(frame.columns)))

    assert list(found) == list(frame.columns)
    assert all(len(array) == 180 for array in found.values())
    assert len(looks) == 3
