"""What releases and trials write is what KServe's own SDK knows: its models name every field.

The release code itself does not use the SDK: it is not in the steps' image, takes 2.7 s to import, and its client
cannot read an object with metadata (kserve 0.21.0 looks for V1ObjectMeta among its own models).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from components.releases import plans


def unknown(item: Any, kind: str, where: str = "") -> Iterator[str]:
    """Yield the fields of an object that the SDK's model of a kind does not have."""
    from kserve import models

    kind = kind.removeprefix("list[").removesuffix("]")
    model = getattr(models, kind, None)
    if isinstance(item, list):
        for number, inner in enumerate(item):
            yield from unknown(inner, kind, f"{where}[{number}]")
    elif model is not None and isinstance(item, dict):
        types = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
        for name, inner in item.items():
            if name in types:
                yield from unknown(inner, types[name], f"{where}.{name}")
            else:
                yield f"{where}.{name}"


def service(environment: str) -> dict[str, Any]:
    """Return an InferenceService in the middle of a release."""
    stable, new = (
        plans.stamp(environment, "heart", version, f"s3://models/heart/{version}", {}) for version in ("1", "2")
    )
    entry = plans.canary_entry(new.predictor, 25, stable.predictor)
    return {**stable.service, "spec": {**stable.service["spec"], "canary": [entry]}}


@pytest.mark.parametrize("environment", plans.environments())
def test_the_sdk_knows_every_field_of_a_release(environment):
    assert list(unknown(service(environment), "V1beta1InferenceService")) == []


def test_a_field_the_sdk_does_not_know_would_be_found():
    wrong = service("production")
    wrong["spec"]["canary"][0]["predictor"]["model"]["storageURI"] = "s3://models/heart/2"

    assert list(unknown(wrong, "V1beta1InferenceService")) == [".spec.canary[0].predictor.model.storageURI"]
