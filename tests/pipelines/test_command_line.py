"""The command line: what it takes, what it says when that is wrong, and how it exits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from components.errors import InputError
from pipelines.__main__ import main
from pipelines.local import choice, record, summary
from pipelines.local.choice import Wanted
from pipelines.local.record import Artifact, Record, Run, Task


def judged(accepted: bool, folder: Path) -> Run:
    """A finished run, as far as people look at it."""
    page = Artifact("page", "system.HTML", str(folder / "page"), "", "1")
    winner = Artifact("winner", "system.Model", "", "", "1", {"candidate": "forest"})
    report = Artifact(
        "report", "system.Markdown", "", "", "1", {"reasons": "AUC is 0.91\nfast enough", "warnings": "slow"}
    )
    tasks = [
        Task("profile", "profile", "succeeded", artifacts={"page": page}),
        Task("loop/0/train", "train forest", "succeeded", attempts=1, seconds=1.5, artifacts={"page": page}),
        Task(
            "evaluate",
            "evaluate",
            "succeeded",
            parameters={"Output": accepted},
            artifacts={"winner": winner, "report": report},
        ),
    ]
    if accepted:
        tasks.append(Task("a/register", "register", "succeeded", parameters={"model": "heart", "version": "3"}))
        tasks.append(Task("a/deploy", "deploy", "succeeded", parameters={"url": "http://h:1", "curl": "curl h"}))
    else:
        tasks.append(Task("b/refuse", "refuse", "succeeded", parameters={"Output": "2"}))
    return Run(
        "heart-1",
        "heart",
        folder,
        {"use_case": "heart", "seed": 42},
        "succeeded",
        "2026-01-01T00:00:00+00:00",
        tasks={task.path: task for task in tasks},
    )


def kept(home: Path, run: Run) -> Run:
    folder = home / "runs" / run.identifier
    folder.mkdir(parents=True)
    record_of = Record(replace(run, folder=folder))
    for task in run.tasks.values():
        record_of.put(task)
    return record_of.end(run.status)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "haert"], "unknown use case 'haert': choose one of csv, "),
        (["run", "heart", "--candidate", "magic"], "unknown candidate 'magic' of heart: choose one of logistic, "),
        (["run", "csv"], "csv needs source and target: give --csv FILE --target COLUMN"),
        (["run", "--csv", "absent.csv", "--target", "y"], "absent.csv: there is no such file"),
        (["run", "heart", "--override", "[1]"], "overrides are not a JSON object: expected something like .*columns"),
        (["run", "heart", "--override", '{"kinds": {}}'], "unknown override 'kinds': choose from columns, task"),
        (["run", "heart", "--at-least", "auc=1"], "unknown metric 'auc'; choose from accuracy"),
        (["run", "heart", "--at-least", "rmse=1"], "give --at-most rmse=1"),
        (["run", "--csv", ".", "--target", "y"], "is a folder: name one file in it"),
        (
            ["run", "--csv", "DATA", "--target", "spceies"],
            r"no column 'spceies' \(did you mean 'species'\?\); it has 'a'",
        ),
        (["run", "--csv", "DATA", "--target", "species", "--override", '{"drop": ["b"]}'], "the column 'b', which the"),
        (
            ["run", "--csv", "DATA", "--target", "species", "--model", "My Model"],
            "model name 'My Model': expected lower",
        ),
        (["run", "heart", "--workers", "0"], "--workers 0: expected 1 or more"),
        (["run", "--csv", __file__], "csv needs target: give --csv FILE --target COLUMN"),
        (["run", "heart", "--resume"], "no run is recorded in .* for heart: start one first"),
        (["show"], "no run is recorded"),
    ],
)
def test_wrong_input_is_told_and_exits_with_2(
    arguments: list[str], message: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("a,species\n1,x\n2,y\n")
    code = main([str(tmp_path / "t.csv") if one == "DATA" else one for one in arguments])

    told = capsys.readouterr().err
    assert not (home / "s3").exists(), "nothing was started"
    assert code == 2
    assert told.startswith("error: ")
    with pytest.raises(InputError, match=message):
        raise InputError(told)


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run", "--seed", "many"], ["list", "everything"], ["compile", "heart"], []]
)
def test_wrong_usage_exits_with_2(arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert "usage: python -m pipelines" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "compile", "validate", "list", "show", "fetch", "serve", "stop", "ui"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])

    assert f"usage: python -m pipelines {verb}" in capsys.readouterr().out


def test_the_exit_code_of_a_run_tells_what_became_of_it(tmp_path: Path) -> None:
    accepted, refused = judged(True, tmp_path), judged(False, tmp_path)
    failing = Task("train", "train", "failed", exit_code=1)

    assert summary.exit_code(accepted) == 0
    assert summary.exit_code(refused) == 3
    assert summary.exit_code(replace(accepted, status="failed", tasks={"train": failing})) == 1
    assert summary.exit_code(replace(accepted, status="failed", tasks={"t": replace(failing, exit_code=2)})) == 2


def test_an_accepted_run_ends_with_verdict_reports_endpoint_and_curl_line(tmp_path: Path) -> None:
    text = "\n".join(summary.closing(judged(True, tmp_path)))

    assert "ACCEPTED  heart: forest is heart version 3, released and verified" in text
    assert "✔ AUC is 0.91" in text
    assert "  ! slow" in text
    assert str(tmp_path / "reports" / "profile.html") in text
    assert str(tmp_path / "reports" / "train-forest.html") in text
    assert str(tmp_path / "reports" / "evaluate-report.html") in text
    assert f"file://{tmp_path}/index.html" in text
    assert "http://h:1" in text
    assert "\n  curl h\n" in text
    assert "make ui" in text


def test_a_refused_run_says_why_and_what_goes_on_serving(tmp_path: Path) -> None:
    text = "\n".join(summary.closing(judged(False, tmp_path)))

    assert "NOT ACCEPTED  heart: forest; version 2 goes on serving" in text
    assert "✘ AUC is 0.91" in text


def test_runs_are_listed_and_shown_by_the_beginning_of_their_name(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(home, judged(True, home))

    assert main(["list"]) == 0
    assert "heart-1  succeeded  heart version 3" in capsys.readouterr().out
    assert main(["show", "hea"]) == 0
    assert "✔ train forest  1.5 s" in capsys.readouterr().out


def test_a_record_is_read_back_as_it_was_written(home: Path) -> None:
    written = kept(home, judged(True, home))

    assert record.read(written.folder) == written
    assert record.runs(home) == [written]


def test_a_resumed_run_keeps_its_arguments_and_takes_new_ones(home: Path) -> None:
    kept(home, judged(True, home))

    order = choice.order(Wanted(resume="last", seed=7, candidates=("logistic",)), home)

    assert order.resume is not None
    assert order.resume.identifier == "heart-1"
    assert order.arguments == {"use_case": "heart", "seed": 7, "candidates": ["logistic"]}


def test_a_table_of_ones_own_runs_from_wherever_one_stands(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "churn.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)

    order = choice.order(Wanted(use_case="csv", source="churn.csv", target="b"), home)

    assert (order.name, order.arguments["use_case"]) == ("csv", "csv")
    assert order.arguments["source"] == str(tmp_path / "churn.csv")
    assert order.arguments["environment"] == "laptop"


def test_validate_exits_with_1_for_what_a_cluster_refuses(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = choice.compiling.TRAINING
    bad = tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("schemaVersion: 2.1.0", "schemaVersion: 3.0.0"))
    (tmp_path / "none.yaml").write_text("nothing: here")

    assert main(["validate", str(good)]) == 0
    assert f"{good}: ok" in capsys.readouterr().out
    assert main(["validate", str(good), str(bad)]) == 1
    assert f"{bad}: not usable" in capsys.readouterr().out
    assert main(["validate", str(tmp_path / "none.yaml")]) == 1


def test_what_there_is_to_choose_from_is_listed(home: Path, store: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "usecases"]) == 0
    assert "Heart disease" in capsys.readouterr().out
    assert main(["list", "versions"]) == 0
    assert "no versions yet" in capsys.readouterr().out
    assert main(["list", "datasets", "--model", "nothing"]) == 0
    assert "no data sets yet" in capsys.readouterr().out


def test_serving_a_model_without_a_champion_says_how_to_get_one(
    home: Path, store: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "heart"]) == 2
    assert "model 'heart' has no champion yet: make run USE_CASE=heart" in capsys.readouterr().err


def test_stopping_when_nothing_runs_is_no_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop"]) == 0
    assert capsys.readouterr().out == "nothing was running\n"


def test_a_record_never_holds_a_secret(tmp_path: Path) -> None:
    run = replace(judged(True, tmp_path), arguments={"source": "https://me:correct-horse@example/data.csv"})
    Record(run, ["correct-horse"]).end("succeeded")

    written = json.loads((tmp_path / record.FILE).read_text())
    assert written["arguments"]["source"] == "https://me:***@example/data.csv"
