"""MLflow's database: the chart's variables and commands, with the driver of the image, against a real Postgres."""

from __future__ import annotations

import copy
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from parts import free_port  # noqa: E402 - the emulator's folder is put on the path above
from workloads import missing_driver  # noqa: E402 - as above

PASSWORD = "p@ss/w:rd?#%25 'x'"
BIN = Path(sys.executable).parent


@pytest.fixture
def template(render) -> dict[str, Any]:
    """The pod template of MLflow."""
    found = [
        item for item in render() if item["metadata"]["name"] == "headrace-mlflow" and item["kind"] == "Deployment"
    ]
    return dict(found[0]["spec"]["template"])


def test_the_image_holds_the_driver_that_the_url_asks_for(template):
    dockerfile = (ROOT / "components/Dockerfile").read_text()
    stages = {stage.split()[2]: stage for stage in dockerfile.split("\nFROM ")[1:] if " AS " in stage}

    assert missing_driver(template) == ""
    assert "COPY --from=tracking " in stages["mlflow"]
    assert "-r /src/tracking.txt" in stages["tracking"]
    assert "dist-packages" not in dockerfile


@pytest.mark.parametrize("url", ["postgresql+psycopg2://h/n", "postgresql+asyncpg://h/n"])
def test_another_driver_is_missed(template, url):
    template = copy.deepcopy(template)
    template["spec"]["containers"][0]["env"].append({"name": "ANOTHER", "value": url})

    assert missing_driver(template) == url.partition("+")[2].partition(":")[0]


def test_no_password_stands_in_a_command_or_in_a_url(template):
    for container in (*template["spec"]["initContainers"], *template["spec"]["containers"]):
        assert "$(PGPASSWORD)" not in str(container)
        by_name = {item["name"]: item for item in container["env"]}
        assert by_name["PGPASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "headrace-database", "key": "password"}


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Postgres with a database `mlflow` that asks for a password no URL could hold unescaped."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs Postgres: apt-get install postgresql")
    folder, port = tmp_path_factory.mktemp("postgres"), free_port()
    secret = folder / "password"
    secret.write_text(PASSWORD)
    data = folder / "data"
    demote: dict[str, Any] = {}
    if os.geteuid() == 0:  # Postgres refuses to run as root
        user = pwd.getpwnam("postgres")
        demote = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == 0 and parent != Path("/") and "pytest-of" in str(parent):
                parent.chmod(parent.stat().st_mode | 0o011)
        shutil.chown(folder, "postgres")
        shutil.chown(secret, "postgres")
    binaries = found[-1].parent
    made = [binaries / "initdb", "-D", data, "-U", "mlflow", f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8"]
    subprocess.run([*map(str, made), "--no-sync"], check=True, capture_output=True, cwd=folder, **demote)
    command = [binaries / "postgres", "-D", data, "-p", port, "-k", folder, "-h", "127.0.0.1", "-F"]
    with (tmp_path_factory.mktemp("log") / "postgres.log").open("wb") as log:
        server = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, cwd=folder, **demote)
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        create = "import psycopg; psycopg.connect(dbname='postgres', autocommit=True).execute('CREATE DATABASE mlflow')"
        subprocess.run([sys.executable, "-c", create], check=True, env=_variables(port))
        yield port
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _variables(port: int) -> dict[str, str]:
    given = {"PGUSER": "mlflow", "PGPASSWORD": PASSWORD, "PGHOST": "127.0.0.1", "PGPORT": str(port)}
    return {"PATH": f"{BIN}:{os.environ['PATH']}", **given}


def test_mlflow_makes_its_tables_and_keeps_what_is_logged(template, database, tmp_path):
    init = template["spec"]["initContainers"][0]
    url = next(item["value"] for item in init["env"] if item["name"] == "MLFLOW_BACKEND_STORE_URI")
    here = url.replace("headrace-database:5432", f"127.0.0.1:{database}")
    variables = {**_variables(database), "MLFLOW_BACKEND_STORE_URI": here, "MLFLOW_TRACKING_URI": here}
    del variables["PGHOST"], variables["PGPORT"]
    command = [word.replace("$(MLFLOW_BACKEND_STORE_URI)", here) for word in init["command"]]

    for _ in range(2):  # the second time there is nothing to do
        subprocess.run(command, check=True, env=variables, cwd=tmp_path, capture_output=True, timeout=200)
    log = (
        "from mlflow import MlflowClient as C; c = C(); e = c.create_experiment('kept');"
        "r = c.create_run(e); c.log_metric(r.info.run_id, 'auc', 0.9); print(c.get_run(r.info.run_id).data.metrics)"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", log],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert said.stdout.strip() == "{'auc': 0.9}", said.stderr[-2000:]
