"""The workflow behind a run as a KFP server reports it: nodes with ids and names as Argo makes them."""

from __future__ import annotations

import uuid

from kfpapi import NEVER, Item

WORKFLOW = "headrace-training-x7k2p"


def look(state: str, error: str = "", *, retried: bool = True, **tasks: str) -> Item:
    """Return what one look at a run finds: its state and its tasks, with the nodes that KFP puts around them.

    Args:
        retried: Whether the cluster retries every node, as the manifests of KFP 2.17 say.
    """
    details = [_node("root", "RUNNING"), _node("root-driver", "SUCCEEDED")]
    for second, (name, known) in enumerate(tasks.items()):
        name = name.rstrip("_")
        task, _, reason = known.partition(": ")
        history = [{"state": task, "error": {"code": 2, "message": reason}}] if reason else []
        group = node_name(name, retried=retried).removesuffix(".executor(0)")
        executor, began = f"{group}.executor", f"2026-01-01T00:00:{second:02}Z"
        below = [_id(group)] if retried else [_id(executor)]
        details += [
            _node(f"{name}-driver", "SUCCEEDED"),
            {**_node("executor", task, began), "child_tasks": [{"pod_name": _id(f"{executor}(0)")}]},
            {**_node("executor(0)", task, began), "child_tasks": []},
            {**_node(name, task, began), "child_tasks": [{"pod_name": one} for one in below], "state_history": history},
        ]
        if retried:
            details.append({**_node(f"{name}(0)", task, began), "child_tasks": [{"pod_name": _id(executor)}]})
    ended = state in {"SUCCEEDED", "FAILED", "CANCELED"}
    return {
        "state": state,
        "run_details": {"task_details": details},
        "finished_at": "2026-01-01T01:00:00Z" if ended else NEVER,
        **({"error": {"code": 2, "message": error}} if error else {}),
    }


def _node(name: str, state: str, began: str = "2026-01-01T00:00:00Z") -> Item:
    times = {"create_time": "2026-01-01T00:00:00Z", "start_time": began}
    return {"display_name": name, "state": state, "task_id": str(uuid.uuid4()), **times}


def node_name(task: str, attempt: int = 0, *, retried: bool = True) -> str:
    """Return the full name of the node of an attempt, as Argo makes it."""
    first = "(0)" if retried else ""
    return f"{WORKFLOW}{first}.root{first}.{task}{first}.executor({attempt})"


def pod_name(task: str, attempt: int = 0, *, retried: bool = True) -> str:
    """Return the name of the pod of an attempt, as Argo makes it."""
    digits = _id(node_name(task, attempt, retried=retried)).rpartition("-")[2]
    return f"{WORKFLOW}-retry-system-container-impl-{digits}"


def _id(name: str) -> str:
    """Return the id of a node: FNV-1a over its whole name."""
    state = 0x811C9DC5
    for byte in name.encode():
        state = ((state ^ byte) * 0x01000193) % 2**32
    return f"{WORKFLOW}-{state}"
