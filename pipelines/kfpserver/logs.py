"""What a person can learn about a task of a run from a KFP server: its state, its error, and the log of its pod.

The API server reads a pod's log at a path of its own, outside the generated API, and answers 200 even when it cannot
(`run_log_server.go` writes the status first). It needs the pod's name; of a task that may be retried it reports only
the node above the attempts, so the log is then to be had from the cluster alone.
"""

from __future__ import annotations

import json

from pipelines.kfpserver.connection import KfpError, Server
from pipelines.kfpserver.runs import RunState, TaskState

LABEL = "pipeline/runid"
"""On every pod of a run."""


def of_task(server: Server, run: RunState, task: TaskState) -> str | None:
    """Return the log of a task, None when the server has none to give."""
    found = [_of_pod(server, run.identifier, pod) for pod in task.pods]
    texts = [text for text in found if text is not None]
    return "\n".join(texts) if texts else None


def command(server: Server, run: RunState) -> str:
    """Return the command that reads the logs of a run's pods from the cluster, while they exist."""
    where = f" -n {server.access.namespace}" if server.access.namespace else " -n kubeflow"
    return f"kubectl{where} logs -l {LABEL}={run.identifier} -c main --prefix --tail=-1"


def pick(run: RunState, name: str) -> list[TaskState]:
    """Return the tasks that a name means: one, or all rounds of a loop."""
    return [task for task in run.tasks if name in (task.name, task.name.partition("[")[0])]


def _of_pod(server: Server, run: str, pod: str) -> str | None:
    try:
        text = server.text(f"/apis/v1alpha1/runs/{run}/nodes/{pod}/log")
    except KfpError as error:
        if error.status is None or error.status in (401, 403):
            raise
        return None
    return None if _is_failure(text) else text


def _is_failure(text: str) -> bool:
    """Return whether a body that came with status 200 is the server's own error."""
    if '"error_message"' not in text and '"error_details"' not in text:
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
