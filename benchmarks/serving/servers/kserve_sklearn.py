"""What KServe's scikit-learn server does, on the public SDK: load a joblib file, predict on what a request holds.

python kserve_sklearn.py MODEL_FILE MODEL_NAME HTTP_PORT GRPC_PORT
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import kserve
from kserve.utils.utils import get_predict_input, get_predict_response


class Sklearn(kserve.Model):
    """A fitted estimator behind V1, V2 and gRPC."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.estimator = joblib.load(path)
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        return get_predict_response(payload, self.estimator.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    model = Sklearn(sys.argv[2], sys.argv[1])
    kserve.ModelServer(http_port=int(sys.argv[3]), grpc_port=int(sys.argv[4])).start([model])
