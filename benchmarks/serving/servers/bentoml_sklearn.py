"""BentoML in front of a joblib file; its path comes in BENCHMARK_MODEL."""

from __future__ import annotations

import os

import bentoml
import joblib


@bentoml.service(workers=1)
class Heart:
    """Rows in, labels out."""

    def __init__(self) -> None:
        self.estimator = joblib.load(os.environ["BENCHMARK_MODEL"])

    @bentoml.api
    def predict(self, instances: list[list[float]]) -> dict[str, list[int]]:
        return {"predictions": self.estimator.predict(instances).tolist()}
