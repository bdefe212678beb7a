"""Constant load on an endpoint until standard input ends, then one line of JSON: what was sent, answered and lost.

It is a program of its own, of the standard library only, so that it runs beside the suite as well as in a pod of the
cluster: a request that a port-forward loses is not the endpoint's fault.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

KEPT_FAILURES = 50
"""How many are told in words; all are counted."""


class Crowd:
    """Callers over kept connections; what they see is counted by request, none is sent twice."""

    def __init__(self, order: dict) -> None:
        """Keep the order: gateway, path, body, headers, threads, per_second (of each thread)."""
        self._order = order
        self._guard, self._stopped = threading.Lock(), threading.Event()
        self._sent = self._lost = 0
        self._answers: Counter[str] = Counter()
        self._failures: list[str] = []

    def run(self, stream) -> dict:
        """Call until the stream ends; return sent, lost, answers by version, and failures in words."""
        threads = [threading.Thread(target=self._call) for _ in range(self._order["threads"])]
        for thread in threads:
            thread.start()
        stream.read()
        self._stopped.set()
        for thread in threads:
            thread.join()
        return {"sent": self._sent, "lost": self._lost, "answers": self._answers, "failures": self._failures}

    def _call(self) -> None:
        connection = http.client.HTTPConnection(urlsplit(self._order["gateway"]).netloc, timeout=15)
        while not self._stopped.is_set():
            version, failure = self._ask(connection)
            with self._guard:
                self._sent += 1
                if failure:
                    self._lost += 1
                    self._failures += [failure] if len(self._failures) < KEPT_FAILURES else []
                else:
                    self._answers[version] += 1
            self._stopped.wait(1 / self._order["per_second"])
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> tuple[str, str]:
        """Return the version that answered, or what failed and when."""
        try:
            connection.request("POST", self._order["path"], self._order["body"], self._order["headers"])
            response = connection.getresponse()
            content = response.read()
            if response.status == 200:
                return str(json.loads(content)["model_version"]), ""
            failure = f"{response.status} {content[:100]!r}"
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            failure = repr(error)
            connection.close()
        return "", f"{time.strftime('%H:%M:%S', time.gmtime())} {failure}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Crowd(json.loads(sys.argv[1])).run(sys.stdin)) + "\n")
