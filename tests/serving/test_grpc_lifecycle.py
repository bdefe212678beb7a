"""Hot swaps and drains as callers of gRPC see them: no call is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving import native
from serving.bundle import Bundle
from tests.serving.callers import Load, connected, count, make_message, parse, swap

pytestmark = pytest.mark.skipif(not native.available(), reason="the C extension is not built here")


def test_a_drain_under_load_loses_no_call_and_exits_with_0(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder, "--drain_delay", "0.3") as running, Load(running.grpc_port) as load:
        time.sleep(0.5)
        code = running.stop()

    assert code == 0
    assert set(load.outcomes) == {"OK", "gone"}
    assert load.outcomes["OK"] > 100


def test_a_long_call_in_progress_is_finished_before_the_end(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder) as running, connected(running) as method:
        call = method("ModelInfer").future(make_message(90_000), timeout=60)
        while 'headrace_requests_in_flight{model_name="m"} 1' not in httpx.get(f"{running.url}/metrics").text:
            time.sleep(0.005)
        code = running.stop()
        answer = parse(call.result())

    assert code == 0
    assert len(answer.outputs[0].contents.bytes_contents) == 90_000


def test_hot_swaps_under_load_fail_no_call(
    run_server: Callable[..., Any], reseal: Callable[..., Bundle], mixed: Bundle, tmp_path: Path
) -> None:
    _swap_for(run_server, reseal, mixed, tmp_path, swaps=4)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_hot_swaps_every_few_seconds_for_minutes_fail_no_call(
    run_server: Callable[..., Any], reseal: Callable[..., Bundle], mixed: Bundle, tmp_path: Path
) -> None:
    _swap_for(run_server, reseal, mixed, tmp_path, swaps=60, pause=10)


def _swap_for(run_server: Any, reseal: Any, mixed: Bundle, tmp_path: Path, swaps: int, pause: float = 0.0) -> None:
    folders = [mixed.folder, reseal(mixed, tmp_path / "v4", "4").folder]
    current = tmp_path / "current"
    current.symlink_to(folders[0])
    with run_server(current) as running:
        with Load(running.grpc_port) as load:
            swap(running, current, folders, swaps, pause)
        counted = count(running, "200")

    assert set(load.outcomes) == {"OK"}
    assert set(load.versions) == {"3", "4"}
    assert counted == load.outcomes["OK"]
