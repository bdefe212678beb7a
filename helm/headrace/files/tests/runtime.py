"""Proves that KServe accepted the runtime that models name."""

import json
import os
import ssl
import urllib.request
from pathlib import Path

account = Path("/var/run/secrets/kubernetes.io/serviceaccount")
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
namespace = os.environ["NAMESPACE"]
url = f"https://{host}:{port}/apis/serving.kserve.io/v1alpha1/namespaces/{namespace}/servingruntimes/headrace"
request = urllib.request.Request(url, headers={"Authorization": f"Bearer {(account / 'token').read_text()}"})
trust = ssl.create_default_context(cafile=str(account / "ca.crt"))
with urllib.request.urlopen(request, timeout=30, context=trust) as response:  # noqa: S310 (the API server)
    runtime = json.load(response)
if runtime["spec"].get("disabled"):
    raise SystemExit("the ServingRuntime headrace is disabled")
print("runtime:", runtime["spec"]["containers"][0]["image"])  # noqa: T201 (the log of the test pod)
