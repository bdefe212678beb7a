"""Clients of an endpoint: V1, V2 and gRPC, one request or constant load."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import grpc
import urllib3
from provider import Cluster

from components.releases import history
from serving.oip import inference_pb2 as oip

Row = dict[str, float | None]
"""A missing value is None; over gRPC, NaN."""
Object = dict[str, Any]


class Client:
    """Asks a model through the gateway, as the host of its InferenceService."""

    def __init__(self, cluster: Cluster, model: str, url: str = "") -> None:
        """Keep what is asked.

        Args:
            url: Of the model; its InferenceService says it.
        """
        self.cluster, self.model = cluster, model
        self.gateway, self.host = cluster.gateway, urlsplit(url or history.status(model).url).netloc
        self._pool = urllib3.PoolManager(maxsize=4)

    def v1(self, rows: list[Row], **headers: str) -> Object:
        """Return the answer of V1, with probabilities."""
        body = {"instances": rows, "parameters": {"probabilities": True}}
        return self._post(f"/v1/models/{self.model}:predict", body, headers)

    def v2(self, rows: list[Row], **headers: str) -> Object:
        """Return the answer of the Open Inference Protocol."""
        return self._post(f"/v2/models/{self.model}/infer", tensors(rows), headers)

    def metadata(self) -> Object:
        """Return what the model says of itself."""
        known = {"Host": self.host}
        response = self._pool.request("GET", f"{self.gateway}/v2/models/{self.model}", headers=known, retries=False)
        assert response.status == 200, (response.status, response.data[:300])
        return dict(json.loads(response.data))

    def version(self, row: Row, **headers: str) -> str:
        """Return which version answers."""
        return str(self.v2([row], **headers)["model_version"])

    def identity(self, rows: list[Row], **headers: str) -> str:
        """Return the request id that an answer carries."""
        return self._ask(f"/v1/models/{self.model}:predict", {"instances": rows}, headers).headers["X-Request-Id"]

    def _post(self, path: str, body: Object, headers: dict[str, str]) -> Object:
        return dict(json.loads(self._ask(path, body, headers).data))

    def _ask(self, path: str, body: Object, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        known = {"Content-Type": "application/json", "Host": self.host, **headers}
        response = self._pool.request("POST", self.gateway + path, body=json.dumps(body), headers=known, retries=False)
        assert response.status == 200, (response.status, response.data[:300])
        return response


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
    """Constant load while the context lasts.

    Attributes:
        sent: Requests; afterwards.
        lost: Of these, how many got no right answer.
        failures: What became of the lost ones, the first of them in words.
        answers: By version.
    """

    def __init__(self, client: Client, row: Row, *, threads: int = 3, per_second: float = 40) -> None:
        self._cluster = client.cluster
        self._order = {
            "path": f"/v2/models/{client.model}/infer",
            "headers": {"Content-Type": "application/json", "Host": client.host},
            "body": json.dumps(tensors([row])),
            "threads": threads,
            "per_second": per_second,
        }
        self.sent = self.lost = 0
        self.failures: list[str] = []
        self.answers: Counter[str] = Counter()

    def __enter__(self) -> Load:
        self._process = self._cluster.call(self._order)
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._process.communicate(timeout=120)
        assert said, "the load ended without a report: what was sent and lost is not known"
        told = json.loads(said.splitlines()[-1])
        self.sent, self.lost, self.failures = told["sent"], told["lost"], told["failures"]
        self.answers = Counter(told["answers"])
        self._cluster.record.count(self.sent, self.lost)
