"""What an environment says about a release: the reviewed manifest, stamped with one model and version.

The files of manifests/rendered/ are what people review; stamping replaces the words `model-name` and `model-version`
and sets where the bundle is. `sed` and `kubectl apply` do the same without this code.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from components import settings
from components.releases import LAPTOP, ReleaseError
from components.releases.kube import SERVICE

RENDERED = Path(__file__).resolve().parents[2] / "manifests" / "rendered"
"""Beside the packages, in a checkout and in the images alike; HEADRACE_MANIFESTS names another folder."""
LONGEST_NAME = 63
VERSION = "headrace/version"
"""The annotation of pods that says what they serve: `v3`."""
TRIAL = "headrace/trial"
"""The annotation of a predictor that a person tries beside the champion; no release is under way then."""
DIGEST = "headrace/digest"
RUN = "headrace/run"
DATASET = "headrace/dataset"
CONTAINER = "kserve-container"
"""KServe's name of the model's container: its schema wants it of a canary, its webhook of no stable predictor."""
FIXED = ("maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")
"""What KServe refuses in a canary: it does not scale."""


@dataclass(frozen=True)
class Plan:
    """How a release goes.

    Attributes:
        strategy: `canary` or `rolling`.
        timeout: Seconds until pods must be ready.
        steps: Shares of traffic in percent.
        patience: Seconds until a step must have its verdict.
        slow: Seconds from which a request counts as slow.
        prometheus: Base URL, `auto` to look for it, empty when there is none.
        fallback: What canary does without Prometheus: `refuse` or `rolling`.
        scrape: Seconds between two looks at Prometheus, not less than between its own.
        gateway: URL of the gateway that splits traffic, `auto` to look for it, empty when there is none.
    """

    strategy: str
    timeout: float
    steps: tuple[int, ...]
    patience: float
    slow: float
    prometheus: str
    fallback: str
    scrape: float
    gateway: str


@dataclass(frozen=True)
class Target:
    """A stamped manifest.

    Attributes:
        service: The InferenceService.
        extras: Everything else, applied after the service took over (autoscaler, disruption budget, plan).
    """

    model: str
    version: str
    service: dict[str, Any]
    extras: tuple[dict[str, Any], ...]
    plan: Plan

    @property
    def predictor(self) -> dict[str, Any]:
        """The predictor that is to serve."""
        return dict(self.service["spec"]["predictor"])

    def under(self, service: dict[str, Any]) -> Target:
        """Return the target with its InferenceService under another predictor name, and what refers to that."""
        name = deployment(self.model, service["spec"]["predictor"])
        extras = copy.deepcopy(self.extras)
        for item in extras:
            if "scaleTargetRef" in item.get("spec", {}):
                item["spec"]["scaleTargetRef"]["name"] = name
        return replace(self, service=service, extras=extras)


def environments(folder: Path | None = None) -> tuple[str, ...]:
    """Return the environments there are manifests for."""
    return tuple(sorted(path.stem for path in (folder or _rendered()).glob("*.yaml")))


def strategy_of(environment: str, folder: Path | None = None) -> str:
    """Return how an environment releases, `canary` or `rolling`; empty where its manifest does not say.

    Raises:
        ReleaseError: There is no such environment.
    """
    documents = yaml.safe_load_all(_manifest(environment, folder or _rendered()))
    plans = [one["data"] for one in documents if one and one["kind"] == "ConfigMap" and "strategy" in one["data"]]
    return str(plans[0]["strategy"]) if plans else ""


def _manifest(environment: str, folder: Path) -> str:
    if environment not in environments(folder):
        choice = ", ".join((LAPTOP, *environments(folder)))
        raise ReleaseError(f"unknown environment {environment!r}: choose one of {choice}")
    return (folder / f"{environment}.yaml").read_text()


def stamp(
    environment: str,
    model: str,
    version: str,
    uri: str,
    facts: dict[str, str],
    strategy: str = "",
    folder: Path | None = None,
) -> Target:
    """Return the manifest of an environment for one version.

    Args:
        uri: `s3://` prefix of its bundle.
        facts: Further annotations of its pods: digest, run, dataset.
        strategy: Overrides what the manifest says; empty does not.

    Raises:
        ReleaseError: There is no such environment, or a name does not fit Kubernetes.
    """
    manifest = _manifest(environment, folder or _rendered())
    if not re.fullmatch(r"[a-z][a-z0-9]*", model) or not re.fullmatch(r"[1-9][0-9]*", version):
        raise ReleaseError(
            f"cannot release {model!r} version {version!r}: a model is [a-z][a-z0-9]*, a version a number"
        )
    _check_length(f"{model}-{canary_name(version)}-predictor", "the Deployment of this version")
    text = manifest.replace("model-name", model).replace("model-version", version)
    documents = [document for document in yaml.safe_load_all(text) if document]
    service = next(document for document in documents if document["kind"] == SERVICE.kind)
    plan = next(document for document in documents if document["metadata"]["name"] == f"{model}-plan")
    predictor = service["spec"]["predictor"]
    predictor["model"]["storageUri"] = uri.rstrip("/") + "/"  # a bare prefix `m/1` is also that of `m/10`
    predictor["annotations"] |= {key: value for key, value in facts.items() if value}
    extras = tuple(document for document in documents if document is not service)
    return Target(model, version, service, extras, _plan(plan["data"], strategy))


def check_host(model: str, namespace: str) -> None:
    """Refuse a model whose host name KServe could not make.

    Raises:
        ReleaseError: `<model>-<namespace>` is too long for a DNS label.
    """
    _check_length(f"{model}-{namespace}", "its host name, model and namespace,")


def canary_entry(predictor: dict[str, Any], percent: int, stable: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of spec.canary[] that gives a predictor a share of the traffic.

    Args:
        stable: The predictor that serves; KServe refuses a canary with more pods.
    """
    entry = {key: value for key, value in copy.deepcopy(predictor).items() if key not in FIXED}
    most = int(stable.get("minReplicas", 1))
    entry["name"] = _free_name(predictor, str(stable.get("name", "")))
    entry["model"] = {**entry["model"], "name": CONTAINER}
    entry["minReplicas"] = min(most, max(1, math.ceil(most * percent / 100)))
    return {"predictor": entry, "trafficPercent": percent}


def _free_name(predictor: dict[str, Any], taken: str) -> str:
    """Return the name of a canary: the one its predictor is promoted under, unless the stable predictor has it."""
    own = str(predictor.get("name") or predictor["annotations"][VERSION])
    word = str(predictor["annotations"][VERSION])
    return next(name for name in (own, word, f"{word}b") if name != taken)


def canary_name(version: str) -> str:
    """Return the name of the predictor of a version, which is also its annotation: `v3`."""
    return f"v{version}"


def deployment(model: str, predictor: dict[str, Any]) -> str:
    """Return the name KServe gives the Deployment and the Service of a predictor."""
    name = predictor.get("name")
    return f"{model}-{name}-predictor" if name else f"{model}-predictor"


def _rendered() -> Path:
    return settings.read().manifests or RENDERED


def _check_length(name: str, what: str) -> None:
    if len(name) > LONGEST_NAME:
        raise ReleaseError(
            f"{what} would be {name!r}, {len(name)} characters; "
            f"Kubernetes allows {LONGEST_NAME}: use a shorter model name"
        )


def _plan(data: dict[str, str], strategy: str) -> Plan:
    chosen = strategy or data["strategy"]
    if chosen not in ("canary", "rolling"):
        raise ReleaseError(f"unknown strategy {chosen!r}: choose canary or rolling")
    if data["fallback"] not in ("refuse", "rolling"):
        raise ReleaseError(f"the plan's fallback is {data['fallback']!r}: choose refuse or rolling")
    steps = tuple(int(step) for step in data["steps"].split(","))
    if list(steps) != sorted(set(steps)) or not all(0 < step < 100 for step in steps):
        raise ReleaseError(f"the plan's steps are {data['steps']!r}: they must rise, between 0 and 100")
    return Plan(
        strategy=chosen,
        timeout=float(data["timeout"]),
        steps=steps,
        patience=float(data["patience"]),
        slow=float(data["slow"]),
        prometheus=data["prometheus"].rstrip("/"),
        fallback=data["fallback"],
        scrape=float(data.get("scrape", "15")),
        gateway=data["gateway"].rstrip("/"),
    )
