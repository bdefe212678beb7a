"""The store as the chart starts it, run for real: its arguments, its identities, its buckets."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest
from minio import Minio
from minio.error import S3Error

WEED = Path(sys.executable).parent / "weed"
BUCKET_TEST = Path(__file__).resolve().parents[2] / "helm/headrace/files/tests/bucket.py"
KEYS = {"PIPELINES_KEY": "pipe", "PIPELINES_SECRET": "p" * 20, "SERVING_KEY": "serve", "SERVING_SECRET": "s" * 20}


def free_ports(count: int) -> list[int]:
    """Return ports whose gRPC partners, 10000 above, are free as well."""
    found: list[int] = []
    candidate = 21000 + int(time.time() * 7) % 9000
    while len(found) < count:
        candidate += 1
        with socket.socket() as one, socket.socket() as other:
            if one.connect_ex(("127.0.0.1", candidate)) and other.connect_ex(("127.0.0.1", candidate + 10000)):
                found.append(candidate)
    return found


@pytest.fixture
def store(render, tmp_path):
    """The port of SeaweedFS, started with the chart's arguments on free ports of loopback."""
    objects = {(item["kind"], item["metadata"]["name"]): item for item in render()}
    script = objects["ConfigMap", "headrace-store"]["data"]["store.sh"].replace("/identities", str(tmp_path))
    subprocess.run(["sh", "-c", script], env={**KEYS, "MODELS": "models", "PATH": "/usr/bin:/bin"}, check=True)
    arguments = objects["StatefulSet", "headrace-store"]["spec"]["template"]["spec"]["containers"][0]["args"]
    moved = {"/data": str(tmp_path / "data"), "/identities": str(tmp_path), "0.0.0.0": "127.0.0.1"}
    for old, new in moved.items():
        arguments = [argument.replace(old, new) for argument in arguments]
    (tmp_path / "data").mkdir()
    master, volume, filer, s3, admin = free_ports(5)
    ports = [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"]
    with (tmp_path / "weed.log").open("wb") as log:
        command = [str(WEED), *arguments, *ports, f"-admin.port={admin}"]
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env={"HOME": str(tmp_path)})
    yield s3
    server.terminate()
    server.wait(30)


def client(port: int, who: str) -> Minio:
    return Minio(f"127.0.0.1:{port}", KEYS[f"{who}_KEY"], KEYS[f"{who}_SECRET"], secure=False, region="us-east-1")


def test_pipelines_may_write_and_model_pods_may_only_read_models(store):
    pipelines, serving = client(store, "PIPELINES"), client(store, "SERVING")
    deadline = time.monotonic() + 60
    while True:
        try:
            if {bucket.name for bucket in pipelines.list_buckets()} >= {"artifacts", "datasets", "models"}:
                break
        except Exception as error:  # not listening yet, or not all parts are up
            if time.monotonic() > deadline:
                raise TimeoutError("the store did not start") from error
        time.sleep(0.2)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEYS["PIPELINES_KEY"],
        "AWS_SECRET_ACCESS_KEY": KEYS["PIPELINES_SECRET"],
        **{f"HEADRACE_{name.upper()}_BUCKET": name for name in ("models", "datasets", "artifacts")},
    }
    proof = subprocess.run([sys.executable, BUCKET_TEST], env=environment, capture_output=True, text=True)
    assert proof.returncode == 0, proof.stderr
    for bucket in ("models", "datasets"):
        pipelines.put_object(bucket, "heart/1/bundle.json", BytesIO(b"{}"), 2)

    with serving.get_object("models", "heart/1/bundle.json") as response:
        assert response.read() == b"{}"
    with pytest.raises(S3Error, match="Access Denied"):
        serving.put_object("models", "heart/1/bundle.json", BytesIO(b"x"), 1)
    with pytest.raises(S3Error, match="Access Denied"):
        serving.get_object("datasets", "heart/1/bundle.json")
