"""Starting and finding processes on loopback: free ports, and waiting until somebody listens."""

from __future__ import annotations

import socket
import time
import urllib.request


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_up(url: str) -> bool:
    """Return whether a GET answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(url: str, seconds: float = 60.0) -> None:
    """Return when a GET answers 200."""
    deadline = time.monotonic() + seconds
    while not is_up(url):
        if time.monotonic() > deadline:
            raise TimeoutError(url)
        time.sleep(0.05)


def wait_for_listener(port: int, seconds: float = 60.0) -> None:
    """Return when somebody listens on a port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {port}")
