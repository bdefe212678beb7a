"""Proves that MLflow answers under the name that steps use, with its database behind it."""

import json
import os
import urllib.request

url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/experiments/search"
request = urllib.request.Request(  # noqa: S310 (a URL of this cluster)
    url, json.dumps({"max_results": 1}).encode(), {"Content-Type": "application/json"}
)
with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
    found = json.load(response)
print("MLflow answers:", [experiment["name"] for experiment in found.get("experiments", [])])  # noqa: T201 (the log of the test pod)
