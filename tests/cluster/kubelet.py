"""A stand-in for a node: runs pods of our Python images as processes of this machine.

The script, its environment from ConfigMaps and Secrets, and what becomes of the pod are real. The names of Services
lead to ports of this machine, mounts to folders of it; there is no container around the process.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import transport
from apiserver import ApiServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from resources import Object

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
RESOLVER = """
import json, os, socket
ports, resolve = json.loads(os.environ["CLUSTER_NAMES"]), socket.getaddrinfo

def getaddrinfo(host, port, *rest, **more):
    local = ports.get(f"{host}:{port}")
    return resolve("127.0.0.1" if local else host, local or port, *rest, **more)

socket.getaddrinfo = getaddrinfo
"""
"""Imported by Python at start: the cluster's DNS and Services."""


class Kubelet:
    """Runs pods until closed."""

    def __init__(self, api: ApiServer, folder: Path, names: Callable[[], dict[str, int]]) -> None:
        """Start watching for pods.

        Args:
            names: Returns `<service>.<namespace>:<port>` -> port of this machine.
        """
        self._api, self._folder, self._names = api, folder, names
        self._closed = False
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(RESOLVER)
        self._server = transport.Server(("127.0.0.1", 0), transport.handler(api))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(folder))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closed = True
        self._thread.join(60)
        self._server.shutdown()
        self._server.server_close()

    def _run(self) -> None:
        while not self._closed:
            for pod in self._api.list("pods"):
                if "spec" in pod and not pod.get("status"):
                    self._start(pod)
            with self._api.changed:
                self._api.changed.wait(0.2)

    def _start(self, pod: Object) -> None:
        """Run the one container of a pod to its end."""
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        here = self._folder / pod["metadata"]["uid"]
        mounts = self._mounts(pod["spec"], here)
        log = self._api.logs[name] = here / "log"
        self._api.set_status("pods", name, {"phase": "Running"})
        command = [_moved(word, mounts) for word in container["command"]]
        command[0] = sys.executable if command[0] == "python" else command[0]
        with log.open("wb") as stream:
            ended = subprocess.run(
                command, stdout=stream, stderr=stream, timeout=120, cwd=here, env=self._environment(container)
            )
        state = {"terminated": {"exitCode": ended.returncode, "reason": "Error" if ended.returncode else "Completed"}}
        phase = "Failed" if ended.returncode else "Succeeded"
        self._api.set_status("pods", name, {"phase": phase, "containerStatuses": [{"name": name, "state": state}]})

    def _mounts(self, spec: Object, here: Path) -> dict[str, str]:
        """Write the volumes of a pod; return their paths in the container -> on this machine."""
        account = here / "account"
        account.mkdir(parents=True)
        (account / "token").write_text("token")
        (account / "ca.crt").write_bytes((self._folder / "certificate.pem").read_bytes())
        mounts = {ACCOUNT: str(account)}
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for mount in spec["containers"][0].get("volumeMounts", []):
            path = here / mount["name"]
            path.mkdir()
            mounts[mount["mountPath"]] = str(path)
            source = volumes[mount["name"]].get("configMap")
            for name, text in (self._data("configmaps", source["name"]) if source else {}).items():
                (path / name).write_text(text.replace(ACCOUNT, mounts[ACCOUNT]))
        return mounts

    def _environment(self, container: Object) -> dict[str, str]:
        host, port = "127.0.0.1", str(self._server.server_address[1])
        found = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self._folder)}
        found |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        found["CLUSTER_NAMES"] = json.dumps(self._names())
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                found |= self._data("configmaps", source["configMapRef"]["name"])
            else:
                secret = self._data("secrets", source["secretRef"]["name"])
                found |= {name: base64.b64decode(value).decode() for name, value in secret.items()}
        return found | {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}

    def _data(self, plural: str, name: str) -> dict[str, str]:
        return dict((self._api.get(plural, name) or {}).get("data") or {})


def _moved(word: str, mounts: dict[str, str]) -> str:
    for path, here in mounts.items():
        if word.startswith(f"{path}/"):
            return here + word.removeprefix(path)
    return word


def _certificate(folder: Path) -> Path:
    """Write a key and a certificate of its own for loopback, and return their file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulator")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(addresses, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(key.private_bytes(pem, pkcs8, plain) + built.public_bytes(pem))
    return path
