"""Proves that a released model answers its own golden requests: same rows, same predictions."""

import json
import os
import urllib.request
from urllib.parse import urlsplit

from minio import Minio

model, namespace = os.environ["MODEL"], os.environ["NAMESPACE"]
endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com"))
store = Minio(
    endpoint.netloc,
    os.environ["AWS_ACCESS_KEY_ID"],
    os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=endpoint.scheme == "https",
    region=os.environ["AWS_DEFAULT_REGION"],
)


def ask(path: str, body: object = None) -> dict[str, object]:
    """Return the JSON that the model answers."""
    data = None if body is None else json.dumps(body).encode()
    url = f"http://{os.environ.get('SERVICE') or f'{model}-predictor.{namespace}'}{path}"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return dict(json.load(response))


version = str(ask(f"/v2/models/{model}")["versions"][0])
golden = json.loads(store.get_object(os.environ["HEADRACE_MODELS_BUCKET"], f"{model}/{version}/golden.json").read())
for request in golden["requests"]:
    answer = ask(f"/v1/models/{model}:predict", {"instances": request["instances"]})["predictions"]
    for wanted, found in zip(request["predictions"], answer, strict=True):
        same = abs(wanted - found) <= golden["tolerance"] if isinstance(wanted, float) else wanted == found
        if not same:
            raise SystemExit(f"version {version} answers {found!r} where training said {wanted!r}")
print(f"{model} version {version}: {len(golden['requests'])} golden requests answered as in training")  # noqa: T201 (the log of the test pod)
