"""Clients of an endpoint: V1, V2 and gRPC, one request or constant load."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import grpc
import urllib3

from serving.oip import inference_pb2 as oip

Row = dict[str, float | None]
"""A missing value is None; over gRPC, NaN."""
Object = dict[str, Any]


class Client:
    """Asks a model through the gateway, as the host of its InferenceService."""

    def __init__(self, gateway: str, url: str, model: str) -> None:
        self.gateway, self.host, self.model = gateway, urlsplit(url).netloc, model
        self._pool = urllib3.PoolManager(maxsize=4)

    def v1(self, rows: list[Row], **headers: str) -> Object:
        """Return the answer of V1, with probabilities."""
        body = {"instances": rows, "parameters": {"probabilities": True}}
        return self._post(f"/v1/models/{self.model}:predict", body, headers)

    def v2(self, rows: list[Row], **headers: str) -> Object:
        """Return the answer of the Open Inference Protocol."""
        return self._post(f"/v2/models/{self.model}/infer", tensors(rows), headers)

    def version(self, row: Row, **headers: str) -> str:
        """Return which version answers."""
        return str(self.v2([row], **headers)["model_version"])

    def _post(self, path: str, body: Object, headers: dict[str, str]) -> Object:
        known = {"Content-Type": "application/json", "Host": self.host, **headers}
        response = self._pool.request("POST", self.gateway + path, body=json.dumps(body), headers=known, retries=False)
        assert response.status == 200, (response.status, response.data[:300])
        return dict(json.loads(response.data))


def tensors(rows: list[Row]) -> Object:
    """Return a request of the Open Inference Protocol: one tensor per column."""
    columns = [
        {"name": name, "datatype": "FP64", "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name in rows[0]
    ]
    return {"inputs": columns}


def over_grpc(client: Client, rows: list[Row], **metadata: str) -> tuple[str, list[int]]:
    """Return the version that answers over gRPC through the gateway, and its predictions."""
    request = oip.ModelInferRequest(model_name=client.model)
    for column in tensors(rows)["inputs"]:
        tensor = request.inputs.add(name=column["name"], datatype="FP64", shape=column["shape"])
        tensor.contents.fp64_contents.extend(math.nan if value is None else value for value in column["data"])
    authority = [("grpc.default_authority", client.host)]
    with grpc.insecure_channel(urlsplit(client.gateway).netloc, authority) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )
        answer = infer(request, timeout=30, metadata=tuple(metadata.items()))
    place = next(number for number, output in enumerate(answer.outputs) if output.name == "prediction")
    if answer.raw_output_contents:
        raw = answer.raw_output_contents[place]
        return answer.model_version, [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
    return answer.model_version, list(answer.outputs[place].contents.int64_contents)


class Load:
    """Constant load over kept connections; remembers which versions answered, and what failed."""

    def __init__(self, client: Client, row: Row, *, threads: int = 3, per_second: float = 40) -> None:
        self._client, self._pause = client, 1 / per_second
        self._body = json.dumps(tensors([row])).encode()
        self.failures: list[str] = []
        self.answers: Counter[str] = Counter()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(urlsplit(self._client.gateway).netloc, timeout=15)
        headers = {"Content-Type": "application/json", "Host": self._client.host}
        path = f"/v2/models/{self._client.model}/infer"
        while not self._stopped.is_set():
            try:
                connection.request("POST", path, self._body, headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            else:
                if response.status == 200:
                    self.answers[str(json.loads(content)["model_version"])] += 1
                else:
                    self.failures.append(f"{response.status} {content[:100]!r}")
            time.sleep(self._pause)
        connection.close()
