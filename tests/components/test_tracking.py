"""Which MLflow run a step writes to: the one that KFP's plugin made for it, where our MLflow has it, or its own."""

from __future__ import annotations

import json

import pytest

from components import tracking
from components.dataset import Dataset
from components.settings import Settings


@pytest.fixture
def injected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """The run of a pipeline run, that of a loop in it, and that of a step in the loop, as KFP 2.17's plugin makes them.

    The last one is in the environment.
    """
    client = tracking.client(settings)
    experiment = client.create_experiment("KFP-Default")
    whole = client.create_run(experiment, run_name="heart-1").info.run_id
    loop = client.create_run(experiment, run_name="for-loop-1", tags={tracking.PARENT_TAG: whole}).info.run_id
    step = client.create_run(experiment, run_name="train", tags={tracking.PARENT_TAG: loop}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", step)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    return whole, loop, step


def test_a_candidate_is_logged_to_the_run_that_kfp_made_for_its_step(
    settings: Settings, injected: tuple[str, str, str]
) -> None:
    with tracking.candidate_run(settings, "heart", "forest", "d41d") as run:
        pass

    assert run == injected[2]
    found = tracking.client(settings).get_run(run)
    assert found.data.tags[tracking.CANDIDATE_TAG] == "forest"
    assert found.data.tags[tracking.PARENT_TAG] == injected[1]
    assert found.info.run_name == "forest"


def test_the_verdict_is_logged_to_the_run_that_kfp_made_for_the_pipeline(
    settings: Settings, injected: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for step in (injected[2], injected[1]):  # two steps of one pipeline run
        monkeypatch.setenv("MLFLOW_RUN_ID", step)
        with tracking.parent_run(settings, "heart", "run-7") as run:
            found.append(run)

    assert found == [injected[0], injected[0]]
    assert tracking.client(settings).get_run(injected[0]).data.tags[tracking.RUN_TAG] == "run-7"


def test_a_run_that_another_mlflow_has_is_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, opened in (
        ("forest", lambda: tracking.candidate_run(settings, "heart", "forest", "d41d")),
        ("run-7", lambda: tracking.parent_run(settings, "heart", "run-7")),
    ):
        monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
        with opened() as run:
            pass

        assert tracking.client(settings).get_run(run).info.run_name == name
        assert "has no such run" in caplog.text


def test_without_kfps_plugin_a_pipeline_run_has_one_run_of_its_own(settings: Settings) -> None:
    with tracking.parent_run(settings, "heart", "run-7") as first:
        pass
    with tracking.parent_run(settings, "heart", "run-7") as again:
        pass
    with tracking.parent_run(settings, "heart", "run-8") as other:
        pass

    assert first == again != other


def test_a_run_shows_its_source_its_data_and_how_long_it_took(
    settings: Settings, heart: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    client = tracking.client(settings)
    with tracking.candidate_run(settings, "heart", "forest", heart.version) as child:
        tracking.log_dataset(settings, child, heart, "train", "validation")
    begun = client.get_run(child).info.start_time
    with tracking.parent_run(settings, "heart", "run-9", [child, "0" * 32]) as parent:
        tracking.log_params(settings, parent, {"seed": 7, "chosen": "forest"})
        tracking.log_params(settings, parent, {"seed": 8, "bar": "none"})  # a second attempt

    found, whole = client.get_run(child), client.get_run(parent)
    (seen,) = found.inputs.dataset_inputs
    assert (seen.dataset.name, seen.tags[0].value) == ("heart", "train, validation")
    assert heart.version.startswith(seen.dataset.digest)
    assert json.loads(seen.dataset.profile)["num_rows"] == heart.rows["train"] + heart.rows["validation"]
    assert [column["name"] for column in json.loads(seen.dataset.schema)["mlflow_colspec"]] == list(heart.schema.names)
    assert found.data.tags["mlflow.source.name"] == "components/train/step.py"
    assert found.data.tags["mlflow.source.git.commit"] == settings.code_version
    assert whole.info.start_time == begun, "a pipeline run has lasted since its first candidate began"
    assert whole.data.params == {"seed": "7", "chosen": "forest", "bar": "none"}
    assert "parameter seed" in caplog.text
