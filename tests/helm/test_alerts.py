"""The alerts, run by promtool on made-up series."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CASES = Path(__file__).parent / "alerts.yaml"


@pytest.fixture
def rules(render, tmp_path) -> Path:
    """The rule file that Prometheus gets."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    spec = next(item["spec"] for item in render("production") if item["kind"] == "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def test_promtool_accepts_the_rules(rules):
    result = subprocess.run(["promtool", "check", "rules", rules / "rules.yaml"], capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr


def test_alerts_fire_and_stay_silent_as_they_should(rules):
    (rules / "alerts.yaml").write_text(CASES.read_text())

    result = subprocess.run(["promtool", "test", "rules", rules / "alerts.yaml"], capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr
