"""What is committed is what compiles, byte for byte, and a cluster takes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components import use_cases
from pipelines import ir, validation
from pipelines.compiling import FOLDER

PROJECT = Path(__file__).parents[2]


def compiled(folder: Path, seed: str) -> dict[str, bytes]:
    subprocess.run(
        [sys.executable, "-m", "pipelines", "compile", "--quiet", "--output", str(folder)],
        cwd=PROJECT,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_compiles_to_the_committed_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    first, second = compiled(tmp_path / "1", "1"), compiled(tmp_path / "2", "2")

    assert first == second
    assert first == {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.yaml"))}, "run make golden"


@pytest.mark.parametrize("name", use_cases.names())
def test_every_use_case_compiles_to_a_file_a_cluster_takes(name: str) -> None:
    pipeline = ir.load(FOLDER / f"{name}.yaml")

    assert [found for found in validation.check(pipeline) if found.level != validation.ADVICE] == []
    parameters = pipeline.spec.root.input_definitions.parameters
    assert pipeline.name == name
    assert all(spec.description for spec in parameters.values())
    assert pipeline.spec.pipeline_info.description


@pytest.mark.parametrize("name", use_cases.names())
def test_every_task_has_resources_a_time_limit_and_a_user(name: str) -> None:
    pipeline = ir.load(FOLDER / f"{name}.yaml")

    for label, executor in pipeline.executors.items():
        resources, config = executor.container.resources, pipeline.platform[label]
        assert resources.resource_cpu_request
        assert resources.resource_cpu_limit
        assert resources.resource_memory_request
        assert resources.resource_memory_limit
        assert config.active_deadline_seconds > 0
        assert config.security_context.run_as_non_root
        assert [source.config_map_name for source in config.config_map_as_env] == ["headrace"]
        assert {source.secret_name for source in config.secret_as_env} <= {"headrace-s3"}


def test_steps_that_read_or_change_the_outside_world_are_never_taken_from_a_cache() -> None:
    pipeline = ir.load(FOLDER / "heart.yaml")
    graphs = [pipeline.spec.root, *pipeline.components.values()]
    cached = {name for graph in graphs for name, task in graph.dag.tasks.items() if task.caching_options.enable_cache}

    assert cached == {"profile", "train"}
