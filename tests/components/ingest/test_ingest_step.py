"""Ingest makes the same version of the same data, publishes it once, and explains what it cannot use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import datasets
from components.dataset import SPLITS, Dataset, read
from components.errors import InputError
from components.ingest.step import candidates, ingest
from components.settings import Settings
from components.store import Address, Store, StoreError
from components.tables.splitting import row_keys


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep data sets in their folder only."""
    monkeypatch.setenv("HEADRACE_DATASETS_BUCKET", "")


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Write a CSV of 200 rows with a number, a category with gaps, a date and a yes-or-no target."""

    def write(name: str = "My Table 2.csv", rows: int = 200, **columns: Any) -> Path:
        random = np.random.default_rng(3)
        frame = pd.DataFrame(
            {
                "Größe (cm)": random.normal(170, 9, rows).round(1),
                "colour": random.choice(["red", "green", ""], rows),
                "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, rows), unit="D"),
                "bought": random.choice(["yes", "no"], rows),
            }
        ).assign(**columns)
        path = tmp_path / name
        frame.to_csv(path, index=False)
        return path

    return write


def ingested(folder: Path, *args: Any, **how: Any) -> Dataset:
    version = ingest(folder, *args, **how)
    dataset = read(folder)
    assert dataset.version == version
    return dataset


@pytest.mark.usefixtures("local")
def test_heart_becomes_three_stratified_splits_with_a_schema(tmp_path: Path) -> None:
    dataset = ingested(tmp_path / "heart", "heart")

    assert dataset.rows == {"train": 181, "validation": 61, "test": 61}
    assert dataset.schema.target.classes == (0, 1)
    assert [column.name for column in dataset.schema.columns if column.missing] == ["thal"]
    assert dataset.source["licence"] == "CC BY 4.0"
    for split in SPLITS:
        features, target = dataset.load(split)
        assert features.shape == (dataset.rows[split], 13)
        assert target.mean() == pytest.approx(139 / 303, abs=0.01)


@pytest.mark.usefixtures("local")
def test_the_same_data_has_the_same_version_and_another_seed_another(tmp_path: Path) -> None:
    versions = [ingest(tmp_path / str(place), "iris", seed=seed) for place, seed in enumerate((42, 42, 7))]

    assert versions[0] == versions[1] != versions[2]
    for split in SPLITS:
        assert (tmp_path / f"0/{split}.parquet").read_bytes() == (tmp_path / f"1/{split}.parquet").read_bytes()


@pytest.mark.usefixtures("local")
def test_housing_comes_from_the_mirror(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MIRROR", str(shared / "data"))

    dataset = ingested(tmp_path / "housing", "housing")

    assert sum(dataset.rows.values()) == 20_640
    assert dataset.schema.target.task == "regression"
    assert sum(dataset.frame(split)["total_bedrooms"].isna().sum() for split in SPLITS) == 207


@pytest.mark.usefixtures("local")
def test_a_table_of_your_own_is_typed_named_and_split(tmp_path: Path, table: Callable[..., Path]) -> None:
    dataset = ingested(tmp_path / "out", "csv", str(table()), "bought")

    kinds = {column.name: column.kind for column in dataset.schema.columns}
    assert dataset.model == "mytable2"
    assert kinds == {"Größe (cm)": "number", "colour": "category", "day": "date"}
    assert dataset.schema.target.positive == "yes"
    assert dataset.schema.columns[1].categories == ("green", "red")
    assert sum(dataset.rows.values()) == 200
    assert any(note.startswith("columns were read as number: Größe (cm);") for note in dataset.notes)


@pytest.mark.usefixtures("local")
def test_csv_and_parquet_of_the_same_table_are_the_same_data(tmp_path: Path, table: Callable[..., Path]) -> None:
    source = table()
    frame = pd.read_csv(source, parse_dates=["day"])
    frame.to_parquet(tmp_path / "My Table 2.parquet")

    first = ingest(tmp_path / "a", "csv", str(source), "bought")
    second = ingest(tmp_path / "b", "csv", str(tmp_path / "My Table 2.parquet"), "bought")

    assert first == second


@pytest.mark.usefixtures("local")
def test_near_duplicates_are_never_in_two_splits(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    base = pd.DataFrame({"a": random.normal(size=300), "b": random.choice(["x", "y"], 300)})
    copies = base.assign(a=base["a"] * (1 + 1e-9), b=base["b"].str.upper() + " ")
    frame = pd.concat([base, copies], ignore_index=True).assign(y=random.integers(0, 2, 600))
    frame.to_csv(tmp_path / "t.csv", index=False)

    dataset = ingested(tmp_path / "out", "csv", str(tmp_path / "t.csv"), "y", '{"columns": {"b": "category"}}')

    held = []
    for split in SPLITS:
        (batch,) = pq.read_table(dataset.folder / f"{split}.parquet").combine_chunks().to_batches()
        held.append(set(row_keys(batch, ["a", "b"]).tolist()))
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    assert sum(map(len, held)) == pytest.approx(300, abs=2)


@pytest.mark.usefixtures("local")
def test_categories_and_ranges_are_learned_from_training_rows_only(tmp_path: Path) -> None:
    rows = 300
    frame = pd.DataFrame(
        {"x": np.arange(rows) * 3.7, "k": [f"k{n % 40:02}" for n in range(rows)], "y": np.arange(rows) % 2}
    )
    frame.loc[:, "z"] = np.random.default_rng(1).normal(size=rows)
    frame.to_csv(tmp_path / "t.csv", index=False)

    dataset = ingested(tmp_path / "out", "csv", str(tmp_path / "t.csv"), "y")

    train = dataset.frame("train")
    columns = {column.name: column for column in dataset.schema.columns}
    assert columns["k"].categories == tuple(sorted(train["k"].unique()))
    assert (columns["x"].minimum, columns["x"].maximum) == (train["x"].min(), train["x"].max())


@pytest.mark.usefixtures("local")
def test_integers_that_a_person_calls_categories_stay_integers(tmp_path: Path, table: Callable[..., Path]) -> None:
    source = table(code=[30, 20, 10, 20] * 50)

    dataset = ingested(tmp_path / "out", "csv", str(source), "bought", '{"columns": {"code": "category"}}')

    assert dataset.schema.columns[-1].categories == (10, 20, 30)
    assert set(dataset.load("train")[0][:, -1]) == {0.0, 1.0, 2.0}


@pytest.mark.usefixtures("local")
def test_many_categories_are_capped_at_the_most_frequent(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    places = [f"place {n:03}" for n in np.minimum(random.geometric(0.01, 3000), 400)]
    pd.DataFrame({"p": places, "x": random.normal(size=3000), "y": random.integers(0, 2, 3000)}).to_csv(
        tmp_path / "t.csv", index=False
    )

    dataset = ingested(tmp_path / "out", "csv", str(tmp_path / "t.csv"), "y")

    assert len(dataset.schema.columns[0].categories) == 100
    assert (dataset.load("train")[0][:, 0] == -1).mean() > 0.1
    assert any("the 100 most frequent are kept" in note for note in dataset.notes)


@pytest.mark.usefixtures("local")
def test_rows_without_a_usable_target_are_left_out_and_counted(tmp_path: Path, table: Callable[..., Path]) -> None:
    labels = ["a"] * 100 + ["b"] * 90 + ["rare"] * 5 + [""] * 5

    dataset = ingested(tmp_path / "out", "csv", str(table(bought=labels)), "bought")

    target = dataset.schema.target
    assert (target.classes, target.task, target.positive) == (("a", "b"), "binary", "b"), (
        "two are left, so it is binary"
    )
    (told,) = [one for one in dataset.decisions if one.column == "bought"]
    assert told.remarks[0] == "binary, inferred"
    assert sum(dataset.rows.values()) == 190
    assert "class 'rare' was left out: rows 5, needed 10" in dataset.notes
    assert "left out for want of a value of the target 'bought': rows 5" in dataset.notes


@pytest.mark.usefixtures("local")
def test_booleans_and_infinities_are_values_a_model_can_take(tmp_path: Path, table: Callable[..., Path]) -> None:
    source = table(flag=["true", "False"] * 100, ratio=["inf", "1.5", "-inf", "2.5"] * 50)

    dataset = ingested(tmp_path / "out", "csv", str(source), "flag")

    features, _ = dataset.load("train")
    assert dataset.schema.target.classes == (False, True)
    assert dataset.schema.target.positive is True
    assert np.isfinite(features[~np.isnan(features)]).all()


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("columns", "args", "message"),
    [
        ({}, {"target": "price"}, "has no column 'price'"),
        ({"bought": ["yes"] * 200}, {}, "target 'bought' has one class, 'yes'"),
        ({"bought": ["yes"] * 197 + ["no"] * 3}, {}, "'yes' in 197 rows, 'no' in 3 rows: a model needs at least two"),
        ({"bought": [""] * 200}, {}, "target 'bought' has no value in any row"),
        ({"bought": [1.5] * 200}, {"overrides": '{"task": "regression"}'}, "target 'bought' is 1.5 in every row"),
        ({}, {"overrides": '{"positive": "maybe"}'}, "positive class 'maybe' is not a class .* 'no', 'yes'"),
        ({}, {"model": "My-Model"}, "model name 'My-Model': expected lower-case letters"),
        ({"bought": ["a", "b", "c", "d"] * 50}, {"overrides": '{"task": "binary"}'}, "a binary task has exactly two"),
    ],
)
def test_explains_what_it_cannot_learn_from(
    tmp_path: Path, table: Callable[..., Path], columns: dict[str, Any], args: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ingest(tmp_path / "out", "csv", str(table(**columns)), **{"target": "bought", **args})

    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("csv",), "csv needs a source and a target: the source "),
        (("csv", "", "left"), "csv needs a source: "),
        (("csv", "s3://data/churn.csv"), "csv needs a target: "),
        (("heart", "", "age"), "heart predicts 'disease', not 'age'"),
        (("heart", "", "", '{"drop": ["age"]}'), "heart declares its columns itself"),
        (("haert",), "unknown use case 'haert': choose one of csv, heart, housing, iris"),
    ],
)
def test_refuses_arguments_that_do_not_go_together(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ingest(tmp_path / "out", *args)


def test_says_which_candidates_a_run_fits_before_it_reads_anything() -> None:
    assert candidates("iris", []) == ["logistic", "svm", "forest", "boosting", "voting"]
    assert candidates("iris", ["svm"]) == ["svm"]
    with pytest.raises(InputError, match="unknown candidate 'oracle' of iris: choose one of logistic, svm"):
        candidates("iris", ["oracle"])


@pytest.mark.usefixtures("local")
def test_a_file_in_place_of_the_source_must_look_like_it(tmp_path: Path, table: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"lacks the columns 'longitude', .* of housing; it has 'Größe \(cm\)'"):
        ingest(tmp_path / "out", "housing", str(table()))


@pytest.mark.usefixtures("local")
def test_replaces_what_a_killed_run_left_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(b"half a file")
    ingest(folder, "iris")
    (folder / "holiday.jpg").write_bytes(b"")

    with pytest.raises(InputError, match=r"holds holiday\.jpg: ingest writes into a folder of its own"):
        ingest(folder, "iris")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_publishes_once_and_any_version_can_be_listed_and_fetched(tmp_path: Path, settings: Settings) -> None:
    first = ingest(tmp_path / "a", "iris", model="flowers")
    store = Store(settings)
    before = store.tag(Address("datasets", f"flowers/{first}/train.parquet"))
    second = ingest(tmp_path / "b", "iris", model="flowers", seed=7)
    again = ingest(tmp_path / "c", "iris", model="flowers")

    assert again == first
    assert [one.version for one in datasets.versions(settings, "flowers")] == [first, second]
    assert store.tag(Address("datasets", f"flowers/{first}/train.parquet")) == before
    fetched = datasets.fetch(settings, "flowers", first, tmp_path / "fetched")
    assert fetched.frame("test").equals(read(tmp_path / "a").frame("test"))


def test_a_version_without_its_manifest_does_not_exist(tmp_path: Path, settings: Settings) -> None:
    version = ingest(tmp_path / "a", "iris", model="halfway")
    Store(settings).remove(Address("datasets", f"halfway/{version}/dataset.json"))

    assert datasets.versions(settings, "halfway") == []
    with pytest.raises(InputError, match="there is no data set version"):
        datasets.fetch(settings, "halfway", version, tmp_path / "fetched")
    assert ingest(tmp_path / "b", "iris", model="halfway") == version
    assert [one.version for one in datasets.versions(settings, "halfway")] == [version]


def test_a_changed_version_is_not_fetched(tmp_path: Path, settings: Settings) -> None:
    version = ingest(tmp_path / "a", "iris", model="changed")
    other = (tmp_path / "a/test.parquet").read_bytes()
    Store(settings).put(Address("datasets", f"changed/{version}/train.parquet"), other)

    with pytest.raises(StoreError, match="does not match its version"):
        datasets.fetch(settings, "changed", version, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_an_object_store_is_asked_for_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "HEADRACE_DATASETS_BUCKET"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(InputError, match=r"no object store .* set HEADRACE_DATASETS_BUCKET to nothing"):
        ingest(tmp_path / "out", "iris")


def test_an_unreachable_object_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9 is not reachable"):
        ingest(tmp_path / "out", "iris")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where the machine lets a test mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("local")
def test_a_full_disk_is_named_with_what_to_do(small_disk: Path, table: Callable[..., Path]) -> None:
    source = table(rows=60_000, noise=np.random.default_rng(1).normal(size=60_000))

    with pytest.raises(InputError, match=r"the disk is full: .*free some space there, or point HEADRACE_HOME"):
        ingest(small_disk / "out", "csv", str(source), "bought")
    assert list(small_disk.iterdir()) == []


PEAK = """
import sys
from pathlib import Path
from components.ingest.step import ingest
from components.profile.step import profile
from components.validate.step import validate
out = Path(sys.argv[2])
ingest(out, "csv", sys.argv[1], "y")
validate(out, out.parent / "report.md")
profile(out, out.parent / "page.html")
(peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024)
"""


def long_table(path: Path, rows: int) -> None:
    """Write a CSV of numbers, categories, dates and long texts, a part at a time."""
    random = np.random.default_rng(5)
    with path.open("w") as stream:
        stream.write(",".join(["id", *(f"x{n}" for n in range(8)), "k", "note", "y"]) + "\n")
        for start in range(0, rows, 50_000):
            part = min(50_000, rows - start)
            numbers = random.normal(size=(part, 8)).round(5)
            frame = pd.DataFrame(numbers)
            frame.insert(0, "id", np.arange(start, start + part))
            frame["k"] = random.choice(list("abcdefgh"), part)
            frame["note"] = [f"a remark about row {n} that nobody reads again" for n in range(start, start + part)]
            frame["y"] = np.where(numbers[:, 0] + random.normal(size=part) > 0, "up", "down")
            frame.to_csv(stream, header=False, index=False)


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(("rows", "most_mib"), [(200_000, 700), pytest.param(2_000_000, 2048, marks=pytest.mark.long)])
def test_a_long_table_is_streamed(tmp_path: Path, rows: int, most_mib: int) -> None:
    long_table(tmp_path / "long.csv", rows)

    command = [sys.executable, "-c", PEAK, str(tmp_path / "long.csv"), str(tmp_path / "out")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)

    assert int(answer.stdout) < most_mib
    assert sum(json.loads((tmp_path / "out/dataset.json").read_text())["rows"].values()) == rows


def test_splits_hold_plain_types_that_any_reader_knows(tmp_path: Path, local: None, table: Callable[..., Path]) -> None:
    dataset = ingested(tmp_path / "out", "csv", str(table()), "bought")

    schema = pq.read_schema(dataset.folder / "train.parquet")

    assert schema.types == [pa.float64(), pa.string(), pa.timestamp("ms"), pa.string()]
    assert schema.metadata is None
