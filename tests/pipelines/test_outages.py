"""What goes wrong around a run: nobody reads its output, the disk is full, the object store is killed."""

# KFP reads annotations at run time, so this file has no `from __future__ import annotations`.
import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Output

from components.errors import InputError
from pipelines import ir
from pipelines.local import record
from pipelines.local.progress import Plain
from pipelines.local.record import Record
from pipelines.local.run import Order, run

PROJECT = Path(__file__).parents[2]
component = dsl.component(base_image="headrace/python:1", install_kfp_package=False)


@component
def write(data: Output[Dataset]) -> None:
    from pathlib import Path

    Path(data.path).write_text("text")


@component
def kill_store(home: str, data: Output[Dataset]) -> None:
    import time
    from pathlib import Path

    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if f"-dir={home}/s3/data" in (process.info["cmdline"] or []):
            process.kill()
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
    Path(data.path).write_text("text")


@dsl.pipeline(name="writing")
def writing() -> None:
    write()


@dsl.pipeline(name="killing")
def killing(home: str) -> None:
    kill_store(home=home).set_retry(num_retries=2, backoff_duration="0s")


def test_output_that_nobody_reads_stops_and_the_program_goes_on() -> None:
    program = (
        "from pipelines.local.progress import Plain\nfor line in 'abc':\n Plain().say(line)\nopen('/dev/null').close()"
    )
    reading, writing_end = os.pipe()
    os.close(reading)

    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, stdout=writing_end, stderr=subprocess.PIPE, check=False
    )
    os.close(writing_end)

    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_killed_object_store_is_named_and_no_trace_is_shown(
    laptop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    path, stream, home = laptop.compile(killing), io.StringIO(), tmp_path / "own"

    done = run(Order(ir.load(path), {"home": str(home)}, home, 1), Plain(stream))

    assert done.status == record.FAILED
    assert "the object store at http://127.0.0.1:" in done.error
    assert "no longer answers: its process was killed or ended by itself" in done.error
    assert done.tasks["kill-store"].attempts == 1, "another attempt would fail in the same way"
    assert "Traceback" not in stream.getvalue()
    assert "    " not in stream.getvalue(), "no lines of a log"


def test_a_disk_that_fills_up_is_named_with_its_folder(
    laptop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Record, "_write", full)

    with pytest.raises(InputError, match=f"the disk is full: nothing more can be written to {tmp_path}"):
        laptop(writing)


def test_a_step_that_fails_on_a_full_disk_is_told_so(laptop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(laptop.folder)

    @component
    def fill() -> None:
        raise OSError(28, "No space left on device")

    @dsl.pipeline(name="filling")
    def filling() -> None:
        fill()

    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    done = laptop(filling)

    assert f"the disk is full: {laptop.home} has 1 MB left" in done.error


@component
def count_rows(source: str, data: Output[Dataset]) -> None:
    from pathlib import Path

    Path(data.path).write_text(source)


@dsl.pipeline(name="counting")
def counting(source: str) -> None:
    count_rows(source=source)


def test_that_a_remote_source_was_not_read_again_is_said(laptop: Any) -> None:
    first = laptop(counting, source="https://example.com/t.csv")
    laptop(counting, resume=first, source="https://example.com/t.csv")

    assert "↺ count-rows  unchanged; https://example.com/t.csv was not read again" in laptop.shown
