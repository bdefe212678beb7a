"""Where things are: endpoints, buckets, folders and credentials, read once from the environment.

Nothing else in components/ or pipelines/ reads the environment. The laptop run sets these for its steps by itself;
on a cluster they come from the chart's ConfigMap and Secrets by reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """One frozen reading of the environment.

    Attributes:
        s3_endpoint: URL of the object store; empty means AWS.
        datasets_bucket: Where data sets are kept by their hash; empty keeps them with the run only.
        manifests: Folder of rendered manifests, `<environment>.yaml`; None uses those of this checkout.
        mirror: Folder that holds data files by name, for machines that reach no network; None uses the URLs.
        home: Folder of the laptop's state (`.headrace`).
        code_version: Git commit or release of the running code, for provenance.
        in_cluster: Whether this is a step in a pod of Kubeflow Pipelines.
    """

    s3_endpoint: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    s3_region: str
    models_bucket: str
    datasets_bucket: str
    artifacts_bucket: str
    tracking_uri: str
    manifests: Path | None
    mirror: Path | None
    home: Path
    code_version: str
    http_port: int
    grpc_port: int
    in_cluster: bool = False


POD = ("KUBERNETES_SERVICE_HOST", "KFP_POD_NAME")
"""Variables that every pod of a cluster, and every step of Kubeflow Pipelines, has one of."""
PLACES = ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI")


class SettingsError(ValueError):
    """An environment variable is missing or not usable; the message names it."""


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of an environment; defaults make the laptop work with nothing set.

    In a pod there are no defaults for where things are: one without them would work on a store and a registry of its
    own, in its file system, and find nothing there. A HEADRACE_HOME says that this is wanted.

    Raises:
        SettingsError: A variable has an unusable value, or is missing in a pod.
    """
    _check_pod(environment)
    home = Path(environment.get("HEADRACE_HOME", ".headrace")).absolute()
    mirror, manifests = environment.get("HEADRACE_MIRROR", ""), environment.get("HEADRACE_MANIFESTS", "")
    return Settings(
        s3_endpoint=environment.get("AWS_ENDPOINT_URL", ""),
        s3_access_key=environment.get("AWS_ACCESS_KEY_ID", ""),
        s3_secret_key=environment.get("AWS_SECRET_ACCESS_KEY", ""),
        s3_region=environment.get("AWS_DEFAULT_REGION", "us-east-1"),
        models_bucket=environment.get("HEADRACE_MODELS_BUCKET", "models"),
        datasets_bucket=environment.get("HEADRACE_DATASETS_BUCKET", "datasets"),
        artifacts_bucket=environment.get("HEADRACE_ARTIFACTS_BUCKET", "artifacts"),
        tracking_uri=environment.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}"),
        manifests=Path(manifests).expanduser() if manifests else None,
        mirror=Path(mirror).expanduser() if mirror else None,
        home=home,
        code_version=environment.get("HEADRACE_CODE_VERSION", "unknown"),
        http_port=_port(environment, "HEADRACE_HTTP_PORT", 8080),
        grpc_port=_port(environment, "HEADRACE_GRPC_PORT", 8081),
        in_cluster="KFP_POD_NAME" in environment,
    )


def _check_pod(environment: Mapping[str, str]) -> None:
    if not set(POD) & set(environment) or environment.get("HEADRACE_HOME"):
        return
    missing = [name for name in PLACES if not environment.get(name)]
    if missing:
        raise SettingsError(
            f"not set, and in a pod there is no default: {', '.join(missing)}; "
            "take them from the ConfigMap headrace of the chart (envFrom.configMapRef) and the keys from the Secret "
            "headrace-s3, or set HEADRACE_HOME to work on a store and registry in a folder of this pod"
        )


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise SettingsError(f"{name}={text!r}: expected a port number from 0 to 65535")
    return int(text)
