"""Side by side on a cluster: `python -m benchmarks.cluster [--namespace headrace-bench] [--seconds 10] [--keep]`.

Puts one forest of 300 trees (heart, 13 columns) behind KServe's scikit-learn server and behind this project's, on the
cluster of KUBECONFIG, each as an InferenceService with one pod and one CPU on the same node; asks both for one row over
V1, from a pod beside them, once through the gateway and once at the pods' own Services; and prints requests a second,
requests per CPU second of the server's container, p50, p99 and memory.

What it needs: KServe in Standard mode with a Gateway that `discovery` finds (components/releases/addresses.py), the
chart's ServingRuntime is not needed, the images of both servers are. KServe's server fits the same forest with its own
scikit-learn in an init container: its pickles are of another version than this project's. Everything lives in a
namespace of its own, which is removed at the end.

It has not run where it was written: there is no cluster there. What it applies is checked against KServe's schema and
webhook rules, and its client and its report against a local server, by tests/benchmarks/test_cluster_benchmark.py.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving import measure, models
from components.releases.addresses import ENVOY, STANDARD

Object = dict[str, Any]
NODE_LABEL = "kubernetes.io/hostname"
STOCK_IMAGE = "kserve/sklearnserver:v0.21.0"
OWN_IMAGE = "headrace/serving:0.1.0"
OURS, STOCK, CLIENT, FIRST = "ours", "stock", "client", "first"
WAYS = (("at the pod", 1), ("at the pod", 16), ("through the gateway", 1), ("through the gateway", 16))
TRAIN = """
import csv, joblib, numpy
from sklearn.ensemble import RandomForestClassifier
rows = numpy.array([[float(cell) for cell in row] for row in csv.reader(open("/data/rows.csv"))])
forest = RandomForestClassifier(n_estimators=300, min_samples_leaf=1, random_state=1, n_jobs=1)
joblib.dump(forest.fit(rows[:, :-1], rows[:, -1].astype(int)), "/mnt/models/model.joblib")
"""
WAIT = """
import time
from pathlib import Path
while not Path("/mnt/models/bundle.json").exists():
    time.sleep(0.5)
"""
UNPACK = (
    "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/mnt/models', filter='data')"
)
USAGE = """
from pathlib import Path
read = lambda name: Path("/sys/fs/cgroup", name)
if read("cpu.stat").exists():
    used = next(int(line.split()[1]) for line in read("cpu.stat").read_text().splitlines() if "usage_usec" in line)
    print(used, read("memory.current").read_text())
else:
    used = int(read("cpuacct/cpuacct.usage").read_text()) // 1000
    print(used, read("memory/memory.usage_in_bytes").read_text())
"""


@dataclass(frozen=True)
class Seen:
    """One server in one window.

    Attributes:
        rate: Requests a second.
        per_cpu: Requests per CPU second of the server's container.
        p50: In microseconds, as is `p99`.
        memory: Of the container at the end, in bytes.
    """

    rate: float
    per_cpu: float
    p50: float
    p99: float
    memory: int
    failures: int


def services(rows: str, node: str, own_image: str, stock_image: str) -> list[Object]:
    """Return everything that is applied: the data, both InferenceServices, and the client's pod.

    The init container of one fits its model; that of the other waits for its bundle, which no ConfigMap could hold.
    """
    return [
        _object("v1", "ConfigMap", "rows", data={"rows.csv": rows}),
        _service(STOCK, node, stock_image, TRAIN),
        _service(OURS, node, own_image, WAIT),
        _client(own_image),
    ]


def _object(api_version: str, kind: str, name: str, **content: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **content}


def _service(name: str, node: str, image: str, first: str) -> Object:
    container = {
        "name": "kserve-container",
        "image": image,
        "args": ["--model_name=heart", "--model_dir=/mnt/models"],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "readinessProbe": {"httpGet": {"path": "/v1/models/heart", "port": 8080}, "periodSeconds": 2},
        "volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}],
    }
    mounts = [{"name": "models", "mountPath": "/mnt/models"}, {"name": "rows", "mountPath": "/data"}]
    predictor: Object = {
        "minReplicas": 1,
        "maxReplicas": 1,
        "nodeSelector": {NODE_LABEL: node},
        "initContainers": [{"name": FIRST, "image": image, "command": ["python", "-c", first], "volumeMounts": mounts}],
        "containers": [container],
        "volumes": [{"name": "models", "emptyDir": {}}, {"name": "rows", "configMap": {"name": "rows"}}],
    }
    annotations = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
    found = _object("serving.kserve.io/v1beta1", "InferenceService", name, spec={"predictor": predictor})
    found["metadata"]["annotations"] = annotations
    return found


def _client(image: str) -> Object:
    sleep = ["python", "-c", "import time; time.sleep(86400)"]
    container = {
        "name": CLIENT,
        "image": image,
        "command": sleep,
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
    }
    spec = {"containers": [container], "volumes": [{"name": "work", "emptyDir": {}}], "restartPolicy": "Never"}
    return _object("v1", "Pod", CLIENT, spec=spec)


def request(host: str, row: Sequence[float]) -> bytes:
    """Return a V1 request for one row, as a client of a host writes it."""
    body = json.dumps({"instances": [list(row)]}).encode()
    head = f"POST /v1/models/heart:predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def seen(printed: str, before: tuple[int, int], after: tuple[int, int]) -> Seen:
    """Return a window from what the client printed and the container's use (CPU microseconds, bytes) around it."""
    found = json.loads(printed)
    cpu = (after[0] - before[0]) / 1e6
    total = int(found["total"])
    return Seen(
        rate=found["requests"] / found["seconds"],
        per_cpu=total / cpu if cpu else 0.0,
        p50=found["p50"],
        p99=found["p99"],
        memory=after[1],
        failures=int(found["failures"]),
    )


def report(results: dict[tuple[str, int], dict[str, Seen]]) -> str:
    """Return the table, both servers beside each other and the ratio of ours to the stock one."""
    lines = ["| | KServe scikit-learn server | Headrace | ratio |", "|---|---:|---:|---:|"]
    for (way, connections), both in results.items():
        stock, ours = both[STOCK], both[OURS]
        title = f"{way}, {connections} connection{'s' if connections > 1 else ''}"
        lines.append(
            f"| {title}: requests/s | {stock.rate:,.0f} | {ours.rate:,.0f} | {_ratio(ours.rate, stock.rate)} |"
        )
        times = [f"{one.p50 / 1e3:,.2f} ms, {one.p99 / 1e3:,.2f} ms" for one in (stock, ours)]
        lines.append(f"| p50, p99 | {times[0]} | {times[1]} | |")
        per_cpu = f"{stock.per_cpu:,.0f} | {ours.per_cpu:,.0f} | {_ratio(ours.per_cpu, stock.per_cpu)}"
        lines.append(f"| requests per CPU second | {per_cpu} |")
        if stock.failures or ours.failures:
            lines.append(f"| failed | {stock.failures} | {ours.failures} | |")
    last = list(results.values())[-1]
    memory = last[STOCK].memory, last[OURS].memory
    sizes = " | ".join(f"{size / 1e6:,.0f} MB" for size in memory)
    lines.append(f"| memory of the container | {sizes} | {_ratio(memory[1], memory[0])} |")
    return "\n".join(lines)


def _ratio(one: float, other: float) -> str:
    return f"{one / other:,.2f}" if other else "–"


class Cluster:
    """kubectl in one namespace."""

    def __init__(self, namespace: str) -> None:
        """Name the namespace; nothing is made yet."""
        self.namespace = namespace

    def run(self, *words: str, given: str | bytes = b"") -> str:
        """Return what kubectl says."""
        text = given.encode() if isinstance(given, str) else given
        command = ["kubectl", f"--namespace={self.namespace}", *words]
        done = subprocess.run(command, input=text, capture_output=True)
        if done.returncode:
            raise SystemExit(f"kubectl {' '.join(words[:4])}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()

    def address(self, service: str, namespace: str = "") -> str:
        """Return the cluster IP of a Service."""
        place = namespace or self.namespace
        return self.run("get", "service", service, f"--namespace={place}", "--output=jsonpath={.spec.clusterIP}")

    def gateway(self, service: str) -> tuple[str, str]:
        """Return the gateway's cluster IP, and the host under which it knows an InferenceService."""
        route = json.loads(self.run("get", "httproute", service, "--output=json"))["spec"]
        parent = route["parentRefs"][0]
        names = {"name": parent["name"], "namespace": parent.get("namespace", self.namespace)}
        for selector in (ENVOY, STANDARD):
            said = self.run(
                "get", "services", "--all-namespaces", f"--selector={selector.format(**names)}", "--output=json"
            )
            for item in json.loads(said)["items"]:
                return str(item["spec"]["clusterIP"]), str(route["hostnames"][0])
        raise SystemExit(f"no Service of the gateway {names['namespace']}/{names['name']} was found")

    def upload(self, name: str, bundle: Path) -> None:
        """Give a server's waiting init container its bundle, bundle.json last."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path in sorted(bundle.iterdir(), key=lambda path: path.name == "bundle.json"):
                archive.add(path, path.name)
        selector = f"--selector=serving.kserve.io/inferenceservice={name}"
        deadline = time.monotonic() + 600
        while self._init(selector) != FIRST:
            if time.monotonic() > deadline:
                raise SystemExit(f"the pod of {name} did not start: kubectl describe pods {selector} says why")
            time.sleep(1)
        pod = self.run("get", "pods", selector, "--output=name").split()[0]
        words = ("exec", "--stdin", pod, f"--container={FIRST}", "--", "python", "-c", UNPACK)
        self.run(*words, given=packed.getvalue())

    def _init(self, selector: str) -> str:
        """Return the name of the init container that runs, empty when none does."""
        pods = json.loads(self.run("get", "pods", selector, "--output=json"))["items"]
        states = [state for pod in pods for state in pod.get("status", {}).get("initContainerStatuses", [])]
        return next((str(state["name"]) for state in states if "running" in state.get("state", {})), "")

    def used(self, name: str) -> tuple[int, int]:
        """Return the CPU microseconds and bytes that a server's container has used."""
        pod = self.run("get", "pods", f"--selector=serving.kserve.io/inferenceservice={name}", "--output=name").split()[
            0
        ]
        said = self.run("exec", pod, "--container=kserve-container", "--", "python", "-c", USAGE)
        cpu, memory = said.split()
        return int(cpu), int(memory)

    def load(self, address: str, port: int, connections: int, seconds: int, raw: bytes) -> str:
        """Load an address from the client's pod and return what the client printed."""
        self.run("exec", "--stdin", CLIENT, "--", "sh", "-c", "cat > /work/request", given=raw)
        words = ["/work/load", "http", str(port), str(connections), "2", str(seconds), "/work/request", address]
        return self.run("exec", CLIENT, "--", *words)


def compare(cluster: Cluster, seconds: int, row: Sequence[float]) -> dict[tuple[str, int], dict[str, Seen]]:
    """Return what both servers did, way by way, the servers in turn."""
    results: dict[tuple[str, int], dict[str, Seen]] = {}
    for way, connections in WAYS:
        both = {}
        for name in (STOCK, OURS):
            address, host = (
                (cluster.address(f"{name}-predictor"), name) if way == "at the pod" else cluster.gateway(name)
            )
            before = cluster.used(name)
            printed = cluster.load(address, 80, connections, seconds, request(host, row))
            both[name] = seen(printed, before, cluster.used(name))
            print(f"{way}, {connections}: {name} {both[name].rate:,.0f} requests/s", file=sys.stderr)
        results[way, connections] = both
    return results


def rows_of(bundle: Path) -> str:
    """Return the numbers that both forests are fitted on, target last, as CSV."""
    import numpy as np

    from components import use_cases
    from components.dataset import encode_frame
    from serving import bundle as bundles

    frame = use_cases.load("heart").read(models.DATA)
    X = np.nan_to_num(encode_frame(bundles.load(bundle).schema, frame))
    text = io.StringIO()
    csv.writer(text).writerows([*map(float, row), int(label)] for row, label in zip(X, frame["disease"], strict=True))
    return text.getvalue()


def main() -> int:
    """Apply, wait, measure, print, remove."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--namespace", default="headrace-bench", help="made for this, and removed [headrace-bench]")
    parser.add_argument("--node", default="", help="[the first one]")
    parser.add_argument("--seconds", type=int, default=10, help="of one window [10]")
    parser.add_argument("--own-image", default=OWN_IMAGE)
    parser.add_argument("--stock-image", default=STOCK_IMAGE)
    parser.add_argument("--keep", action="store_true", help="leave the namespace")
    options = parser.parse_args()
    cluster = Cluster(options.namespace)
    node = options.node or cluster.run(
        "get", "nodes", "--output=jsonpath={.items[0].metadata.labels['kubernetes\\.io/hostname']}"
    )
    with tempfile.TemporaryDirectory(prefix="headrace-cluster-") as folder:
        served = models.prepare("forest", Path(folder, "forest"))
        client = measure.build_client(Path(folder), "-static")
        applied = services(rows_of(served.bundle), node, options.own_image, options.stock_image)
        cluster.run("create", "namespace", options.namespace)
        try:
            whole = {"apiVersion": "v1", "kind": "List", "items": applied}
            cluster.run("apply", "--filename=-", given=json.dumps(whole))
            cluster.upload(OURS, served.bundle)
            both = [f"inferenceservice/{name}" for name in (STOCK, OURS)]
            cluster.run("wait", "--for=condition=Ready", *both, "--timeout=900s")
            cluster.run("wait", "--for=condition=Ready", f"pod/{CLIENT}", "--timeout=300s")
            keep = "cat > /work/load && chmod +x /work/load"
            cluster.run("exec", "--stdin", CLIENT, "--", "sh", "-c", keep, given=client.read_bytes())
            results = compare(cluster, options.seconds, served.encoded)
        finally:
            if not options.keep:
                cluster.run("delete", "namespace", options.namespace, "--wait=false")
    print(f"\n{time.strftime('%Y-%m-%d')}, node {node}, {options.seconds} s a window, one row over V1\n")
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
