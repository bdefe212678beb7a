"""What is measured, one way per process: `python -m benchmarks.pipelines.measured WAY FOLDER GRAPH [CANDIDATE ...]`."""

# KFP reads annotations at run time, so this file has no `from __future__ import annotations`.
import os
import sys
import warnings
from pathlib import Path
from typing import Any

STEPS = 8


def chain(x: int) -> int:
    """Return what the chain does, as plain calls."""
    for _ in range(STEPS):
        x = add_one(x)
    return x


def add_one(x: int) -> int:
    """Return the next number."""
    return x + 1


def calls_of_heart(folder: Path, candidates: list[str]) -> None:
    """Call the steps of the heart run one after another, as a script would."""
    from components import settings
    from components.deploy.step import deploy
    from components.evaluate.step import evaluate
    from components.ingest.step import ingest
    from components.profile.step import profile
    from components.refuse.step import refuse
    from components.register.step import register
    from components.train.step import train
    from components.validate.step import validate

    data, run = folder / "data", "benchmark"
    ingest(data, "heart")
    validate(data, folder / "validate.md")
    profile(data, folder / "profile.html")
    for name in candidates:
        train(data, name, folder / name, folder / f"{name}.html")
    verdict = evaluate(data, [folder / name for name in candidates], folder / "winner", folder / "verdict.md", run)
    if not verdict.accepted:
        refuse(data, run)
        return
    version = register(folder / "winner", run)
    deploy(version.model, version.number, "laptop")
    assert settings.read().home.is_dir()


def compiled(what: str, folder: Path) -> Path:
    """Return the compiled file: the committed one, which runs heart by default, or the chain's."""
    from pipelines.compiling import TRAINING

    if what == "heart":
        return TRAINING
    from kfp import compiler, dsl

    @dsl.component(base_image="headrace/python:1", packages_to_install=[], install_kfp_package=False)
    def step(x: int) -> int:
        return x + 1

    @dsl.pipeline(name="chain")
    def graph(x: int = 0) -> None:
        for _ in range(STEPS):
            x = step(x=x).output

    path = folder / "chain.yaml"
    compiler.Compiler().compile(graph, str(path))
    return path


def stock(path: Path, folder: Path, arguments: dict[str, Any]) -> None:
    """Run a compiled file on kfp.local as it comes."""
    from kfp import components, local

    warnings.simplefilter("ignore")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"))
    components.load_component_from_file(str(path))(**arguments)


def laptop(path: Path, arguments: dict[str, Any]) -> None:
    """Run a compiled file on our runner."""
    from pipelines import ir
    from pipelines.local.progress import Plain
    from pipelines.local.run import Order, run

    done = run(Order(ir.load(path), arguments, Path(os.environ["HEADRACE_HOME"])), Plain())
    if done.status != "succeeded":
        raise SystemExit(done.error)


def main() -> None:
    """Do one thing one way."""
    way, folder, what, *candidates = sys.argv[1:]
    if way == "calls" and what == "chain":
        assert chain(0) == STEPS
        return
    if way == "calls":
        calls_of_heart(Path(folder), candidates or all_candidates())
        return
    from pipelines.lean import stub_client

    if way == "laptop":
        stub_client()
    arguments: dict[str, Any] = {} if what == "chain" else {"environment": "laptop"}
    if candidates:
        arguments["candidates"] = candidates
    path = compiled(what, Path(folder))
    if way == "stock":
        stock(path, Path(folder), arguments)
    else:
        laptop(path, arguments)


def all_candidates() -> list[str]:
    """Return the candidates of heart."""
    from components import use_cases

    return [candidate.name for candidate in use_cases.load("heart").candidates]


if __name__ == "__main__":
    main()
