"""What KServe's webhooks do to an InferenceService, as far as its fields are ours.

Rules and messages follow pkg/apis/serving/v1beta1 of KServe at aaac4e2: inference_service_defaults.go for what is
written into the object, inference_service_validation.go and component.go for what is refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator

from resources import Object

MODE, CLASS = "serving.kserve.io/deploymentMode", "serving.kserve.io/autoscalerClass"
CLASSES = ("hpa", "keda", "none", "external")
LEGACY = {"RawDeployment": "Standard", "Serverless": "Knative"}
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
FIXED = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")
DENIED = 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '


def defaulted(service: Object) -> Object:
    """Return an InferenceService as the API server stores it: what was left out is there, as Go writes it."""
    service = copy.deepcopy(service)
    annotations = service["metadata"].setdefault("annotations", {})
    if annotations.get(MODE) in LEGACY:
        annotations[MODE] = LEGACY[annotations[MODE]]
    for predictor in _predictors(service):
        model = predictor.get("model")
        if model is not None:
            model.setdefault("name", "")  # a container's name has no omitempty
            model.setdefault("resources", {})
    stable = service["spec"]["predictor"]
    if name := stable.get("model", {}).get("modelFormat", {}).get("name"):
        annotations.setdefault("modelFormat", name)
    stable.setdefault("automountServiceAccountToken", False)
    return service


def refusal(service: Object, before: Object | None) -> str:
    """Return why KServe's validator refuses an InferenceService, empty when it does not.

    Args:
        before: The object that is updated, None when it is created.
    """
    return next(_refusals(service, before), "")


def _refusals(service: Object, before: Object | None) -> Iterator[str]:
    if before is not None:
        yield from _change(service, before)
    name, annotations = service["metadata"]["name"], service["metadata"].get("annotations") or {}
    stable = service["spec"]["predictor"]
    if not NAME.fullmatch(name):
        yield f"the InferenceService \"{name}\" is invalid: its name must consist of lower case letters, digits or '-'"
    if annotations.get(CLASS, "hpa") not in CLASSES:
        yield f"[{annotations[CLASS]}] is not a supported autoscaler class type"
    if (stable.get("model") or {}).get("name"):
        yield "the 'name' field is not allowed in standard predictor"
    yield from _component(stable)
    if annotations.get(MODE) == "Standard" and annotations.get(CLASS) == "hpa":
        yield from _scaling(stable)
    yield from _canaries(service, annotations)


def _change(service: Object, before: Object) -> Iterator[str]:
    old, new = before["spec"]["predictor"], service["spec"]["predictor"]
    mode = before.get("status", {}).get("deploymentMode")
    wanted = (service["metadata"].get("annotations") or {}).get(MODE)
    if mode and wanted and wanted != mode:
        yield f"update rejected: deploymentMode cannot be changed from '{mode}' to '{wanted}'"
    renamed = old.get("name", "") != new.get("name", "")
    if renamed and old.get("model", {}).get("storageUri") == new.get("model", {}).get("storageUri"):
        yield "predictor.name change requires a model change (e.g. storageUri)"


def _component(predictor: Object) -> Iterator[str]:
    if predictor.get("name") and not NAME.fullmatch(predictor["name"]):
        yield f"predictor name {predictor['name']!r} is invalid"
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    if least < 0 or most < 0:
        yield "MinReplicas and MaxReplicas cannot be less than 0"
    if least > most != 0:
        yield "'MinReplicas' cannot be greater than MaxReplicas"


def _scaling(predictor: Object) -> Iterator[str]:
    metric, target = predictor.get("scaleMetric", "cpu"), predictor.get("scaleTarget")
    if metric not in ("cpu", "memory"):
        yield f"[{metric}] is not a supported metric"
    if target is not None and metric == "cpu" and not 1 <= target <= 100:
        yield "the target utilization percentage should be a [1-100] integer"


def _canaries(service: Object, annotations: dict[str, str]) -> Iterator[str]:
    entries, stable = service["spec"].get("canary") or [], service["spec"]["predictor"]
    if entries and annotations.get(MODE) != "Standard":
        yield "canary is only supported in Standard deployment mode"
    if entries and "model" not in stable:
        yield "canary requires a stable predictor with a model (multi-model serving is not supported with canary)"
    names: set[str] = set()
    for number, entry in enumerate(entries):
        predictor, percent = entry["predictor"], entry.get("trafficPercent", 0)
        name = predictor.get("name", "")
        if not name:
            yield f"canary[{number}] predictor.name is required"
        if name in names:
            yield f'canary predictor.name "{name}" is duplicated'
        names.add(name)
        if name == stable.get("name", ""):
            yield f'canary predictor.name "{name}" conflicts with stable predictor name'
        if not 0 <= percent <= 100:
            yield f'canary "{name}" trafficPercent must be between 0 and 100, got {percent}'
        if "model" not in predictor:
            yield f'canary "{name}" predictor: exactly one of its frameworks must be set'
        yield from (f'canary "{name}" predictor: {reason}' for reason in _component(predictor))
        for field in FIXED:
            if predictor.get(field):
                yield f'canary "{name}" must not set {field} (canary uses fixed replicas)'
        least, most = predictor.get("minReplicas"), stable.get("minReplicas", 1)
        if least is not None and least > most:
            yield f'canary "{name}" minReplicas ({least}) must not exceed stable predictor minReplicas ({most})'
    total = sum(entry.get("trafficPercent", 0) for entry in entries)
    if total > 100:
        yield f"sum of canary trafficPercent values ({total}) must be <= 100"


def _predictors(service: Object) -> list[Object]:
    spec = service["spec"]
    return [spec["predictor"], *(entry["predictor"] for entry in spec.get("canary") or [])]
