"""Port-forwards that are opened again when they end: kubectl's break with the pod they lead to, and under load."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

AGAIN_SECONDS = 0.5
LISTENING = re.compile(r"127\.0\.0\.1:(\d+)")


class Forward:
    """A port of this machine that leads to one of the cluster until it is closed.

    Attributes:
        url: Of the port; it stays the same.
        reopened: How often the command ended by itself.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], environment: Mapping[str, str]) -> None:
        """Open it.

        Args:
            command: Returns the words that forward a port of this machine, 0 for one that is free; what they start
                says `127.0.0.1:<port>` once it listens.

        Raises:
            AssertionError: It does not listen; the message has what was said.
        """
        self._command, self._environment = command, dict(environment)
        self._closed = threading.Event()
        self.reopened = 0
        self._process, said = self._start(0)
        match = LISTENING.search(said)
        if match is None:
            said += self._process.communicate()[0]
            raise AssertionError(f"{' '.join(command(0))} failed: {said}")
        self._port = int(match[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self._process.terminate()
        self._thread.join(10)

    def _start(self, port: int) -> tuple[subprocess.Popen[str], str]:
        words = list(self._command(port))
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment
        )
        assert process.stdout is not None
        return process, process.stdout.readline()

    def _keep(self) -> None:
        while True:
            with self._process as process:
                assert process.stdout is not None
                process.stdout.read()
            if self._closed.wait(AGAIN_SECONDS):
                return
            self.reopened += 1
            self._process, _ = self._start(self._port)
            if self._closed.is_set():
                self._process.terminate()
