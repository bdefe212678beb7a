"""A page in a real browser, run by Chromium's own protocol over a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
]  # fmt: skip
SECONDS = 60.0


class Page:
    """One tab; `run` evaluates an expression in it."""

    def __init__(self, address: str, folder: Path) -> None:
        browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if browser is None:
            pytest.skip("needs chromium: apt-get install chromium")
        self._command = [browser, *FLAGS, f"--user-data-dir={folder / 'browser'}"]
        self._address = address
        self._number = 0
        self._session = ""

    def __enter__(self) -> Page:
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        # The protocol is spoken on descriptors 3 and 4.
        command = ["bash", "-c", f'exec 3<&{theirs} 4>&{answers} && exec "$@"', "bash", *self._command]
        self._process = subprocess.Popen(
            command, pass_fds=(theirs, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(answers)
        self._reader = os.fdopen(self._in, "rb", buffering=0)
        target = self._ask("Target.createTarget", url=self._address)["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        deadline = time.monotonic() + SECONDS
        while self.run("document.readyState + location.href") != f"complete{self._address}":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.close()
        os.close(self._out)

    def run(self, expression: str) -> Any:
        """Return the value of an expression, awaited where it is a promise."""
        found = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._line())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _line(self) -> bytes:
        line = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            assert byte, "the browser has ended"
            line += byte
        return bytes(line)
