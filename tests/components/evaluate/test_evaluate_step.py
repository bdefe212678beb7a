"""Evaluate accepts what is good, proved and not worse than the champion, and says why it refuses the rest."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components import registry, tracking
from components.dataset import Dataset
from components.errors import InputError
from components.evaluate.step import Verdict, evaluate
from components.models import assembly, judgement, recipes
from components.models.assembly import Fitted
from components.models.search import search
from components.settings import Settings
from components.use_cases import Candidate, Gate
from components.use_cases import heart as heart_case
from serving import bundle as bundles
from serving import native
from serving.bundle import Bundle
from serving.schema import Target

Trained = tuple[Bundle, Path, float]


@pytest.fixture(scope="session")
def weak(heart: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A candidate that learned from shuffled answers: proved, sealed and useless."""
    X, y = heart.load("train")
    noise = np.random.default_rng(3).permutation(y)
    candidate = Candidate("weak", recipes.logistic)
    found = search(candidate, heart.schema, X, noise, metric="roc_auc", seed=1)
    pipeline = recipes.logistic(heart.schema, 1).fit(X, noise)
    fitted = Fitted(heart_case.USE_CASE, "weak", pipeline, found, len(X))
    folder = tmp_path_factory.mktemp("weak") / "bundle"
    return assembly.write(fitted, heart, folder, seed=1, provenance={}, parity_rows=1_000)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that asks for nothing, so that only the check under test decides."""
    monkeypatch.setattr(heart_case, "USE_CASE", replace(heart_case.USE_CASE, gate=Gate("roc_auc", tolerance=0.05)))


def judged(heart: Dataset, tmp_path: Path, *folders: Path) -> Verdict:
    return evaluate(heart.folder, list(folders), tmp_path / "winner", tmp_path / "report.html", "run-7")


def changed(bundle: Bundle, folder: Path, **figures: object) -> Path:
    """A copy of a bundle with other figures, sealed again."""
    shutil.copytree(bundle.folder, folder)
    content = {**bundle.json(bundles.METRICS), **figures}
    (folder / bundles.METRICS).write_text(json.dumps(content))
    bundles.seal(replace(bundle, folder=folder))
    return folder


def test_a_good_candidate_is_accepted_and_its_bundle_carries_the_test(
    heart: Dataset, trained: Trained, weak: Bundle, environment: Mapping[str, str], tmp_path: Path
) -> None:
    verdict = judged(heart, tmp_path, weak.folder, trained[0].folder)

    winner = bundles.load(tmp_path / "winner")
    test = winner.json(bundles.METRICS)["test"]
    assert verdict.accepted
    assert verdict.candidate == winner.candidate == "logistic"
    assert verdict.metrics["roc_auc"] == test["figures"]["roc_auc"]["value"]
    assert test["figures"]["roc_auc"]["low"] < verdict.metrics["roc_auc"] < test["figures"]["roc_auc"]["high"]
    assert winner.files[bundles.MODEL] == trained[0].files[bundles.MODEL]
    assert "95 % interval" in (winner.folder / bundles.CARD).read_text()
    assert ": accepted</h1>" in (tmp_path / "report.html").read_text()


def test_a_model_that_was_not_compiled_is_a_warning_wherever_one_looks(
    heart: Dataset,
    trained: Trained,
    environment: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def absent(data: bytes) -> None:
        raise ImportError("no extension")

    X, y = heart.load("train")
    found = search(Candidate("plain", recipes.logistic), heart.schema, X, y, metric="roc_auc", seed=1)
    pipeline = recipes.logistic(heart.schema, 1).fit(X, y)
    fitted = Fitted(heart_case.USE_CASE, "plain", pipeline, found, len(X))
    monkeypatch.setattr(assembly.score, "table", absent)
    bundle = assembly.write(fitted, heart, tmp_path / "plain", seed=1, provenance={}, parity_rows=1_000)

    verdict = judged(heart, tmp_path, bundle.folder)

    said = "the C extension is not built here"
    assert bundles.TABLE not in bundle.files
    assert verdict.accepted
    assert [said in warning for warning in verdict.warnings] == [True]
    assert f"Warning: not compiled, ONNX Runtime answers, about ten times the time a row: {said}" in (
        (tmp_path / "winner" / bundles.CARD).read_text()
    )
    assert said in (tmp_path / "report.html").read_text()
    logged = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sum(said in message for message in logged) == 2, "once where it was trained, once where it won"


def test_a_compiled_model_has_no_warning(
    heart: Dataset, trained: Trained, environment: Mapping[str, str], tmp_path: Path
) -> None:
    assert judged(heart, tmp_path, trained[0].folder).warnings == ()
    assert "Warning" not in (tmp_path / "winner" / bundles.CARD).read_text()


def test_the_curves_describe_the_test_rows(
    heart: Dataset, trained: Trained, environment: Mapping[str, str], tmp_path: Path
) -> None:
    verdict = judged(heart, tmp_path, trained[0].folder)

    assert verdict.roc is not None
    assert verdict.confusion is not None
    false_rate, true_rate, threshold = verdict.roc
    labels, matrix = verdict.confusion
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(verdict.metrics["roc_auc"], abs=0.01)
    assert threshold == sorted(threshold, reverse=True)
    assert labels == ["0", "1"]
    assert sum(map(sum, matrix)) == heart.rows["test"]


def test_a_candidate_below_a_threshold_is_refused(
    heart: Dataset, weak: Bundle, environment: Mapping[str, str], tmp_path: Path
) -> None:
    verdict = judged(heart, tmp_path, weak.folder)

    assert not verdict.accepted
    assert any(reason.startswith("ROC AUC on the test rows is") for reason in verdict.reasons)
    assert ": refused</h1>" in (tmp_path / "report.html").read_text()
    assert bundles.load(tmp_path / "winner").json(bundles.METRICS)["verdict"]["accepted"] is False


def test_a_first_model_that_knows_no_more_than_a_constant_answer_is_refused(
    heart: Dataset, weak: Bundle, gate: None, environment: Mapping[str, str], tmp_path: Path
) -> None:
    verdict = judged(heart, tmp_path, weak.folder)

    figures = bundles.load(tmp_path / "winner").json(bundles.METRICS)["test"]
    assert not verdict.accepted
    (reason,) = verdict.reasons
    assert "a constant answer reaches 0.500, the difference is at least −0." in reason
    assert figures["constant"]["value"] == 0.5
    assert figures["constant"]["gain"]["low"] < 0


def test_the_headline_figure_and_the_constant_answer_are_always_told(
    heart: Dataset, trained: Trained, gate: None, environment: Mapping[str, str], tmp_path: Path
) -> None:
    verdict = judged(heart, tmp_path, trained[0].folder)

    assert verdict.accepted
    assert verdict.reasons[0].startswith("ROC AUC on the test rows is 0.")
    assert "a constant answer reaches 0.500" in verdict.reasons[0]


def test_a_candidate_worse_than_the_champion_is_refused(
    heart: Dataset, trained: Trained, weak: Bundle, gate: None, settings: Settings, tmp_path: Path
) -> None:
    version = registry.publish(settings, trained[0], tmp_path.name)
    tracking.set_champion(settings, "heart", version.number)

    verdict = judged(heart, tmp_path, weak.folder)

    assert not verdict.accepted
    assert len(verdict.reasons) == 2, "the constant answer is better, and so is the champion"
    assert verdict.reasons[1].startswith(f"Against the champion (version {version.number}), which reaches 0.9")


def test_the_champion_s_equal_is_accepted(heart: Dataset, trained: Trained, settings: Settings, tmp_path: Path) -> None:
    version = registry.publish(settings, trained[0], tmp_path.name)
    tracking.set_champion(settings, "heart", version.number)

    verdict = judged(heart, tmp_path, trained[0].folder)

    assert verdict.accepted
    assert any("changes by +0.000 (+0.000 to +0.000)" in reason for reason in verdict.reasons)


def test_a_champion_that_answers_another_question_does_not_block(
    heart: Dataset, trained: Trained, settings: Settings, tmp_path: Path
) -> None:
    other = replace(trained[0].schema, target=Target("disease", "binary", ("no", "yes"), "yes"))
    shutil.copytree(trained[0].folder, tmp_path / "other")
    sealed = bundles.seal(replace(trained[0], folder=tmp_path / "other", schema=other))
    version = registry.publish(settings, sealed, tmp_path.name)
    tracking.set_champion(settings, "heart", version.number)

    verdict = judged(heart, tmp_path, trained[0].folder)

    assert verdict.accepted
    assert any("could not be compared: it answers another question" in reason for reason in verdict.reasons)


def test_an_unproved_candidate_cannot_win(
    heart: Dataset, trained: Trained, weak: Bundle, gate: None, environment: Mapping[str, str], tmp_path: Path
) -> None:
    proof = {"onnx": {"rows": 3_000, "max_difference": 0.04, "flips": 12, "proven": False}}
    unproved = changed(trained[0], tmp_path / "unproved", parity=proof)

    verdict = judged(heart, tmp_path, unproved, weak.folder)

    assert verdict.candidate == "weak"
    assert "12 of 3000 critical rows change class" in (tmp_path / "report.html").read_text()


def test_a_run_without_a_usable_candidate_is_refused_with_every_reason(
    heart: Dataset, trained: Trained, environment: Mapping[str, str], tmp_path: Path
) -> None:
    unproved = changed(trained[0], tmp_path / "unproved", parity={})
    damaged = tmp_path / "damaged"
    shutil.copytree(trained[0].folder, damaged)
    (damaged / bundles.MODEL).write_bytes(b"changed")
    forgetful = tmp_path / "forgetful"
    shutil.copytree(trained[0].folder, forgetful)
    golden = trained[0].json(bundles.GOLDEN)
    golden["requests"][0]["probabilities"][0][0] += 0.01
    (forgetful / bundles.GOLDEN).write_text(json.dumps(golden))
    bundles.seal(replace(trained[0], folder=forgetful))

    verdict = judged(heart, tmp_path, unproved, damaged, tmp_path / "absent", forgetful)

    assert not verdict.accepted
    assert verdict.candidate == ""
    assert [reason.split(": ")[0] for reason in verdict.reasons] == ["logistic", "damaged", "absent", "logistic"]
    assert "never proved" in verdict.reasons[0]
    assert "does not match its digest" in verdict.reasons[1]
    assert "is not a bundle" in verdict.reasons[2]
    assert "golden request 0" in verdict.reasons[3]
    page = html.unescape((tmp_path / "report.html").read_text())
    assert all(reason.split(": ", 1)[1] in page for reason in verdict.reasons)


def test_a_slow_candidate_is_refused(
    heart: Dataset,
    trained: Trained,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(heart_case, "USE_CASE", replace(heart_case.USE_CASE, gate=Gate("roc_auc", latency_ms=1e-9)))

    verdict = judged(heart, tmp_path, trained[0].folder)

    assert not verdict.accepted
    assert verdict.reasons[0].startswith("One row takes")


def test_without_the_c_extension_the_time_of_onnx_runtime_counts(
    heart: Dataset,
    trained: Trained,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(native, "available", lambda: False)

    verdict = judged(heart, tmp_path, trained[0].folder)

    assert verdict.accepted
    assert "latency_table_ms" not in verdict.metrics
    assert any("(ONNX Runtime)" in reason for reason in verdict.reasons)


def test_a_weak_slice_is_refused_where_the_use_case_says_so(
    heart: Dataset,
    trained: Trained,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    strict = Gate("accuracy", slice_excess=-10.0)
    monkeypatch.setattr(heart_case, "USE_CASE", replace(heart_case.USE_CASE, gate=strict))

    verdict = judged(heart, tmp_path, trained[0].folder)

    assert not verdict.accepted
    assert verdict.reasons[0].startswith("Weakest slice")


def test_mlflow_shows_the_verdict_and_the_candidates_below_the_run(
    heart: Dataset, trained: Trained, settings: Settings, tmp_path: Path
) -> None:
    with tracking.candidate_run(settings, "heart", "logistic", heart.version) as child:
        pass
    shutil.copytree(trained[0].folder, tmp_path / "bundle")
    sealed = replace(trained[0], provenance={**trained[0].provenance, "mlflow_run": child})
    bundles.seal(replace(sealed, folder=tmp_path / "bundle"))

    verdict = judged(heart, tmp_path, tmp_path / "bundle")

    client = tracking.client(settings)
    with tracking.parent_run(settings, "heart", "run-7") as parent:
        pass
    run = client.get_run(parent)
    assert run.data.metrics["test_roc_auc"] == pytest.approx(verdict.metrics["roc_auc"])
    assert run.data.metrics["accepted"] == 1.0
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == parent
    assert {"verdict.md", "evaluation.html"} <= {item.path for item in client.list_artifacts(parent)}


def test_a_bar_of_the_run_is_asked_for_beside_the_gate(
    heart: Dataset, trained: Trained, environment: Mapping[str, str], gate: None, tmp_path: Path
) -> None:
    folders = [trained[0].folder]
    verdict = evaluate(heart.folder, folders, tmp_path / "winner", tmp_path / "report.html", "run-7", "roc_auc>=0.999")

    assert not verdict.accepted
    assert [reason.endswith("required is at least 0.999") for reason in verdict.reasons] == [True]
    assert "≥ 0.999" in (tmp_path / "report.html").read_text()


def test_a_bar_that_the_task_has_no_figure_for_is_refused(
    heart: Dataset, trained: Trained, environment: Mapping[str, str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="rmse is no figure of a binary task"):
        evaluate(heart.folder, [trained[0].folder], tmp_path / "winner", tmp_path / "report.html", "run-7", "rmse<=3")


def test_a_chain_of_champions_cannot_lose_a_little_each_time(
    heart: Dataset,
    trained: Trained,
    weak: Bundle,
    environment: Mapping[str, str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The champion is as weak as the winner; only the version before it, of the same data, was better."""
    monkeypatch.setattr(heart_case, "USE_CASE", replace(heart_case.USE_CASE, gate=Gate("roc_auc", tolerance=0.05)))
    monkeypatch.setattr(judgement, "_above_floor", lambda metric, result: judgement.Check(True, "not under test"))
    assert judged(heart, tmp_path, trained[0].folder).accepted
    good = registry.publish(settings, bundles.load(tmp_path / "winner"), "run-good")
    figure = bundles.load(tmp_path / "winner").json(bundles.METRICS)["test"]["figures"]["roc_auc"]["value"]
    # Where another test has published this model, it is that version, which nobody judged.
    tracking.tag_version(settings, "heart", good.number, {f"{tracking.TEST_TAG}roc_auc": repr(figure)})
    for number, run in ((good.number, ""), ("", "run-weak")):
        version = number or registry.publish(settings, weak, run).number
        tracking.set_champion(settings, "heart", version)
        tracking.tag_version(settings, "heart", version, {"headrace.release.laptop": "released"})

    verdict = judged(heart, tmp_path, weak.folder)
    told = [reason for reason in verdict.reasons if "the best so far (version" in reason]
    tracking.tag_version(settings, "heart", good.number, {"headrace.release.laptop": "rolled back"})
    alone = judged(heart, tmp_path, weak.folder)

    assert not verdict.accepted
    assert f"(version {good.number})" in told[0]
    assert alone.accepted, "a version that was taken back sets no bar"
