"""Watches: every change of a type from a resourceVersion on, in order, as a stream of JSON lines."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

from resources import Kind, Object, selected
from state import Change, State

INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


@dataclass(frozen=True)
class Watched:
    """What a client watches."""

    kind: Kind
    namespace: str | None
    labels: str
    fields: str

    def sees(self, item: Object) -> bool:
        """Return whether a change of this object is told."""
        here = self.namespace in (None, item["metadata"].get("namespace", ""))
        return here and selected(item, self.labels, self.fields)


def events(state: State, watched: Watched, query: dict[str, str]) -> Iterator[Object | None]:
    """Yield events until the client's time is over; None now and then, so that a lost client is noticed."""
    ends = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
    initial = query.get("sendInitialEvents") == "true"
    since = query.get("resourceVersion", "")
    with state.changed:
        position = len(state.log)
        first = [copy.deepcopy(item) for item in state.list(watched.kind.plural, watched.namespace)]
        begin = state.version
        missed = [] if initial or since in ("", "0") else [one for one in state.log if one.version > int(since)]
    if initial or since in ("", "0"):
        yield from ({"type": "ADDED", "object": item} for item in first if watched.sees(item))
    if initial:
        metadata = {"resourceVersion": str(begin), "annotations": INITIAL_EVENTS_END}
        bookmark = {"kind": watched.kind.kind, "apiVersion": watched.kind.api_version, "metadata": metadata}
        yield {"type": "BOOKMARK", "object": bookmark}
    while True:
        yield from _told(missed, watched)
        if time.monotonic() > ends:
            return
        with state.changed:
            if position == len(state.log):
                state.changed.wait(min(1.0, max(0.0, ends - time.monotonic())))
            missed, position = state.log[position:], len(state.log)
        if not missed:
            yield None


def _told(changes: list[Change], watched: Watched) -> Iterator[Object]:
    for change in changes:
        if change.plural == watched.kind.plural and watched.sees(change.item):
            yield {"type": change.type, "object": change.item}
