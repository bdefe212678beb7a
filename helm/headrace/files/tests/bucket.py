"""Proves that the store keeps what pipelines write, with the keys that pipelines have."""

import io
import os
import uuid
from urllib.parse import urlsplit

from minio import Minio

endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com"))
store = Minio(
    endpoint.netloc,
    os.environ["AWS_ACCESS_KEY_ID"],
    os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=endpoint.scheme == "https",
    region=os.environ["AWS_DEFAULT_REGION"],
)
content = uuid.uuid4().bytes
for variable in ("HEADRACE_MODELS_BUCKET", "HEADRACE_DATASETS_BUCKET", "HEADRACE_ARTIFACTS_BUCKET"):
    bucket = os.environ[variable]
    name = f"helm-test/{uuid.uuid4().hex}"
    store.put_object(bucket, name, io.BytesIO(content), len(content))
    response = store.get_object(bucket, name)
    if response.read() != content:
        raise SystemExit(f"bucket {bucket} returned something else than was written")
    store.remove_object(bucket, name)
    print(f"bucket {bucket}: written, read, removed")  # noqa: T201 (the log of the test pod)
