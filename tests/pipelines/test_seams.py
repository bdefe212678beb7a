"""The parts of kfp.local that the runner leans on are those it was written against."""

from __future__ import annotations

import pytest
from kfp.local import executor_input_utils

from pipelines.local import seams


def test_the_installed_kfp_has_every_seam() -> None:
    seams.check()


def test_a_seam_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_input_utils, "construct_executor_input", lambda component_spec: None)

    with pytest.raises(seams.SeamMoved, match=r"construct_executor_input has the parameters .* install kfp==2.17.0"):
        seams.check()


def test_a_seam_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(executor_input_utils, "executor_input_to_dict")

    with pytest.raises(seams.SeamMoved, match="executor_input_to_dict has the parameters None"):
        seams.check()
