"""What a person can learn about a task of a run: the logs of its pods, from the KFP server or from the cluster.

The API server reads a pod's log at a path of its own, outside the generated API, and answers 200 even when it cannot
(`run_log_server.go` writes the status first).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.kfpserver import pods
from pipelines.kfpserver.connection import KfpError, Server
from pipelines.kfpserver.runs import RunState, TaskState

if TYPE_CHECKING:
    from components.releases.kube import Kube

LABEL = "pipeline/runid"
"""On every pod of a run."""
CONTAINER = "main"
NAMESPACE = "kubeflow"
"""Of the runs, where the server serves one."""
MOST_ATTEMPTS = 20
PATIENCE_SECONDS = 5.0
"""For a cluster that does not answer."""


def of_task(server: Server, run: RunState, task: TaskState) -> str | None:
    """Return the logs of a task's attempts as the KFP server reads or has archived them, None when it has none."""
    for node in task.nodes:
        for names in pods.attempts(node):
            found = _in_turn(server, run.identifier, names)
            if found:
                return _joined(found)
    kept = [text for node in task.nodes if (text := _of_pod(server, run.identifier, node)) is not None]
    return _joined(kept) if kept else None


def from_cluster(server: Server, run: RunState, task: TaskState) -> str | None:
    """Return the logs of a task's attempts as the cluster of the kubeconfig has them, None when its pods are not there.

    Raises:
        ReleaseError: There is no cluster to ask, or it refuses; the message names verb and resource.
    """
    from components.releases.kube import POD, Pace, connect

    kube = connect(Pace(retry_limit=PATIENCE_SECONDS))
    kube.namespace = _namespace(server)
    found = []
    for pod in kube.list(POD, f"{LABEL}={run.identifier}"):
        name = (pod["metadata"].get("annotations") or {}).get(pods.NODE_NAME, "")
        if pods.is_below(name, task.nodes):
            found.append((pod["metadata"].get("creationTimestamp") or "", name, pod["metadata"]["name"]))
    texts = [text for _, _, pod in sorted(found) if (text := _of_container(kube, pod)) is not None]
    return _joined(texts) if texts else None


def command(server: Server, run: RunState) -> str:
    """Return the command that reads the logs of a run's pods from the cluster, while they exist."""
    return f"kubectl -n {_namespace(server)} logs -l {LABEL}={run.identifier} -c {CONTAINER} --prefix --tail=-1"


def pick(run: RunState, name: str) -> list[TaskState]:
    """Return the tasks that a name means: one, or all rounds of a loop."""
    return [task for task in run.tasks if name in (task.name, task.name.partition("[")[0])]


def _namespace(server: Server) -> str:
    return server.access.namespace or NAMESPACE


def _in_turn(server: Server, run: str, names: Iterator[str]) -> list[str]:
    """Return the logs of attempts until there is no further one."""
    found: list[str] = []
    for name in names:
        text = _of_pod(server, run, name)
        if text is None or len(found) == MOST_ATTEMPTS:
            break
        found.append(text)
    return found


def _joined(texts: list[str]) -> str:
    first, *more = texts
    ended = first if first.endswith("\n") or not more else f"{first}\n"
    return ended + "\n".join(f"--- attempt {number}\n{text}" for number, text in enumerate(more, start=2))


def _of_pod(server: Server, run: str, pod: str) -> str | None:
    try:
        text = server.text(f"/apis/v1alpha1/runs/{run}/nodes/{pod}/log")
    except KfpError as error:
        if error.status is None or error.status in (401, 403):
            raise
        return None
    return None if _is_failure(text) else text


def _of_container(kube: Kube, pod: str) -> str | None:
    """Return the log of a pod's step; None when it has not begun, or is gone since it was listed."""
    from components.releases.kube import KubeError

    try:
        return kube.log(pod, CONTAINER)
    except KubeError as error:
        if str(error).startswith("not allowed"):
            raise
        return None


def _is_failure(text: str) -> bool:
    """Return whether a body that came with status 200 is the server's own error."""
    if '"error_message"' not in text and '"error_details"' not in text:
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
