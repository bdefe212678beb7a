"""Where things are: endpoints, buckets, folders and credentials, read once from the environment.

Nothing else in components/ or pipelines/ reads the environment. The laptop run sets these for its steps by itself;
on a cluster they come from the chart's ConfigMap and Secrets by reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Keys:
    """How to reach an object store: its URL, empty for AWS, and credentials."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    region: str


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
        source: The store that `s3://` addresses of data name, where it is another one; None means this one.
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
    s3_session_token: str = field(default="", repr=False)
    source: Keys | None = None
    in_cluster: bool = False

    def of_sources(self, bucket: str) -> Settings:
        """Return the settings of the store in which a bucket of data is: one's own, or the one that runs use."""
        if self.source is None or bucket in (self.models_bucket, self.datasets_bucket, self.artifacts_bucket):
            return self
        return replace(
            self,
            s3_endpoint=self.source.endpoint,
            s3_access_key=self.source.access_key,
            s3_secret_key=self.source.secret_key,
            s3_session_token=self.source.session_token,
            s3_region=self.source.region,
        )


POD = ("KUBERNETES_SERVICE_HOST", "KFP_POD_NAME")
"""Variables that every pod of a cluster, and every step of Kubeflow Pipelines, has one of."""
SOURCE_ENDPOINT = "HEADRACE_SOURCE_ENDPOINT_URL"
SOURCE_ACCESS_KEY = "HEADRACE_SOURCE_ACCESS_KEY_ID"
SOURCE_SECRET_KEY = "HEADRACE_SOURCE_SECRET_ACCESS_KEY"  # noqa: S105  (the name of a variable)
SOURCE_TOKEN = "HEADRACE_SOURCE_SESSION_TOKEN"  # noqa: S105
SOURCE_REGION = "HEADRACE_SOURCE_REGION"
SOURCE_NAMES = {
    SOURCE_ENDPOINT: "AWS_ENDPOINT_URL",
    SOURCE_ACCESS_KEY: "AWS_ACCESS_KEY_ID",
    SOURCE_SECRET_KEY: "AWS_SECRET_ACCESS_KEY",
    SOURCE_TOKEN: "AWS_SESSION_TOKEN",
    SOURCE_REGION: "AWS_DEFAULT_REGION",
}
"""The variables of a store that only data come from, and those of which each is the likeness."""
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
        s3_session_token=environment.get("AWS_SESSION_TOKEN", ""),
        source=_source(environment),
        in_cluster="KFP_POD_NAME" in environment,
    )


def _source(environment: Mapping[str, str]) -> Keys | None:
    endpoint, access = environment.get(SOURCE_ENDPOINT, ""), environment.get(SOURCE_ACCESS_KEY, "")
    if not endpoint and not access:
        return None
    return Keys(
        endpoint,
        access,
        environment.get(SOURCE_SECRET_KEY, ""),
        environment.get(SOURCE_TOKEN, ""),
        environment.get(SOURCE_REGION, "us-east-1"),
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
