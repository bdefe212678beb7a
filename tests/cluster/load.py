"""Constant load on the gateway of a `Processes`."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter

from processes import Processes


class Load:
    """Constant load over kept connections; remembers who answered, under which weights, and what failed."""

    def __init__(
        self, workload: Processes, model: str, path: str, body: bytes, *, threads: int = 3, per_second: float = 60
    ) -> None:
        self._workload, self._model, self._pause = workload, model, 1 / per_second
        self._path, self._body = path, body
        self.failures: list[str] = []
        self.answers: Counter[tuple[tuple[tuple[str, int], ...], str]] = Counter()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        host = self._workload.gateway.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=10)
        headers = {"Content-Type": "application/json"}
        while not self._stopped.is_set():
            weights = tuple(self._workload.weights[self._model].items())
            try:
                connection.request("POST", self._path, self._body, headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                time.sleep(self._pause)
                continue
            if response.status == 200:
                self.answers[weights, response.headers["served-by"]] += 1
            else:
                self.failures.append(f"{response.status} by {response.headers.get('served-by')}")
            time.sleep(self._pause)
        connection.close()
