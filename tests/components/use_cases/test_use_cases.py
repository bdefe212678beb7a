"""A use case is tested by existing: every file of the folder must be complete and hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components import settings, sources, use_cases
from components.errors import InputError
from components.models import metrics
from components.use_cases import UseCase
from serving.schema import Column, Schema, Target, encode

DECLARED = [name for name in use_cases.names() if use_cases.load(name).columns]


@pytest.fixture(params=use_cases.names())
def case(request: pytest.FixtureRequest) -> UseCase:
    return use_cases.load(request.param)


@pytest.fixture(params=DECLARED)
def declared(request: pytest.FixtureRequest) -> UseCase:
    return use_cases.load(request.param)


def schema_of(case: UseCase, task: str) -> Schema:
    columns = tuple(Column(name, one.kind, categories=one.categories or ()) for name, one in case.columns.items()) or (
        Column("a", "number"),
        Column("b", "category", categories=("x", "y")),
    )
    classes: tuple[Any, ...] = {"binary": (0, 1), "multiclass": ("a", "b", "c"), "regression": ()}[task]
    return Schema(columns, Target(case.target or "y", task, classes))  # type: ignore[arg-type]


def test_every_use_case_of_the_issue_is_there() -> None:
    assert {"csv", "heart", "housing", "iris"} <= set(use_cases.names())


def test_is_named_as_its_file_and_says_what_it_predicts(case: UseCase) -> None:
    assert case.name in use_cases.names()
    assert case.title
    assert case.description.endswith((".", "?"))
    assert case.candidates


def test_candidates_build_unfitted_pipelines_whose_parameters_their_space_names(case: UseCase) -> None:
    for candidate in case.candidates:
        for task in [case.task] if case.task else ["binary", "multiclass", "regression"]:
            pipeline = candidate.build(schema_of(case, task), 42)

            known = pipeline.get_params()
            assert known.keys() & candidate.space or not candidate.space
            assert case.task is None or set(candidate.space) <= set(known)


def test_an_unknown_candidate_is_answered_with_the_known_ones(case: UseCase) -> None:
    with pytest.raises(ValueError, match=f"choose one of {case.candidates[0].name}"):
        case.candidate("guesswork")


def test_a_run_fits_the_candidates_it_names_once_each_or_all(case: UseCase) -> None:
    known = [candidate.name for candidate in case.candidates]

    assert case.chosen([]) == known
    assert case.chosen([known[-1], known[0], known[-1]]) == [known[-1], known[0]]
    with pytest.raises(InputError, match=f"unknown candidate 'oracle' of {case.name}: choose one of {known[0]}"):
        case.chosen([known[0], "oracle"])


def test_only_the_table_of_a_person_has_no_source_of_its_own() -> None:
    cases = [use_cases.load(name) for name in use_cases.names()]

    assert [case.name for case in cases if not case.source.location or not case.target] == [use_cases.OWN_DATA]


def test_the_gate_compares_by_a_metric_of_the_task(case: UseCase) -> None:
    for task in [case.task] if case.task else ["binary", "multiclass", "regression"]:
        assert metrics.chosen(case.gate.metric, schema_of(case, task).target)


def test_a_declared_use_case_pins_and_credits_its_data(declared: UseCase) -> None:
    assert declared.source.sha256 is not None
    assert declared.source.licence
    assert declared.source.credit
    assert declared.source.file


def test_every_declared_column_is_described(declared: UseCase) -> None:
    for name, expected in declared.columns.items():
        assert expected.description, name
        assert (expected.categories is not None) == (expected.kind == "category"), name


def test_the_example_request_has_every_column_and_encodes(declared: UseCase) -> None:
    assert declared.task is not None
    schema = schema_of(declared, declared.task)

    assert list(declared.example) == list(schema.names)
    for column in schema.columns:
        number = encode(column, declared.example[column.name], column.name)
        expected = declared.columns[column.name]
        assert number >= 0 or column.kind == "number"
        assert expected.minimum is None or expected.minimum <= number <= (expected.maximum or number)


@pytest.mark.parametrize("name", ["heart", "iris"])
def test_shipped_data_has_the_pinned_checksum_and_the_declared_columns(name: str, tmp_path: Path) -> None:
    case = use_cases.load(name)

    frame = case.read(sources.obtain(case.source, settings.read({}), tmp_path).path)

    assert list(frame.columns) == [*case.columns, case.target]


def test_heart_marks_any_narrowing_as_disease_and_question_marks_as_missing(tmp_path: Path) -> None:
    case = use_cases.load("heart")
    frame = case.read(sources.obtain(case.source, settings.read({}), tmp_path).path)

    assert len(frame) == 303
    assert frame["disease"].sum() == 139
    assert frame.isna().sum().to_dict() == {**dict.fromkeys(frame.columns, 0), "ca": 4, "thal": 2}


def test_iris_has_fifty_flowers_of_each_species_by_name(tmp_path: Path) -> None:
    case = use_cases.load("iris")
    frame = case.read(sources.obtain(case.source, settings.read({}), tmp_path).path)

    assert frame["species"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 50}


def test_csv_reads_a_table_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,x\n")

    assert use_cases.load("csv").read(tmp_path / "t.csv").to_dict("list") == {"a": ["1"], "b": ["x"]}
