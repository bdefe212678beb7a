"""Schedules on a KFP server: created, changed in place without losing history, handled; and what a cron means there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfpapi import Fault, Kfp

from components.errors import InputError
from pipelines.kfpserver import triggers

Cli = Callable[..., tuple[int, str, str]]


def test_a_schedule_runs_one_at_a_time_and_does_not_make_up_for_missed_times(kfp: Kfp, cli: Cli) -> None:
    code, out, _ = cli("schedule", "heart", "--cron", "0 3 * * 1", "--service-account", "trainer", "--seed", "7")

    (schedule,) = kfp.schedules.values()
    assert code == 0
    assert "cron 0 0 3 * * 1" in out
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (schedule["max_concurrency"], schedule["no_catchup"]) == ("1", True)
    assert schedule["service_account"] == "trainer"
    assert schedule["runtime_config"]["parameters"] == {"use_case": "heart", "seed": 7}
    assert schedule["runtime_config"]["pipeline_root"] == "s3://artifacts/kfp"


def test_an_interval_is_given_in_seconds(kfp: Kfp, cli: Cli) -> None:
    cli("schedule", "heart", "--every", "6h", "--catch-up")

    (schedule,) = kfp.schedules.values()
    assert schedule["trigger"] == {"periodic_schedule": {"interval_second": "21600"}}
    assert schedule["no_catchup"] is False


def test_saying_the_same_again_changes_nothing(kfp: Kfp, cli: Cli) -> None:
    cli("schedule", "heart", "--every", "6h")
    before = set(kfp.schedules)

    code, out, _ = cli("schedule", "heart", "--every", "6h")

    assert code == 0
    assert "unchanged" in out
    assert set(kfp.schedules) == before


@pytest.mark.parametrize("change", [["--every", "12h"], ["--every", "6h", "--seed", "1"], ["--cron", "@daily"]])
def test_a_change_makes_the_new_one_before_the_old_one_goes(kfp: Kfp, cli: Cli, change: list[str]) -> None:
    cli("schedule", "heart", "--every", "6h")
    (old,) = kfp.schedules

    code, out, _ = cli("schedule", "heart", *change)

    asked = [request for request in kfp.requests if "recurringruns" in request and "GET" not in request]
    assert code == 0
    assert asked[-2:] == ["POST /apis/v2beta1/recurringruns", f"DELETE /apis/v2beta1/recurringruns/{old}"]
    assert f"removed {old}, which it replaces; its runs stay" in out
    assert len(kfp.schedules) == 1


def test_a_change_leaves_the_run_under_way_and_the_history_alone(kfp: Kfp, cli: Cli) -> None:
    cli("schedule", "heart", "--every", "6h")
    cli("submit", "heart", "--no-follow")
    (old,), (run,) = kfp.schedules, kfp.runs.values()
    run.update(recurring_run_id=old, state="RUNNING")

    cli("schedule", "heart", "--every", "12h")
    code, out, _ = cli("runs", "--experiment", "heart")

    assert code == 0
    assert run["state"] == "RUNNING"
    assert "schedule" in out.splitlines()[-1]


def test_dying_half_way_leaves_one_too_many_and_the_next_call_removes_it(kfp: Kfp, cli: Cli) -> None:
    cli("schedule", "heart", "--every", "6h")
    kfp.faults = [Fault("DELETE", 403, times=1)]

    died = cli("schedule", "heart", "--every", "12h")
    left = len(kfp.schedules)
    code, _, _ = cli("schedule", "heart", "--every", "12h")

    (schedule,) = kfp.schedules.values()
    assert (died[0], left, code) == (1, 2, 0)
    assert schedule["trigger"]["periodic_schedule"]["interval_second"] == "43200"


def test_a_lost_answer_does_not_make_a_second_schedule(kfp: Kfp, cli: Cli) -> None:
    kfp.faults = [Fault("POST .*/recurringruns", after=True, drop=True)]

    code, _, _ = cli("schedule", "heart", "--every", "6h")

    assert code == 0
    assert len(kfp.schedules) == 1


def test_a_paused_schedule_stays_paused_through_a_change(kfp: Kfp, cli: Cli) -> None:
    cli("schedule", "heart", "--every", "6h")
    paused = cli("schedule", "heart", "--pause")
    changed = cli("schedule", "heart", "--every", "12h")

    (schedule,) = kfp.schedules.values()
    assert (paused[0], changed[0]) == (0, 0)
    assert "paused" in changed[1]
    assert schedule["status"] == "DISABLED"
    cli("schedule", "heart", "--resume")
    assert schedule["status"] == "ENABLED"


def test_schedules_are_listed_and_removed(kfp: Kfp, cli: Cli) -> None:
    cli("schedule", "heart", "--every", "6h")
    cli("schedule", "iris", "--cron", "@daily", "--name", "nightly")

    listed = cli("schedule", "--list")[1]
    removed = cli("schedule", "heart", "--remove")

    assert "every 6h" in listed
    assert "cron @daily" in listed
    assert removed[0] == 0
    assert [schedule["display_name"] for schedule in kfp.schedules.values()] == ["nightly"]
    assert "nightly" in cli("schedule", "--list")[1]


def test_more_schedules_than_one_page_are_all_found(kfp: Kfp, cli: Cli) -> None:
    cli("schedule", "heart", "--every", "6h")
    (one,) = kfp.schedules.values()
    for number in range(250):
        kfp.schedules[str(number)] = {**one, "recurring_run_id": str(number), "display_name": f"other{number}"}

    out = cli("schedule", "--list")[1]

    assert len(out.splitlines()) == 252


@pytest.mark.parametrize("act", ["--pause", "--resume", "--remove"])
def test_what_is_not_scheduled_cannot_be_handled(cli: Cli, act: str) -> None:
    code, _, err = cli("schedule", "heart", act)

    assert code == 1
    assert "nothing is scheduled as 'heart'" in err


def test_a_schedule_needs_a_use_case(cli: Cli) -> None:
    code, _, err = cli("schedule", "--pause")

    assert code == 2
    assert "name the use case" in err


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("*/15 8-18 * * MON-FRI", "0 */15 8-18 * * mon-fri"),
        ("30 0 3 1,15 jan ?", "30 0 3 1,15 jan ?"),
        ("@weekly", "@weekly"),
    ],
)
def test_the_usual_five_fields_get_their_seconds(text: str, meant: str) -> None:
    assert triggers.cron(text).cron == meant


@pytest.mark.parametrize(
    "text",
    ["", "* * *", "60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 7", "0 5-3 * * *", "0 0 * * */0",
     "a * * * *", "@reboot", "0 3 * * 1 2026 7"],
)  # fmt: skip
def test_a_cron_expression_that_the_server_would_choke_on_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cron expression"):
        triggers.cron(text)


@given(st.text(max_size=30))
def test_any_text_is_a_trigger_or_wrong_input(text: str) -> None:
    for read in (triggers.cron, triggers.every):
        try:
            told = str(read(text))
        except InputError as error:
            told = str(error)

        assert told


@pytest.mark.parametrize("text", ["", "6", "6 h", "0h", "-1h", "1w", "90s", "1.5h"])
def test_an_interval_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="such as 30m, 6h or 1d"):
        triggers.every(text)
