"""LitServe in front of a joblib file.

python litserve_sklearn.py MODEL_FILE HTTP_PORT
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import litserve


class Api(litserve.LitAPI):
    """Rows in, labels out."""

    def setup(self, device: str) -> None:
        self.estimator = joblib.load(sys.argv[1])

    def predict(self, request: Any) -> Any:
        return {"predictions": self.estimator.predict(request["instances"]).tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False)
