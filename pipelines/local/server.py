"""The laptop's own servers, outside a run: the champion in the foreground, MLflow's pages, and stopping them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib import request as http
from urllib.error import URLError

from components import ports, registry, settings, tracking
from components.errors import InputError, meant
from components.releases import laptop
from pipelines.local import database, services
from serving import bundle as bundles

POLL_SECONDS = 0.2
NOISE = "ignore"
"""Python's filter for the warnings of MLflow's own imports, which nobody here can act on."""


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
            raise InputError(_no_champion(home, model))
        folder = known.home / "served" / model
        registry.fetch(known, model, version, folder / version)
        laptop.point(folder, version)
    return folder / "current"


def serve(home: Path, model: str, http_port: int | None, grpc_port: int | None, say: Callable[[str], None]) -> NoReturn:
    """Become the server of a model's champion; the one that a run left in the background is ended first.

    Ports that a person names are taken as they are; the usual ones give way to others that are free.
    """
    folder = fetch_champion(home, model)
    known = settings.read()
    laptop.stop(folder.parent, model)
    first = http_port or ports.free(laptop.HOST, known.http_port)
    second = grpc_port or ports.free(laptop.HOST, known.grpc_port, {first})
    command = [sys.executable, "-m", "serving", "--model_name", model, "--model_dir", str(folder)]
    command += ["--host", laptop.HOST, "--http_port", str(first), "--grpc_port", str(second), "--log_format", "text"]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    server = laptop.Server(os.getpid(), first, second, known.code_version)
    laptop.record(folder.parent, server)  # this process becomes the server
    say(f"{model} version {folder.readlink().name} serves at {server.url}/docs until Ctrl-C")
    say(f"  {laptop.curl_line(server.url, bundles.load(folder))}")
    os.execve(sys.executable, command, own)  # noqa: S606 - a list of our own making, no shell


def stop(home: Path) -> list[str]:
    """End every server that runs left behind, and the object store where nobody uses it; return what was ended."""
    folders = sorted((home / "served").glob("*/"))
    ended = [f"server of {folder.name}" for folder in folders if laptop.stop(folder, folder.name)]
    if services.stop(home):
        ended.append("object store")
    return ended


def ui(home: Path, port: int, say: Callable[[str], None], model: str = "") -> int:
    """Run MLflow's pages on the local store until they are stopped; return their exit code.

    Args:
        port: Wanted; where it is taken, another.
        say: Is told one line: where to look, once it can be looked at.
        model: Whose runs to open; empty takes the model of the newest run.
    """
    with services.running(home) as reached:
        environment = {**os.environ, **reached, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": NOISE}
        known = settings.read(environment)
        path = database.file_of(known.tracking_uri)
        if path is not None:
            database.create(path, f"s3://{known.artifacts_bucket}")
        listen = ports.free(services.HOST, port)
        base = f"http://{services.HOST}:{listen}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", services.HOST, "--port", str(listen)]
        command += [
            "--backend-store-uri",
            known.tracking_uri,
            "--workers",
            "1",
            "--uvicorn-opts",
            "--log-level warning",
        ]
        log = home / "ui.log"
        with log.open("wb") as stream:
            child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=stream, stderr=stream)
        try:
            while child.poll() is None and not _answers(f"{base}/health"):
                time.sleep(POLL_SECONDS)
            if child.poll() is None:
                say(f"MLflow: {base}/#/experiments{_experiment(known, model)} (Ctrl-C ends it)")
            else:
                say(f"MLflow ended before it answered: see {log}")
            return child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()


def _experiment(known: settings.Settings, model: str) -> str:
    """Return the path of a model's runs below `experiments`; empty where there is none yet."""
    experiments = tracking.client(known).search_experiments(order_by=["last_update_time DESC"])
    found = [one for one in experiments if one.name == model or (not model and one.name != "Default")]
    return f"/{found[0].experiment_id}/runs" if found else ""


def _answers(url: str) -> bool:
    try:
        with http.urlopen(url, timeout=2):  # noqa: S310  loopback
            return True
    except (OSError, URLError):
        return False


def _no_champion(home: Path, model: str) -> str:
    from components import use_cases

    known = sorted(folder.name for folder in (home / "served").glob("*/") if (folder / "current").is_symlink())
    if model in use_cases.names() and model != use_cases.OWN_DATA:
        return f"model {model!r} has no champion yet: make run USE_CASE={model}"
    choice = f"choose one of {', '.join(known)}" if known else "run a pipeline first: make run"
    return f"there is no model {model!r}{meant(model, known)}: {choice}"
