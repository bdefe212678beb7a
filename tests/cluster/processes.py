"""A `Workload` of real parts: our server in processes, Envoy as the gateway, Prometheus over both."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import gateway

NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
PRESTOP_SECONDS = 1.0
"""Between a pod's removal and its SIGTERM, as the manifest's preStop hook has it."""


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


class Processes:
    """Servers, Envoy and Prometheus.

    Attributes:
        gateway: URL of Envoy.
        prometheus: URL of Prometheus.
        weights: As last routed.
    """

    def __init__(self, model: str, bundles: dict[str, Path], folder: Path, arguments: tuple[str, ...] = ()) -> None:
        self._model, self._bundles, self._folder, self._arguments = model, bundles, folder, arguments
        self._servers: dict[str, tuple[subprocess.Popen[bytes], int, str]] = {}
        self._clusters: dict[str, int] = {}
        self._ending: list[threading.Thread] = []
        self.weights: dict[str, int] = {}
        self._trial: list[dict[str, Any]] = []
        port, monitor = free_port(), free_port()
        self.gateway, self.prometheus = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{monitor}"
        self._write_clusters()
        self._write_routes({})
        self._parts = [self._start_envoy(port), self._start_prometheus(monitor)]
        wait_for(f"{self.prometheus}/-/ready")
        wait_for_listener(port)

    def start(self, deployment: str, version: str, replicas: int) -> dict[str, Any]:
        """Start a server for a Deployment, once; its state tells whether it is ready."""
        if deployment not in self._servers:
            port = free_port()
            command = [sys.executable, "-m", "serving", "--model_name", self._model, "--host", "127.0.0.1"]
            command += ["--model_dir", str(self._bundles[version]), "--http_port", str(port)]
            command += ["--grpc_port", str(free_port()), *self._arguments]
            with (self._folder / f"{deployment}.log").open("wb") as log:
                server = subprocess.Popen(command, stdout=log, stderr=log)
            self._servers[deployment] = server, port, version
        _, port, _ = self._servers[deployment]
        if deployment not in self._clusters and not is_up(f"http://127.0.0.1:{port}/v2/models/{self._model}/ready"):
            return {"ready": False}
        if self._clusters.get(deployment) != port:
            self._clusters[deployment] = port
            self._write_clusters()
            self._write_targets()
        return {"ready": True, "port": port}

    def stop(self, deployment: str) -> None:
        """End a server as Kubernetes does: it serves through its preStop hook, then drains."""
        if found := self._servers.pop(deployment, None):
            self._write_targets()
            self._ending.append(threading.Thread(target=_end, args=(found[0],)))
            self._ending[-1].start()

    def route(self, weights: dict[str, int]) -> None:
        """Write Envoy's routes."""
        if weights != self.weights and set(weights) <= set(self._clusters):
            self.weights = dict(weights)
            self._write_routes(weights)

    def overlay(self, route: dict[str, Any] | None) -> None:
        """Put an HTTPRoute's rules before the others, in Envoy's words."""
        trial = gateway.routes(route) if route else []
        if trial != self._trial:
            self._trial = trial
            self._write_routes(self.weights)

    def signal(self, version: str, number: int) -> None:
        """Send the servers of a version a signal."""
        for server, _, served in self._servers.values():
            if served == version:
                server.send_signal(number)

    def log_lines(self) -> list[str]:
        """Return what all servers have logged."""
        logs = self._folder.glob(f"{self._model}-*.log")
        return [line for path in logs for line in path.read_text().splitlines()]

    def close(self) -> None:
        """End everything."""
        for deployment in list(self._servers):
            self.stop(deployment)
        for thread in self._ending:
            thread.join()
        for part in self._parts:
            part.terminate()
            part.wait(20)

    def _replace(self, name: str, content: object) -> None:
        """Move a file into place: that is what Envoy watches for."""
        partial = self._folder / f"{name}.partial"
        partial.write_text(json.dumps(content))
        partial.replace(self._folder / name)

    def _write_clusters(self) -> None:
        """Clusters are only ever added: a route must never name one that is gone."""
        resources = [
            {
                "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                "name": name,
                "type": "STATIC",
                "connect_timeout": "2s",
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [_endpoint(port)]}]},
            }
            for name, port in self._clusters.items()
        ]
        self._replace("clusters.json", {"resources": resources})

    def _write_routes(self, weights: dict[str, int]) -> None:
        shares = [{"name": name, "weight": weight} for name, weight in weights.items() if weight]
        action: dict[str, Any] = {"route": {"weighted_clusters": {"clusters": shares}}}
        route = {"match": {"prefix": "/"}, **(action if shares else {"direct_response": {"status": 503}})}
        header = {"header": {"key": "served-by", "value": "%UPSTREAM_CLUSTER%"}}
        resource = {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "model",
            "virtual_hosts": [{"name": "model", "domains": ["*"], "routes": [*self._trial, route]}],
            "response_headers_to_add": [header],
        }
        self._replace("routes.json", {"resources": [resource]})

    def _write_targets(self) -> None:
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "default", "version": version, "pod": name}}
            for name, (_, port, version) in self._servers.items()
        ]
        self._replace("targets.json", targets)

    def _start_envoy(self, port: int) -> subprocess.Popen[bytes]:
        manager = {
            "@type": f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "model",
            "rds": {"route_config_name": "model", "config_source": self._source("routes.json")},
            "http_filters": [
                {
                    "name": "router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        listener = {
            "name": "model",
            "address": _address(port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        config = {
            "node": {"id": "gateway", "cluster": "gateway"},
            "dynamic_resources": {"cds_config": self._source("clusters.json")},
            "static_resources": {"listeners": [listener]},
        }
        path = self._folder / "envoy.json"
        path.write_text(json.dumps(config))
        binary = Path(sys.executable).parent / "envoy"
        command = [binary, "--config-path", path, "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
        with (self._folder / "envoy.log").open("wb") as log:
            return subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)

    def _source(self, name: str) -> dict[str, Any]:
        path = {"path": str(self._folder / name), "watched_directory": {"path": str(self._folder)}}
        return {"resource_api_version": "V3", "path_config_source": path}

    def _start_prometheus(self, port: int) -> subprocess.Popen[bytes]:
        self._replace("targets.json", [])
        scrape = {
            "job_name": "models",
            "honor_labels": True,
            "file_sd_configs": [{"files": [str(self._folder / "targets.json")], "refresh_interval": "1s"}],
        }
        config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": [scrape]}
        path = self._folder / "prometheus.yaml"
        path.write_text(json.dumps(config))
        binary = shutil.which("prometheus")
        assert binary is not None
        command = [binary, f"--config.file={path}", f"--storage.tsdb.path={self._folder / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        with (self._folder / "prometheus.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)


class Load:
    """Constant load over kept connections; remembers who answered, under which weights, and what failed."""

    def __init__(
        self, workload: Processes, path: str, body: bytes, *, threads: int = 3, per_second: float = 60
    ) -> None:
        self._workload, self._path, self._body, self._pause = workload, path, body, 1 / per_second
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
            weights = tuple(self._workload.weights.items())
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


def _end(server: subprocess.Popen[bytes]) -> None:
    time.sleep(PRESTOP_SECONDS)
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(30)
    server.kill()
    server.wait()


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _endpoint(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": _address(port)}}
