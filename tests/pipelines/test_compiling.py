"""What is committed is what compiles, byte for byte, and a cluster takes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from components import use_cases
from components.releases import LAPTOP, plans
from pipelines import ir, validation
from pipelines.compiling import FOLDER, TRAINING

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


def test_the_file_is_one_a_cluster_takes_and_a_person_can_fill_in() -> None:
    pipeline = ir.load(TRAINING)

    assert [found for found in validation.check(pipeline) if found.level != validation.ADVICE] == []
    assert pipeline.name == "headrace-training"
    assert pipeline.spec.pipeline_info.description
    for spec in pipeline.spec.root.input_definitions.parameters.values():
        assert spec.description
        assert spec.is_optional
        assert spec.default_value.WhichOneof("kind")


def test_a_node_of_two_cores_has_room_for_every_step() -> None:
    """Requests beside limits: what else runs there asks for most of such a node, and memory is what was measured."""
    from pipelines.training import NEEDS

    for step, needs in NEEDS.items():
        assert float(needs.cpu.removesuffix("m")) <= 250, step
        assert int(needs.memory.removesuffix("Mi")) <= 640, step


def test_a_release_has_as_long_as_its_plan_is_patient() -> None:
    from pipelines.training import NEEDS

    for environment in plans.environments():
        plan = plans.stamp(environment, "heart", "1", "s3://models/heart/1", {}).plan
        steps = len(plan.steps) if plan.strategy == "canary" else 0
        assert steps * plan.patience + 3 * plan.timeout <= NEEDS["deploy"].minutes * 60


def test_artifacts_go_to_our_own_store() -> None:
    assert ir.load(TRAINING).spec.default_pipeline_root == "s3://artifacts/kfp"


def test_the_verdict_decides_at_the_steps_themselves_and_one_of_the_two_runs() -> None:
    tasks = ir.load(TRAINING).spec.root.dag.tasks
    conditions = {name: task.trigger_policy.condition for name, task in tasks.items() if task.trigger_policy.condition}

    assert conditions == {
        "register": "inputs.parameter_values['accepted'] == true",
        "refuse": "inputs.parameter_values['accepted'] == false",
    }
    for name in conditions:
        source = tasks[name].inputs.parameters["accepted"].task_output_parameter
        assert (source.producer_task, source.output_parameter_key) == ("evaluate", "Output")
    assert list(tasks["deploy"].dependent_tasks) == ["register"]
    assert "validate" in tasks["evaluate"].dependent_tasks


def test_what_can_be_listed_is_chosen_from_a_list() -> None:
    pipeline = ir.load(TRAINING)

    assert pipeline.choices("use_case") == use_cases.names()
    assert set(pipeline.choices("environment")) == {*plans.environments(), LAPTOP}
    assert pipeline.choices("strategy") == ("default", "canary", "rolling")
    parameters = pipeline.spec.root.input_definitions.parameters
    assert {name for name in parameters if pipeline.choices(name)} == {"use_case", "environment", "strategy"}
    # The UI shows a list as not chosen when it is about an empty value or one that it lacks.
    for name, spec in parameters.items():
        assert not spec.literals or spec.default_value.string_value in pipeline.choices(name)
        assert "" not in pipeline.choices(name)


def test_the_loop_runs_over_what_ingest_chose() -> None:
    root = ir.load(TRAINING).spec.root
    (loop,) = [task for task in root.dag.tasks.values() if task.HasField("parameter_iterator")]

    source = loop.inputs.parameters[loop.parameter_iterator.items.input_parameter].task_output_parameter
    assert (source.producer_task, source.output_parameter_key) == ("ingest", "Output")


def test_every_task_has_resources_a_time_limit_and_a_user() -> None:
    pipeline = ir.load(TRAINING)

    for label, executor in pipeline.executors.items():
        resources, config = executor.container.resources, pipeline.platform[label]
        assert resources.resource_cpu_request
        assert resources.resource_cpu_limit
        assert resources.resource_memory_request
        assert resources.resource_memory_limit
        assert config.active_deadline_seconds > 0
        assert config.security_context.run_as_non_root
        assert [source.config_map_name for source in config.config_map_as_env] == ["headrace"]
        secrets = {source.secret_name: source.optional for source in config.secret_as_env}
        assert secrets.pop("headrace-sources", True), "keys of a store for data need not exist"
        assert set(secrets) <= {"headrace-s3"}


def test_steps_that_read_or_change_the_outside_world_are_never_taken_from_a_cache() -> None:
    pipeline = ir.load(TRAINING)
    graphs = [pipeline.spec.root, *pipeline.components.values()]
    cached = {name for graph in graphs for name, task in graph.dag.tasks.items() if task.caching_options.enable_cache}

    assert cached == {"profile", "train"}
