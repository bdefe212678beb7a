"""Runs one task: its inputs, its process, its retries, its outputs, and what is written down about it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.local import record, seams
from pipelines.local.engine import Call, Outputs, Stopped, TaskFailed
from pipelines.local.processes import Ended, ForkServer, Lost, Work
from pipelines.local.record import Artifact, Record, Task
from pipelines.local.values import canonical

if TYPE_CHECKING:
    from pipelines.ir import Compiled
    from pipelines.local.code import Code

ARGUMENT_LIMIT = 128 * 1024
"""Bytes of one program argument on Linux: the input of a task is one in the cluster."""
INPUT_EXIT_CODE = 2
"""A step ends with this code when a person's input is wrong; trying again cannot help."""
LAST_LINES = 8
REMOTE = re.compile(r"(https?|s3|minio)://")
"""Sources whose bytes are not looked at to find out whether a task must run again."""
MARKDOWN = "system.Markdown"
PAGES = ("system.HTML", MARKDOWN)
"""Kinds of artifact that a person reads; in the run's folder `reports` all of them are pages."""


class Watcher(Protocol):
    """Who is told about tasks as they go."""

    def started(self, task: Task) -> None: ...
    def ended(self, task: Task, tail: str) -> None: ...


@dataclass(frozen=True)
class Surroundings:
    """What all tasks of a run share.

    Attributes:
        environments: Executor label -> environment of its process.
        codes: Executor label -> the code it runs.
        needs: Executor label -> modules the fork server loads before it.
        mirror: Copies an output to the artifacts bucket and returns its address; None where there is no bucket.
        earlier: Tasks of the attempt that is resumed, by path.
        trouble: Returns what is wrong with the machine or its services, when a task failed; empty when nothing is.
    """

    compiled: Compiled
    folder: Path
    server: ForkServer
    environments: Mapping[str, Mapping[str, str]]
    codes: Mapping[str, Code]
    needs: Mapping[str, tuple[str, ...]]
    mirror: Callable[[Path, str], str] | None
    earlier: Mapping[str, Task]
    trouble: Callable[[], str] = str


class TaskRunner:
    """The engine's runner of single tasks."""

    def __init__(self, around: Surroundings, kept: Record, watcher: Watcher) -> None:
        """Run tasks in the fork server, record them, and tell the watcher."""
        self._around = around
        self._record = kept
        self._watcher = watcher
        self._stopping = threading.Event()
        self._active: set[str] = set()
        self._lock = threading.Lock()
        self.cpu_seconds = 0.0

    def stop(self) -> None:
        """Kill what runs; no further attempt starts."""
        self._stopping.set()
        with self._lock:
            active = list(self._active)
        for identifier in active:
            self._around.server.kill(identifier)

    def skip(self, path: str, label: str) -> None:
        """Note that a task, or a branch, is not going to run."""
        task = Task(path, label.strip() or path, record.SKIPPED)
        self._record.put(task)
        self._watcher.ended(task, "")

    def run(self, call: Call) -> Outputs:
        """Return the outputs of a task: of an earlier attempt when nothing it depends on has changed, else its own."""
        executor = self._around.compiled.executor_of(call.component)
        if executor.WhichOneof("spec") == "importer":
            return self._import(call, executor.importer)
        label = self._around.compiled.components[call.component].executor_label
        task = Task(
            path=call.path,
            label=call.label,
            status=record.RUNNING,
            code=self._around.codes[label].digest[:16],
            key=self._key(call, label, executor.container),
            log=f"logs/{call.path.replace('/', '.')}.log",
            started=record.now(),
        )
        reused = self._reused(call, task)
        if reused is not None:
            self._record.put(reused)
            self._watcher.ended(reused, "")
            return _outputs(reused)
        return self._attempts(call, task, label, executor.container)

    def _key(self, call: Call, label: str, container: Any) -> str:
        """Return the hash of everything that decides a task's outputs: its code and its inputs by content.

        A parameter that names a file of this machine stands for what is in the file.
        """
        inputs = {name: _identity(value, self._record.run.tasks) for name, value in call.artifacts.items()}
        parts = {
            "code": self._around.codes[label].digest,
            "command": [*container.command, *container.args, container.image],
            "environment": {item.name: item.value for item in container.env},
            "parameters": call.parameters,
            "files": {name: digest(Path(value)) for name, value in call.parameters.items() if _is_file(value)},
            "artifacts": inputs,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _reused(self, call: Call, task: Task) -> Task | None:
        before = self._around.earlier.get(task.path)
        if before is None or before.status != record.SUCCEEDED or before.key != task.key:
            return None
        if not before.artifacts and not call.spec.caching_options.enable_cache:
            return None  # what it did, it did to the world outside, which may have changed since: it does it again
        if any(digest(Path(item.path)) != item.sha256 for item in before.artifacts.values()):
            return None
        remote = [value for value in call.parameters.values() if isinstance(value, str) and REMOTE.match(value)]
        return replace(before, reused=True, unread=remote[0] if remote else "")

    def _attempts(self, call: Call, task: Task, label: str, container: Any) -> Outputs:
        log = self._around.folder / task.log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        self._record.put(task)
        retries = call.spec.retry_policy
        trouble = ""
        for attempt in range(retries.max_retry_count + 1):
            task = replace(task, attempts=attempt + 1)
            try:
                task = self._once(call, task, label, container, log)
            except Stopped:
                task = replace(task, status=record.STOPPED)
            except Exception as error:
                task = replace(task, status=record.FAILED, exit_code=1, error=self._record.hide(str(error)))
            if task.status == record.SUCCEEDED or task.exit_code == INPUT_EXIT_CODE or self._stopping.is_set():
                break
            if trouble := self._around.trouble():
                task = replace(task, error=trouble)
                break
            if attempt < retries.max_retry_count and self._stopping.wait(_pause(retries, attempt)):
                break
        if self._stopping.is_set() and task.status != record.SUCCEEDED:
            task = replace(task, status=record.STOPPED, error="the run was stopped")
        self._record.put(task)
        told = task.status == record.SUCCEEDED or task.exit_code == INPUT_EXIT_CODE or trouble
        self._watcher.ended(task, "" if told else self._tail(log))
        if task.status == record.STOPPED:
            raise Stopped
        if task.status != record.SUCCEEDED:
            raise TaskFailed(f"{task.label}: {task.error}")
        return _outputs(task)

    def _once(self, call: Call, task: Task, label: str, container: Any, log: Path) -> Task:
        """Run one attempt in an empty folder, as a pod of its own has one."""
        root = self._around.folder / "tasks" / call.path
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        component = self._around.compiled.components[call.component]
        message, document = seams.executor_input(component, call.parameters, call.artifacts, root)
        if len(json.dumps(document)) > ARGUMENT_LIMIT:
            return replace(task, status=record.FAILED, exit_code=1, error=(
                f"its input is larger than {ARGUMENT_LIMIT // 1024} KiB, which a cluster refuses: pass a file"
            ))  # fmt: skip
        with log.open("a") as stream:
            stream.write(f"--- attempt {task.attempts}\n" if task.attempts > 1 else "")
        begun, ended = self._process(call, task, label, container, document, log)
        self._clean(log)
        with self._lock:
            self.cpu_seconds += ended.cpu_seconds
        task = replace(
            task,
            seconds=round(task.seconds + time.monotonic() - begun, 3),
            cpu_seconds=round(task.cpu_seconds + ended.cpu_seconds, 3),
            peak_bytes=max(task.peak_bytes, ended.peak_bytes),
            exit_code=ended.code,
        )
        if ended.code:
            return replace(task, status=record.FAILED, error=self._record.hide(_explained(ended)))
        return self._finished(task, component, message, root)

    def _process(
        self, call: Call, task: Task, label: str, container: Any, document: Mapping[str, Any], log: Path
    ) -> tuple[float, Ended]:
        """Return when the process of an attempt began, and how it ended."""
        identifier = call.path
        platform = self._around.compiled.platform
        seconds = platform[label].active_deadline_seconds if label in platform else 0
        work = Work(
            identifier=identifier,
            source=container.command[-1],
            function=container.args[-1],
            document=document,
            environment=self._around.environments[label],
            log=log,
            scratch=self._around.folder / "tmp" / call.path.replace("/", "."),
            needs=self._around.needs[label],
        )
        with self._lock:
            self._active.add(identifier)
        try:
            if self._stopping.is_set():
                raise Stopped
            self._around.server.start(work)
            self._around.server.wait_begun(identifier)
            begun = time.monotonic()
            self._watcher.started(task)
            ended = self._around.server.wait(identifier, seconds or None)
            if ended is None:
                self._around.server.kill(identifier)
                ended = self._around.server.wait(identifier)
                assert ended is not None
                ended = replace(ended, code=ended.code or 1, error=f"it ran longer than its {seconds} s")
            return begun, ended
        except Lost as error:
            if self._stopping.is_set():
                raise Stopped from error
            raise
        finally:
            with self._lock:
                self._active.discard(identifier)

    def _finished(self, task: Task, component: Any, message: Any, root: Path) -> Task:
        parameters, found = seams.outputs(component, message, root)
        artifacts = {}
        for name, item in found.items():
            path = Path(item.path)
            if path.is_absolute() and not path.is_relative_to(root):
                return replace(task, status=record.FAILED, exit_code=1, error=(
                    f"it moved its output {name!r} to {item.uri}: a cluster only takes {path.name} below its own root"
                ))  # fmt: skip
            uri = self._around.mirror(path, f"{task.path}/{name}") if self._around.mirror and path.exists() else ""
            kind = component.output_definitions.artifacts[name].artifact_type.schema_title
            metadata = canonical(item.metadata)
            artifacts[name] = Artifact(item.name, kind, str(path), uri, digest(path), metadata)
            self._show(task, name, artifacts[name])
        return replace(task, status=record.SUCCEEDED, parameters=parameters, artifacts=artifacts)

    def _import(self, call: Call, importer: Any) -> Outputs:
        """Return an artifact that is there already; it must be a file or folder of this machine."""
        uri = importer.artifact_uri.constant.string_value or str(call.parameters.get("uri", ""))
        path = Path(uri.removeprefix("file://"))
        if "://" in str(path) or not path.exists():
            raise TaskFailed(f"{call.label}: {uri} is not on this machine; a laptop run imports local paths only")
        title = importer.type_schema.schema_title
        item = Artifact("artifact", title, str(path), "", digest(path), {})
        task = Task(call.path, call.label, record.SUCCEEDED, started=record.now(), artifacts={"artifact": item})
        self._record.put(task)
        self._watcher.ended(task, "")
        return _outputs(task)

    def _show(self, task: Task, name: str, item: Artifact) -> None:
        """Write what a person reads to one folder, as a page that leads back to the run."""
        if item.kind not in PAGES or not item.sha256:
            return
        folder = self._around.folder / "reports"
        folder.mkdir(exist_ok=True)
        content = Path(item.path).read_text(errors="replace")
        if item.kind == MARKDOWN:
            content = _page_of(content)
        back = '<header><p><a href="../index.html">All of this run</a></p>'
        (folder / report_name(task, name)).write_text(content.replace("<header>", back, 1))

    def _clean(self, log: Path) -> None:
        text = log.read_text(errors="replace")
        if (clean := self._record.hide(text)) != text:
            log.write_text(clean)

    def _tail(self, log: Path) -> str:
        return "\n".join(log.read_text(errors="replace").rstrip().splitlines()[-LAST_LINES:]) if log.is_file() else ""


def report_name(task: Task, name: str) -> str:
    """Return the file name of a page in the folder `reports`: task, loop item, and the output unless it is `page`."""
    words = [*task.label.split(), *([] if name == "page" else [name])]
    return "-".join(re.sub(r"[^A-Za-z0-9._-]", "_", word) for word in words) + ".html"


def pages_of(task: Task) -> list[str]:
    """Return the file names of the pages of a task that succeeded."""
    found = task.artifacts.items() if task.status == record.SUCCEEDED else ()
    return [report_name(task, name) for name, item in found if item.kind in PAGES and item.sha256]


def _page_of(markdown: str) -> str:
    """Return a Markdown document as a page of the same look as the others."""
    from components.reports import pages
    from serving.pages import render_markdown

    title, _, rest = markdown.strip().partition("\n")
    body = render_markdown(rest).replace('class="wide"', 'class="scroll"')
    return pages.page(title.lstrip("# "), "", [("", body)])


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder; empty when there is neither."""
    if path.is_file():
        return _file_digest(path)
    if not path.is_dir():
        return ""
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            whole.update(f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\0".encode())
    return whole.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _identity(value: Any, tasks: Mapping[str, Task]) -> Any:
    """Return what an input artifact is by content: its digest and metadata, for a list of them one each."""
    if isinstance(value, list):
        return [_identity(item, tasks) for item in value]
    return [digest(Path(value.path)), value.name, dict(value.metadata)]


def _is_file(value: Any) -> bool:
    """Return whether a parameter names a file of this machine, by a whole path."""
    return isinstance(value, str) and value.startswith("/") and "\n" not in value and Path(value).is_file()


def _outputs(task: Task) -> Outputs:
    artifacts = {
        name: seams.artifact(item.kind, item.name, item.path, item.metadata) for name, item in task.artifacts.items()
    }
    return task.parameters, artifacts


def _pause(policy: Any, attempt: int) -> float:
    """Return the seconds before the next attempt, as Argo counts them."""
    factor = policy.backoff_factor or 2.0
    longest = policy.backoff_max_duration.ToSeconds() or 3600
    return float(min(policy.backoff_duration.ToSeconds() * factor**attempt, longest))


def _explained(ended: Ended) -> str:
    if ended.error:
        kind, _, text = ended.error.partition(": ")
        return text if ended.code == INPUT_EXIT_CODE else ended.error if text else kind
    return f"killed by signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
