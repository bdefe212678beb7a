"""The KServe SDK in front of ONNX Runtime with one thread.

python kserve_onnx.py MODEL_FILE MODEL_NAME HTTP_PORT GRPC_PORT
"""

from __future__ import annotations

import sys
from typing import Any

import kserve
import numpy as np
import onnxruntime
from kserve.utils.utils import get_predict_input, get_predict_response


class Onnx(kserve.Model):
    """An ONNX graph behind V1, V2 and gRPC."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        features = np.asarray(get_predict_input(payload), dtype=np.float64)
        probabilities = self.session.run(["probabilities"], {"features": features})[0]
        return get_predict_response(payload, probabilities.argmax(axis=1), self.name)


if __name__ == "__main__":
    model = Onnx(sys.argv[2], sys.argv[1])
    kserve.ModelServer(http_port=int(sys.argv[3]), grpc_port=int(sys.argv[4])).start([model])
