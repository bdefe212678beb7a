"""The laptop's own servers, outside a run: the champion in the foreground, MLflow's pages, and stopping them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from components import registry, settings, tracking
from components.errors import InputError
from components.releases import laptop
from pipelines.local import database, services


def fetch_champion(home: Path, model: str) -> Path:
    """Download the version that is the champion and return the folder that points at it.

    Raises:
        InputError: The model has no champion yet.
    """
    with services.running(home) as reached:
        known = settings.read({**os.environ, **reached})
        path = database.file_of(known.tracking_uri)
        version = None if path is not None and not path.exists() else tracking.champion(known, model)
        if version is None:
            raise InputError(f"model {model!r} has no champion yet: make run USE_CASE={model}")
        folder = known.home / "served" / model
        registry.fetch(known, model, version, folder / version)
        laptop.point(folder, version)
    return folder / "current"


def serve(home: Path, model: str, http_port: int | None, grpc_port: int | None) -> NoReturn:
    """Become the server of a model's champion; the one that a run left in the background is ended first."""
    folder = fetch_champion(home, model)
    known = settings.read()
    laptop.stop(folder.parent, model)
    ports = {"http": http_port or known.http_port, "grpc": grpc_port or known.grpc_port}
    command = [sys.executable, "-m", "serving", "--model_name", model, "--model_dir", str(folder)]
    command += ["--host", laptop.HOST, "--http_port", str(ports["http"]), "--grpc_port", str(ports["grpc"])]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    sys.stdout.flush()
    os.execve(sys.executable, command, own)  # noqa: S606 - a list of our own making, no shell


def stop(home: Path) -> list[str]:
    """End every server that runs left behind, and the object store where nobody uses it; return what was ended."""
    folders = sorted((home / "served").glob("*/"))
    ended = [f"server of {folder.name}" for folder in folders if laptop.stop(folder, folder.name)]
    if services.stop(home):
        ended.append("object store")
    return ended


def ui(home: Path, port: int) -> int:
    """Run MLflow's pages on the local store until they are stopped; return their exit code."""
    with services.running(home) as reached:
        environment = {**os.environ, **reached, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        path = database.file_of(reached["MLFLOW_TRACKING_URI"])
        if path is not None:
            database.create(path, f"s3://{reached['HEADRACE_ARTIFACTS_BUCKET']}")
        command = [sys.executable, "-m", "mlflow", "server", "--host", services.HOST, "--port", str(port)]
        command += ["--backend-store-uri", reached["MLFLOW_TRACKING_URI"], "--workers", "1"]
        child = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            return child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
