"""A real Prometheus that scrapes the servers of models, with the labels that the chart's PodMonitor gives."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from gateway import replace
from parts import free_port, wait_for


class Monitor:
    """Prometheus.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder, self._namespace = folder, namespace
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.watch({})
        self._process = self._start(port)
        wait_for(f"{self.url}/-/ready")

    def close(self) -> None:
        """End Prometheus."""
        self._process.terminate()
        self._process.wait(20)

    def watch(self, servers: dict[str, tuple[int, str]]) -> None:
        """Scrape these from now on: Deployment -> port and version."""
        targets = [
            {
                "targets": [f"127.0.0.1:{port}"],
                "labels": {"namespace": self._namespace, "version": version, "pod": name},
            }
            for name, (port, version) in servers.items()
        ]
        replace(self._folder / "targets.json", targets)

    def _start(self, port: int) -> subprocess.Popen[bytes]:
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
