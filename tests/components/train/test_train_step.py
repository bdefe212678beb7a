"""Train leaves a sealed, proved bundle, a page that needs nothing else, and every figure in MLflow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from components import tracking, use_cases
from components.dataset import Dataset
from components.errors import InputError
from components.models import contest, goldens, metrics, score
from components.models.features import preprocess
from components.settings import Settings
from components.train.step import train, why_out
from components.use_cases import Candidate
from serving import bundle as bundles
from serving.bundle import Bundle

Trained = tuple[Bundle, Path, float]


def test_the_bundle_is_sealed_and_says_where_it_comes_from(trained: Trained, heart: Dataset) -> None:
    bundle, _, _ = trained

    assert set(bundles.REQUIRED) <= set(bundle.files)
    assert (bundle.model, bundle.candidate, bundle.version) == ("heart", "logistic", None)
    assert bundle.schema == heart.schema
    assert bundle.provenance["dataset"] == heart.version
    assert bundle.provenance["code"] == "abc1234"
    assert bundle.provenance["libraries"]["scikit-learn"]


def test_the_returned_score_is_the_cross_validated_metric_of_the_gate(trained: Trained) -> None:
    bundle, _, returned = trained
    crossed = bundle.json(bundles.METRICS)["cross_validation"]

    assert returned == pytest.approx(crossed["mean"]["roc_auc"])
    assert returned == pytest.approx(np.mean([fold["roc_auc"] for fold in crossed["folds"]]))
    assert 0.8 < returned < 1.0


def test_the_conversion_is_proved_and_recorded(trained: Trained) -> None:
    proof = trained[0].json(bundles.METRICS)["parity"]["onnx"]

    assert proof["proven"] is True
    assert (proof["rows"], proof["flips"]) == (3_000, 0)
    assert proof["max_difference"] <= 1e-12


def test_the_onnx_model_reproduces_the_golden_requests(trained: Trained) -> None:
    bundle, _, _ = trained
    scorer = score.scorer(bundle)

    for request in bundle.json(bundles.GOLDEN)["requests"]:
        scores = scorer(goldens.encode_instances(bundle.schema, request["instances"]))
        np.testing.assert_allclose(scores, request["probabilities"], atol=1e-12, rtol=0)


def test_validation_figures_are_those_of_the_bundle_s_own_model(trained: Trained, heart: Dataset) -> None:
    bundle, _, _ = trained
    X, y = heart.load("validation")

    assert bundle.json(bundles.METRICS)["validation"] == pytest.approx(
        metrics.compute(heart.schema.target, y, score.scorer(bundle)(X))
    )


def test_the_page_is_one_file_with_every_plot(trained: Trained) -> None:
    page = trained[1].read_text()

    assert page.count("<svg") + page.count('<img class="raster"') == 9
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "Learning curve" in page
    assert "Importance of columns" in page
    assert "Where to say yes" in page
    assert "partial dependence" in page


def test_the_card_tells_how_to_call_the_model(trained: Trained) -> None:
    card = (trained[0].folder / bundles.CARD).read_text()

    assert "/v1/models/heart:predict" in card
    assert "Not yet judged on the test rows." in card
    assert "CC BY 4.0" in card


def test_the_same_seed_gives_the_same_model_files_and_mlflow_gets_every_fold(
    heart: Dataset, trained: Trained, settings: Settings, environment: Mapping[str, str], tmp_path: Path
) -> None:
    train(heart.folder, "logistic", tmp_path / "bundle", tmp_path / "page.html", parity_rows=3_000)

    again = bundles.load(tmp_path / "bundle")
    client = tracking.client(settings)
    run = client.get_run(again.provenance["mlflow_run"])
    for name in (bundles.MODEL, bundles.GOLDEN, bundles.REFERENCE, bundles.METRICS):
        assert again.files[name] == trained[0].files[name], name
    assert again.files.get(bundles.TABLE) == trained[0].files.get(bundles.TABLE)
    assert len(client.get_metric_history(run.info.run_id, "fold_roc_auc")) == 5
    assert run.data.params["dataset"] == heart.version
    assert "model__C" in run.data.params
    kept = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"search.json", "train.html", "card.md", "plots"} <= kept


def test_a_class_without_a_training_row_is_named(
    heart: Dataset, environment: Mapping[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(heart.folder, folder)
    frame = pd.read_parquet(folder / "train.parquet")
    frame[frame["disease"] == 0].to_parquet(folder / "train.parquet")

    with pytest.raises(InputError, match="no training row has disease = 1"):
        train(folder, "logistic", tmp_path / "bundle", tmp_path / "page.html")

    assert not (tmp_path / "bundle").exists()


def test_an_unknown_candidate_is_refused_with_the_choice(heart: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown candidate 'oracle' of heart: choose one of logistic"):
        train(heart.folder, "oracle", tmp_path / "bundle", tmp_path / "page.html")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (KNeighborsClassifier(), "NotConvertible: no exact conversion of KNeighborsClassifier: use one of "),
        (LogisticRegression(C=-1.0), "InvalidParameterError: The 'C' parameter of LogisticRegression must be a float"),
    ],
    ids=["not convertible", "not fitted"],
)
def test_a_candidate_that_cannot_be_used_is_out_and_the_others_go_on(
    heart: Dataset,
    trained: Trained,
    environment: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Any,
    reason: str,
) -> None:
    case = use_cases.load("heart")
    odd = Candidate("odd", lambda schema, seed: Pipeline([*preprocess(schema), ("model", model)]))
    monkeypatch.setattr(use_cases, "load", lambda name: replace(case, candidates=(odd, *case.candidates)))

    returned = train(heart.folder, "odd", tmp_path / "bundle", tmp_path / "page.html")
    entries = [contest.enter(folder, heart) for folder in (tmp_path / "bundle", trained[0].folder)]

    assert returned < -1e300
    assert reason in why_out(tmp_path / "bundle")
    assert why_out(trained[0].folder) == ""
    assert reason.split(":")[0] in (tmp_path / "page.html").read_text()
    assert [(entry.name, bool(entry.out)) for entry in entries] == [("odd", True), ("logistic", False)]
    best = contest.winner(entries, "roc_auc", heart, ["odd", "logistic"])
    assert best is not None
    assert best.name == "logistic"


@pytest.mark.filterwarnings("ignore:.*type hint is inferred:UserWarning")  # importing mlflow.pyfunc makes it
def test_mlflow_reads_the_bundle_as_a_model_of_its_own(trained: Trained, heart: Dataset) -> None:
    from mlflow import pyfunc

    bundle, _, _ = trained
    model = pyfunc.load_model(str(bundle.folder))
    frame = heart.frame("test").drop(columns=["disease"])
    answer = model.predict(frame)
    X, _ = heart.load("test")

    np.testing.assert_allclose(
        answer[["probability_0", "probability_1"]].to_numpy(), score.scorer(bundle)(X), atol=1e-12
    )
