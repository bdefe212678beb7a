"""The laptop's registry, read from its file, is what MLflow says it is; and looking at it costs little."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from components import tracking
from components.settings import Settings
from pipelines.local import registered


def test_the_file_says_what_mlflow_says(settings: Settings) -> None:
    for number in range(4):
        tags = {tracking.URI_TAG: f"s3://models/m/{number}/", tracking.RUN_TAG: f"run-{number}", "a": "b"}
        tracking.create_version(settings, "m", source=f"s3://x/{number}", run=None, tags=tags, description="")
    tracking.create_version(settings, "other", source="s3://y", run=None, tags={}, description="")
    tracking.delete_version(settings, "m", 2)
    tracking.set_champion(settings, "m", "3")

    assert registered.versions(settings, "m") == tracking.versions(settings, "m")
    assert registered.versions(settings, "other") == tracking.versions(settings, "other")
    assert registered.versions(settings, "none") == tracking.versions(settings, "none") == []
    assert registered.champion(settings, "m") == tracking.champion(settings, "m") == "3"
    assert registered.champion(settings, "other") is None
    assert registered.models(settings) == ["m", "other"]


@pytest.mark.parametrize(
    "arguments",
    [["list", "usecases"], ["list", "runs"], ["list", "versions"], ["status", "m"], ["history", "m"], ["--version"]],
)
def test_verbs_that_only_look_cost_little(settings: Settings, arguments: list[str]) -> None:
    """CPU and not time; half a second is the aim, twice that is allowed here. Loading MLflow alone takes two."""
    tracking.create_version(settings, "m", source="s3://x", run=None, tags={}, description="")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "HEADRACE_HOME": str(settings.home), "MLFLOW_TRACKING_URI": settings.tracking_uri}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    subprocess.run([sys.executable, "-m", "pipelines", *arguments], env=environment, capture_output=True, check=False)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    assert not (Path(settings.home) / "s3").exists(), "no store was started"
