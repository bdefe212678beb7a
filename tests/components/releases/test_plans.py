"""Stamping the reviewed manifest of an environment."""

from __future__ import annotations

import pytest
import yaml

from components.releases import ReleaseError, plans


def stamp(environment="production", model="heart", version="3", **options):
    return plans.stamp(environment, model, version, "s3://bundles/heart/3", {plans.DIGEST: "a" * 64}, **options)


def test_only_names_address_and_facts_differ_from_the_reviewed_file():
    text = (plans.RENDERED / "production.yaml").read_text()
    reviewed = yaml.safe_load_all(text.replace("model-name", "heart").replace("model-version", "3"))
    expected = next(item for item in reviewed if item["kind"] == "InferenceService")
    expected["spec"]["predictor"]["model"]["storageUri"] = "s3://bundles/heart/3/"
    expected["spec"]["predictor"]["annotations"]["headrace/digest"] = "a" * 64

    assert stamp().service == expected


def test_a_model_whose_deployment_has_too_long_a_name_is_refused():
    with pytest.raises(ReleaseError, match=r"67 characters; Kubernetes allows 63: use a shorter model name"):
        stamp(model="m" * 54)


def test_a_model_whose_host_has_too_long_a_name_is_refused():
    with pytest.raises(ReleaseError, match="its host name, model and namespace, would be"):
        plans.check_host("m" * 40, "n" * 30)


@pytest.mark.parametrize("model", ["Heart", "my-model", "heart; rm", "1st"])
def test_a_name_that_is_no_word_is_refused(model):
    with pytest.raises(ReleaseError, match="a version a number"):
        stamp(model=model)


def test_an_unknown_environment_lists_those_there_are():
    with pytest.raises(ReleaseError, match="choose one of laptop, local, production, production-windows"):
        stamp("staging")


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ReleaseError, match="choose canary or rolling"):
        stamp(strategy="bluegreen")


def test_a_plan_whose_steps_do_not_rise_is_refused(tmp_path):
    text = (plans.RENDERED / "production.yaml").read_text()
    (tmp_path / "production.yaml").write_text(text.replace("5,25,50", "50,25"))

    with pytest.raises(ReleaseError, match="they must rise, between 0 and 100"):
        stamp(folder=tmp_path)


def test_a_canary_keeps_everything_but_scaling_and_never_has_more_pods_than_the_champion():
    predictor = stamp().predictor
    entry = plans.canary_entry(predictor, 50, {"minReplicas": 4})

    assert entry["trafficPercent"] == 50
    assert entry["predictor"]["minReplicas"] == 2
    assert entry["predictor"]["name"] == "v3"
    assert not set(plans.FIXED) & set(entry["predictor"])
    assert entry["predictor"]["model"] == {**predictor["model"], "name": "kserve-container"}
    assert "name" not in predictor["model"]
    assert plans.canary_entry(predictor, 0, {"minReplicas": 1})["predictor"]["minReplicas"] == 1


def test_manifests_may_lie_in_a_folder_of_ones_own(tmp_path, monkeypatch):
    text = (plans.RENDERED / "local.yaml").read_text().replace('scrape: "15"', 'scrape: "60"')
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setenv("HEADRACE_MANIFESTS", str(tmp_path))

    assert plans.environments() == ("mine",)
    assert stamp("mine").plan.scrape == 60.0
    with pytest.raises(ReleaseError, match="choose one of laptop, mine"):
        stamp("production")
