"""The thread of a stand-in for a controller: it looks again whenever something changed, until it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from apiserver import ApiServer


class Loop:
    """Calls a function again and again."""

    def __init__(self, api: ApiServer, look: Callable[[], None], pause: float) -> None:
        """Start; `pause` is the longest time between two looks, in seconds."""
        self._api, self._look, self._pause = api, look, pause
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the look that is under way."""
        self._closed = True
        self._thread.join(10)

    def _run(self) -> None:
        while not self._closed:
            self._look()
            with self._api.changed:
                self._api.changed.wait(self._pause)
