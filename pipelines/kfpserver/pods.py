"""The pods of a task: found by the ids of Argo's nodes, because a KFP server reports neither their names nor logs.

It reports a task as the node above its attempts, with the ids of the nodes right below. An id is the workflow's name
and the FNV-1a hash of the node's full name, such as `wf(0).root(0).train(0).executor(1)`: the second attempt of train
where the cluster retries whatever meets an error, `wf.root.train.executor(1)` where only tasks say so. This hash of a
longer name goes on from that of its beginning, so a node's id leads to those of the nodes below it, and a pod's name is
the workflow's, its template's and that hash.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

PRIME, BASIS, BITS = 16777619, 2166136261, 0xFFFFFFFF
TEMPLATES = ("retry-system-container-impl", "system-container-impl")
"""Of the pods of a task with retries of its own, and of one without."""
NODE_NAME = "workflows.argoproj.io/node-name"
"""The annotation of a pod with the full name of its node."""


def hashed(text: str, state: int = BASIS) -> int:
    """Return the 32 bit FNV-1a hash of a text, or of a longer one whose beginning has the hash `state`."""
    for byte in text.encode():
        state = (state ^ byte) * PRIME & BITS
    return state


def attempts(node: str) -> Iterator[Iterator[str]]:
    """Yield the ways in which the pods below a node may be named, the likeliest first: pod names, attempt by attempt.

    Args:
        node: Id of a node right below a task's.
    """
    workflow, _, digits = node.rpartition("-")
    if not workflow or not digits.isdecimal():
        return
    for template in TEMPLATES:
        for inner in (".executor", ""):
            yield _numbered(f"{workflow}-{template}", hashed(inner, int(digits)))
    yield iter((f"{workflow}-{TEMPLATES[1]}-{digits}",))


def is_below(name: str, nodes: Collection[str]) -> bool:
    """Return whether the node of a full name is one of these nodes, given by id, or stands below one."""
    known = {int(digits) for _, _, digits in (node.rpartition("-") for node in nodes) if digits.isdecimal()}
    state = BASIS
    for byte in name.encode():
        state = (state ^ byte) * PRIME & BITS
        if state in known:
            return True
    return False


def _numbered(prefix: str, state: int) -> Iterator[str]:
    number = 0
    while True:
        yield f"{prefix}-{hashed(f'({number})', state)}"
        number += 1
