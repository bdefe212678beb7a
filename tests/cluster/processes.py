"""A `Workload` of real parts: our server in processes, Envoy as the gateway, Prometheus over both."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hardened
from gateway import Gateway
from monitor import Monitor
from parts import free_port, is_up

PRESTOP_SECONDS = 1.0
"""Between a pod's removal and its SIGTERM, as the manifest's preStop hook has it."""
VERSION = "headrace/version"
Object = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """A started server."""

    process: subprocess.Popen[bytes]
    http: int
    grpc: int
    version: str


class Processes:
    """Servers, Envoy and Prometheus.

    Attributes:
        gateway: URL of Envoy.
        prometheus: URL of Prometheus.
        servers: By Deployment.
    """

    def __init__(
        self,
        folder: Path,
        find: Callable[[Object], Path],
        arguments: Callable[[], Sequence[str] | None] = lambda: (),
        namespace: str = "default",
    ) -> None:
        """Start Envoy and Prometheus.

        Args:
            find: Returns the bundle of a predictor.
            arguments: Returns further flags of the server; None when there is no runtime yet.
        """
        self._folder, self._find, self._arguments = folder, find, arguments
        self.servers: dict[str, Server] = {}
        self._ending: list[threading.Thread] = []
        self._gateway, self._monitor = Gateway(folder, namespace), Monitor(folder, namespace)
        self.gateway, self.prometheus = self._gateway.url, self._monitor.url
        self.route, self.overlay = self._gateway.route, self._gateway.overlay

    @property
    def weights(self) -> dict[str, dict[str, int]]:
        """Model -> Deployment -> share, as last routed."""
        return self._gateway.weights

    def start(self, deployment: str, model: str, predictor: Object, replicas: int) -> Object:
        """Start a server for a Deployment, once; its state tells whether it is ready."""
        version = predictor["annotations"][VERSION].removeprefix("v")
        known = self.servers.get(deployment)
        if known and known.version != version:  # the template changed: one pod at a time, the new one first
            return self._replace(deployment, model, predictor, version)
        if known is None:
            known = self._run(deployment, model, predictor, version)
            if known is None:
                return {"ready": False}
            self.servers[deployment] = known
        if not self._gateway.knows(deployment, known.http):
            if known.process.poll() is not None:
                return self._crashed(deployment, known)
            if not is_up(f"http://127.0.0.1:{known.http}/v2/models/{model}/ready"):
                return {"ready": False}
            self._publish(deployment, known)
        return {"ready": True, "port": known.http, "log": self._log(deployment, known.version)}

    def stop(self, deployment: str) -> None:
        """End a server as Kubernetes does: it serves through its preStop hook, then drains."""
        if found := self.servers.pop(deployment, None):
            self._watch()
            self._end(found)

    def signal(self, version: str, number: int) -> None:
        """Send the servers of a version a signal."""
        for server in self.servers.values():
            if server.version == version:
                server.process.send_signal(number)

    def log_lines(self) -> list[str]:
        """Return what all servers have logged."""
        return [line for path in self._folder.glob("*-predictor*.log") for line in path.read_text().splitlines()]

    def close(self) -> None:
        """End everything."""
        for deployment in list(self.servers):
            self.stop(deployment)
        for thread in self._ending:
            thread.join()
        self._gateway.close()
        self._monitor.close()

    def _replace(self, deployment: str, model: str, predictor: Object, version: str) -> Object:
        waiting = f"{deployment}-new"
        server = self.servers.get(waiting) or self._run(deployment, model, predictor, version)
        if server is None:
            return {"ready": False, "old": True}
        self.servers[waiting] = server
        if server.process.poll() is not None:
            return {**self._crashed(deployment, server), "old": True}
        if not is_up(f"http://127.0.0.1:{server.http}/v2/models/{model}/ready"):
            return {"ready": False, "old": True}
        self._end(self.servers[deployment])
        self.servers[deployment] = self.servers.pop(waiting)
        self._publish(deployment, server)
        return {"ready": True, "port": server.http, "log": self._log(deployment, version)}

    def _run(self, deployment: str, model: str, predictor: Object, version: str) -> Server | None:
        extra = self._arguments()
        if extra is None:
            return None
        http, grpc = free_port(), free_port()
        command = [sys.executable, "-m", "serving", "--model_name", model, "--host", "127.0.0.1"]
        command += ["--model_dir", str(self._find(predictor)), "--http_port", str(http), "--grpc_port", str(grpc)]
        with self._log(deployment, version).open("ab") as log:
            process = subprocess.Popen(
                hardened.command([*command, *extra]), stdout=log, stderr=log, cwd="/", env=hardened.environment()
            )
        return Server(process, http, grpc, version)

    def _publish(self, deployment: str, server: Server) -> None:
        self._gateway.add(deployment, server.http, server.grpc)
        self._watch()

    def _crashed(self, deployment: str, server: Server) -> Object:
        """Return the state of pods whose server ended by itself; it is not started again."""
        ended = {"terminated": {"exitCode": server.process.returncode, "reason": "Error"}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
        container = {"name": "kserve-container", "ready": False, "state": waiting, "lastState": ended}
        pod = {"suffix": server.version, "status": {"containerStatuses": [container]}}
        return {"ready": False, "pods": [{**pod, "log": self._log(deployment, server.version).read_text()}]}

    def _log(self, deployment: str, version: str) -> Path:
        return self._folder / f"{deployment}-{version}.log"

    def _watch(self) -> None:
        self._monitor.watch({name: (server.http, server.version) for name, server in self.servers.items()})

    def _end(self, server: Server) -> None:
        self._ending.append(threading.Thread(target=_drain, args=(server.process,)))
        self._ending[-1].start()


def _drain(server: subprocess.Popen[bytes]) -> None:
    time.sleep(PRESTOP_SECONDS)
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(30)
    server.kill()
    server.wait()
