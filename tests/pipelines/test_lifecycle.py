"""Runs that are resumed, interrupted, killed, or asked for twice: nothing is lost, done twice, or left behind."""

# KFP reads annotations at run time, so this file has no `from __future__ import annotations`.
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from kfp import dsl, kubernetes
from kfp.dsl import Dataset, Input, Output

from components import settings
from components.errors import InputError
from components.store import Address, Store, StoreError
from pipelines.local import record, services
from pipelines.local.lock import Busy, exclusive

component = dsl.component(base_image="headrace/python:1", install_kfp_package=False)
Laptop = Any
PROJECT = Path(__file__).parents[2]
SECONDS = 60.0

DRIVER = """
import json, sys
from pathlib import Path
from pipelines.lean import stub_client
stub_client()
from pipelines import ir
from pipelines.local.progress import Plain
from pipelines.local.record import runs
from pipelines.local.run import Order, run
from pipelines.local.signals import Interrupted
path, home, arguments, resume = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]
try:
    done = run(Order(ir.load(path), arguments, home, 2, runs(home)[-1] if resume else None), Plain())
except Interrupted as stopped:
    sys.exit(128 + stopped.number)
sys.exit(0 if done.status == "succeeded" else 1)
"""


@component
def write(text: str, folder: str, data: Output[Dataset]) -> None:
    from pathlib import Path

    with Path(folder, "written").open("a") as stream:
        stream.write(text)
    Path(data.path).write_text(text)


@component
def read(data: Input[Dataset], folder: str) -> str:
    from pathlib import Path

    if not Path(folder, "ready").exists():
        raise RuntimeError("not ready")
    return Path(data.path).read_text()


@component
def linger(folder: str) -> str:
    import os
    import subprocess
    import time
    from pathlib import Path

    if Path(folder, "ready").exists():
        return "went through"
    child = subprocess.Popen(["sleep", "600"])
    Path(folder, "partial").write_text(f"{os.getpid()} {child.pid}")
    Path(folder, "partial").rename(Path(folder, "pids"))
    time.sleep(600)
    return "never"


@dsl.pipeline(name="chain")
def chain(text: str, folder: str) -> None:
    read(data=write(text=text, folder=folder).outputs["data"], folder=folder)


@dsl.pipeline(name="lingering")
def lingering(folder: str) -> None:
    linger(folder=folder)


def start(path: Path, home: Path, folder: Path, environment: dict[str, str], *more: str) -> "subprocess.Popen[str]":
    """Start a run in a process of its own."""
    command = [sys.executable, "-c", DRIVER, str(path), str(home), json.dumps({"folder": str(folder)}), *more]
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def until(claim: Callable[[], Any]) -> Any:
    """Wait until something holds and return it."""
    deadline = time.monotonic() + SECONDS
    while not (found := claim()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids(folder: Path) -> list[int]:
    until((folder / "pids").exists)
    return [int(text) for text in (folder / "pids").read_text().split()]


def store_of(home: Path) -> int:
    found = services.find(home)
    assert found is not None
    return found.pid


def own_store() -> dict[str, str]:
    """An environment that names no object store, so that the run starts its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEADRACE_"))}


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_resumed_run_keeps_what_succeeded_and_runs_what_failed(laptop: Laptop, tmp_path: Path) -> None:
    failed = laptop(chain, text="one", folder=str(tmp_path))
    (tmp_path / "ready").touch()
    done = laptop(chain, resume=failed, text="one", folder=str(tmp_path))

    assert failed.status == "failed"
    assert done.status == "succeeded"
    assert done.identifier == failed.identifier
    assert done.tasks["write"].reused
    assert done.tasks["read"].parameters["Output"] == "one"
    assert (tmp_path / "written").read_text() == "one"


def test_a_resumed_run_sees_changed_arguments_and_lost_outputs(laptop: Laptop, tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    first = laptop(chain, text="one", folder=str(tmp_path))
    second = laptop(chain, resume=first, text="two", folder=str(tmp_path))
    Path(second.tasks["write"].artifacts["data"].path).write_text("tampered")
    third = laptop(chain, resume=second, text="two", folder=str(tmp_path))

    assert second.tasks["read"].parameters["Output"] == "two"
    assert not third.tasks["write"].reused
    assert third.tasks["read"].reused, "its input is the same again"


def test_a_resumed_run_sees_changed_code(laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "code" / "steps"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("VALUE = 'old'\n")
    (package / "outer.py").write_text("def value():\n    from steps.inner import VALUE\n    return VALUE\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{PROJECT}")

    @component
    def use() -> str:
        from steps.outer import value  # type: ignore[import-not-found]

        return str(value())

    @component
    def other() -> str:
        return "other"

    @dsl.pipeline(name="code")
    def graph() -> None:
        use()
        other()

    first = laptop(graph)
    same = laptop(graph, resume=first)
    (package / "inner.py").write_text("VALUE = 'newer'\n")
    changed = laptop(graph, resume=same)

    assert first.tasks["use"].parameters["Output"] == "old"
    assert same.tasks["use"].reused
    assert changed.tasks["use"].parameters["Output"] == "newer"
    assert changed.tasks["other"].reused


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_nothing_behind(laptop: Laptop, tmp_path: Path, number: int, code: int) -> None:
    home = tmp_path / "own"
    process = start(laptop.compile(lingering), home, tmp_path, own_store())
    with ended(process):
        steps = pids(tmp_path)
        weed = store_of(home)
        process.send_signal(number)

        assert process.wait(SECONDS) == code
        assert not [pid for pid in (*steps, weed) if is_alive(pid)]
        (run,) = record.runs(home)
        assert (run.status, run.tasks["linger"].status) == ("stopped", "stopped")

    (tmp_path / "ready").touch()
    again = start(laptop.compile(lingering), home, tmp_path, own_store(), "resume")
    with ended(again):
        assert again.wait(SECONDS) == 0
    assert record.runs(home)[0].identifier == run.identifier


def test_the_run_after_a_kill_succeeds_and_takes_over_the_object_store(laptop: Laptop, tmp_path: Path) -> None:
    home = tmp_path / "own"
    process = start(laptop.compile(lingering), home, tmp_path, own_store())
    with ended(process):
        steps = pids(tmp_path)
        weed = store_of(home)
        process.kill()
        process.wait()
        until(lambda: not any(is_alive(pid) for pid in steps))

    assert is_alive(weed), "nobody was left to stop it"
    (tmp_path / "ready").touch()
    again = start(laptop.compile(lingering), home, tmp_path, own_store())
    with ended(again):
        assert again.wait(SECONDS) == 0, again.stdout.read() if again.stdout else ""
    assert not is_alive(weed)
    assert [run.status for run in record.runs(home)] == ["killed", "succeeded"]


def test_a_run_whose_tasks_process_was_killed_fails_and_says_so(laptop: Laptop, tmp_path: Path) -> None:
    home = tmp_path / "own"
    process = start(laptop.compile(lingering), home, tmp_path, dict(os.environ))
    with ended(process):
        steps = pids(tmp_path)
        os.kill(psutil.Process(steps[0]).ppid(), signal.SIGKILL)

        assert process.wait(SECONDS) == 1
        until(lambda: not any(is_alive(pid) for pid in steps))
    (run,) = record.runs(home)
    assert run.status == "failed"
    assert "the process that runs the tasks ended" in run.error


def test_a_task_whose_output_cannot_be_mirrored_has_failed(
    laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ready").touch()
    monkeypatch.setattr(Store, "put_file", refusing)

    done = laptop(chain, text="one", folder=str(tmp_path))

    assert (done.status, done.tasks["write"].status, done.tasks["read"].status) == ("failed", "failed", "skipped")
    assert "write: the store is full" in done.error


def refusing(*_: object) -> None:
    raise StoreError("the store is full")


def test_a_second_run_at_the_same_time_is_refused_by_name(laptop: Laptop, tmp_path: Path, home: Path) -> None:
    (tmp_path / "ready").touch()
    named = rf"run chain-1 \(process {os.getpid()}\) uses .*HEADRACE_HOME"
    with exclusive(home, "chain-1"), pytest.raises(Busy, match=named):
        laptop(chain, text="one", folder=str(tmp_path))

    assert laptop(chain, text="one", folder=str(tmp_path)).status == "succeeded"


def test_a_disk_that_is_nearly_full_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=60 << 20))

    with pytest.raises(services.ServiceError, match=r"has 60 MB free.*HEADRACE_HOME"), services.running(tmp_path, {}):
        pass


def test_a_run_whose_process_is_gone_is_listed_as_killed(laptop: Laptop, tmp_path: Path, home: Path) -> None:
    (tmp_path / "ready").touch()
    done = laptop(chain, text="one", folder=str(tmp_path))
    path = done.folder / record.FILE
    path.write_text(path.read_text().replace('"status": "succeeded"', '"status": "running"', 1))
    with exclusive(home, done.identifier):
        alive = record.runs(home)[-1].status
    dead = record.runs(home)[-1].status

    assert (alive, dead) == ("running", "killed")


def test_outputs_are_mirrored_to_the_artifacts_bucket(laptop: Laptop, tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    done = laptop(chain, text="one", folder=str(tmp_path))

    item = done.tasks["write"].artifacts["data"]
    store = Store(settings.read())
    assert item.uri == f"s3://artifacts/{done.identifier}/write/data"
    assert store.get(Address("artifacts", f"{done.identifier}/write/data")) == b"one"


def test_secrets_reach_only_the_tasks_that_refer_to_them_and_are_never_written_down(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", "correct-horse-battery")

    @component
    def seeing() -> str:
        import os

        print(os.environ["STORE_PASSWORD"])
        return os.environ["STORE_PASSWORD"]

    @component
    def blind() -> str:
        import os

        return os.environ.get("STORE_PASSWORD", "nothing")

    @dsl.pipeline(name="secrets")
    def graph() -> None:
        kubernetes.use_secret_as_env(seeing(), "store", {"password": "STORE_PASSWORD"})
        blind()

    done = laptop(graph)

    assert done.tasks["blind"].parameters["Output"] == "nothing"
    assert (done.folder / "logs" / "seeing.log").read_text() == "***\n"
    written = [path.read_text(errors="replace") for path in done.folder.glob("*.json")]
    assert not any("correct-horse-battery" in text for text in written)


def test_a_secret_that_is_not_set_is_named(laptop: Laptop) -> None:
    @dsl.pipeline(name="unset")
    def graph() -> None:
        kubernetes.use_secret_as_env(linger(folder=""), "store", {"password": "UNSET_PASSWORD"})

    with pytest.raises(InputError, match="UNSET_PASSWORD comes from a Secret in the cluster and is not set here"):
        laptop(graph)


def test_generated_credentials_are_for_their_owner_only(tmp_path: Path) -> None:
    with services.running(tmp_path, {}) as variables:
        file = tmp_path / "s3" / "credentials.json"
        with services.running(tmp_path, {}) as shared:
            assert shared == variables
        assert Store(settings.read(variables)).exists(Address("models", "nothing")) is False

        assert file.stat().st_mode & 0o777 == 0o600
        assert not services.stop(tmp_path), "it is in use"
    assert services.find(tmp_path) is None


def test_a_platform_setting_without_meaning_here_is_an_error(laptop: Laptop) -> None:
    @dsl.pipeline(name="volume")
    def graph() -> None:
        kubernetes.mount_pvc(linger(folder=""), "data", "/data")

    with pytest.raises(InputError, match="platform setting pvc_mount has no meaning on a laptop"):
        laptop(graph)
