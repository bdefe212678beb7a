"""Real data sets and candidates, made once: what the tests of models, train and evaluate work on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from components import dataset as datasets
from components.dataset import Dataset
from serving import bundle as bundles
from serving.bundle import Bundle

PARITY_ROWS = 3_000


def ingested(use_case: str, folder: Path) -> Dataset:
    """The data set of a use case, made by ingest and kept in its folder only."""
    from components.ingest.step import ingest

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_DATASETS_BUCKET", "")
        ingest(folder, use_case)
    return datasets.read(folder)


@pytest.fixture(scope="session")
def heart(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The 303 patients of the heart use case: two classes, categories, missing values."""
    return ingested("heart", tmp_path_factory.mktemp("heart") / "dataset")


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The iris use case: three classes, numbers only."""
    return ingested("iris", tmp_path_factory.mktemp("iris") / "dataset")


@pytest.fixture(scope="session")
def trained(
    heart: Dataset, s3: Mapping[str, str], empty_tracking_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, Path, float]:
    """The logistic candidate of heart, trained once by the real step: its bundle, its page, the score returned."""
    from components.train.step import train

    home = tmp_path_factory.mktemp("training")
    shutil.copy(empty_tracking_store, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**s3, "HEADRACE_HOME": str(home), "HEADRACE_CODE_VERSION": "abc1234"}.items():
            patch.setenv(name, value)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        score = train(heart.folder, "logistic", home / "bundle", home / "page.html", parity_rows=PARITY_ROWS)
    return bundles.load(home / "bundle"), home / "page.html", score
