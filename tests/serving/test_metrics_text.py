"""What Prometheus reads is what happened, on every path."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving.bundle import REFERENCE, Bundle
from serving.drift import Drift
from serving.metrics import FINE_BOUNDS, KSERVE_BOUNDS, Histogram

ROW = {"age": 40, "income": 1.5, "city": "Lyon", "grade": 2, "member": True, "since": "2020-01-31"}
PARAMETERS = {"probabilities": True}


def _samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def _sum(samples: dict[str, float], pattern: str) -> float:
    return sum(value for name, value in samples.items() if re.fullmatch(pattern, name))


@pytest.mark.parametrize("evaluator", ["table", "onnx"])
def test_every_request_and_row_is_counted_once(run_server: Callable[..., Any], mixed: Bundle, evaluator: str) -> None:
    with run_server(mixed.folder, "--evaluator", evaluator) as running:
        v1 = f"{running.url}/v1/models/m:predict"
        with httpx.Client() as client:
            for _ in range(3):
                client.post(v1, json={"instances": [ROW]})
            client.post(
                v1, json={"instances": [{**ROW, "city": "Atlantis", "age": None}] * 2, "parameters": PARAMETERS}
            )
            client.post(v1, json={"instances": [ROW] * 700})
            client.post(v1, json={"instances": []})
            client.post(v1.replace(":predict", ":explain"), json={"instances": [ROW]})
            for probe in ("/v2/health/live", "/v2/health/ready", "/v2/models/m", "/v1/models/m"):
                client.get(running.url + probe)
            client.get(running.url + "/nowhere")
            with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
                channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20)
            samples = _samples(client.get(running.url + "/metrics").text)

    def requests(protocol: str, code: int) -> float:
        return _sum(samples, rf'headrace_requests_total{{.*protocol="{protocol}",code="{code}",version="3"}}')

    def others(protocol: str, code: int) -> float:
        return samples[f'headrace_other_requests_total{{model_name="m",protocol="{protocol}",code="{code}"}}']

    assert [requests(*key) for key in (("v1", 200), ("v1", 400), ("v2", 200), ("grpc", 200))] == [6, 1, 0, 0]
    assert [others(*key) for key in (("v1", 200), ("v2", 200), ("other", 404), ("grpc", 200))] == [1, 3, 1, 1]
    assert samples['headrace_rows_total{model_name="m",version="3"}'] == 705
    assert _sum(samples, "headrace_predictions_total{.*}") == 705
    assert _sum(samples, "headrace_scores_total{.*}") == 705
    for feature in mixed.schema.names:
        assert _sum(samples, rf'headrace_feature_values_total{{.*feature="{feature}",.*}}') == 705
    assert samples[_value("city", "unseen")] == 2
    assert samples[_value("city", "Lyon")] == 703
    assert samples[_value("age", "missing")] == 2
    for stage, count in (("preprocess", 2), ("predict", 5), ("postprocess", 2), ("explain", 1)):
        assert samples[f'request_{stage}_seconds_count{{model_name="m"}}'] >= count
    assert _sum(samples, "headrace_request_seconds_count{.*}") == sum(
        value for name, value in samples.items() if name.startswith("headrace_requests_total")
    )
    assert samples['headrace_requests_in_flight{model_name="m"}'] == 0


def _value(feature: str, bucket: str) -> str:
    labels = f'model_name="m",version="3",feature="{feature}",bucket="{bucket}"'
    return f"headrace_feature_values_total{{{labels}}}"


def test_prometheus_accepts_the_text(server: Any) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool")
    text = httpx.get(f"{server.url}/metrics").content

    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)

    problems = [
        line
        for line in (checked.stdout + checked.stderr).decode().splitlines()
        if not re.match(r"(request_\w+|headrace_\w+) .*(non-histogram|base unit)", line)
    ]
    assert (checked.returncode, problems) == (0, [])


def test_the_model_is_told_with_its_origin(server: Any, mixed: Bundle) -> None:
    text = httpx.get(f"{server.url}/metrics").text

    line = next(line for line in text.splitlines() if line.startswith("headrace_model_info"))
    for label in (f'digest="{mixed.digest}"', f'dataset="{"d" * 64}"', 'version="3"', 'candidate="forest"'):
        assert label in line


def test_a_histogram_with_other_bounds_is_added_bucket_by_bucket() -> None:
    kserve = Histogram(KSERVE_BOUNDS)
    fine = Histogram(FINE_BOUNDS)
    for value in (1e-6, 0.005, 0.006, 0.2, 99.0):
        fine.observe(value)
    kserve.add(fine.bounds, fine.counts, fine.sum)

    assert sum(kserve.counts) == 5
    assert kserve.counts[0] == 2
    assert kserve.counts[-1] == 1
    assert kserve.sum == fine.sum


def test_counting_in_python_equals_counting_in_c(mixed: Bundle, golden: Callable[..., Any]) -> None:
    from serving import native
    from serving.options import Options
    from serving.predictor import make_predictor

    if not native.available():
        pytest.skip("the C extension is not built here")
    predictor = make_predictor(mixed, Options("m"))
    rows = [row for request in mixed.json("golden.json")["requests"] for row in request["instances"]]
    features = predictor.encoder.encode(rows, 0)
    scores = predictor.score(features, len(rows))
    python = Drift(mixed.schema, mixed.json(REFERENCE))
    assert predictor.fast is not None
    for counter in (python, predictor.fast):
        counter.observe(features, scores, len(rows))

    wanted = python.counters()
    found = predictor.fast.counters()
    assert {name: found[name] for name in wanted} == wanted


def test_predictions_can_be_logged_for_monitoring(
    run_server: Callable[..., Any], mixed: Bundle, tmp_path: Path
) -> None:
    with run_server(mixed.folder, "--prediction_log", str(tmp_path)) as running:
        v1 = f"{running.url}/v1/models/m:predict"
        kept = {"x-request-id": "abc-1", "traceparent": f"00-{'4b' * 16}-{'7d' * 8}-01"}
        httpx.post(v1, json={"instances": [ROW, {**ROW, "age": None}]}, headers=kept)
        named = httpx.post(v1, json={"instances": [ROW]}).headers["x-request-id"]
        tensor = {"name": "input-0", "shape": [1, 6], "datatype": "FP64", "data": [40, 1.5, None, 2, None, None]}
        asked = httpx.post(f"{running.url}/v2/models/m/infer", json={"inputs": [tensor]}, headers={"x-request-id": "d"})
        code = running.stop()

    lines = [json.loads(line) for path in tmp_path.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert (code, asked.status_code) == (0, 200)
    assert [len(line["features"]) for line in lines] == [2, 1, 1]
    assert [line["request_id"] for line in lines] == ["abc-1", named, "d"]
    assert [line["trace_id"] for line in lines] == ["4b" * 16, None, None]
    assert lines[0]["features"][1][0] is None
    assert (lines[0]["version"], len(lines[0]["predictions"])) == ("3", 2)


def test_the_access_log_has_its_share_and_no_payload_unless_asked(
    run_server: Callable[..., Any], mixed: Bundle
) -> None:
    def lines(*flags: str) -> list[dict[str, Any]]:
        with run_server(mixed.folder, *flags) as running:
            with httpx.Client(headers={"x-request-id": "abc-1"}) as client:
                for _ in range(20):
                    client.post(f"{running.url}/v1/models/m:predict", json={"instances": [ROW]})
            with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
                live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
                for _ in range(4):
                    live(b"", timeout=20, metadata=[("x-request-id", "abc-1")])
            running.stop()
            return [event for event in running.events if event["message"] == "request"]

    quarter = lines("--access_log_sample", "0.25")
    all_ = lines("--access_log_sample", "1", "--access_log_payloads", "true")

    assert [line["protocol"] for line in quarter] == ["v1"] * 5 + ["grpc"]
    assert quarter[-1]["path"] == "/inference.GRPCInferenceService/ServerLive"
    assert {line["id"] for line in quarter} == {"abc-1"}
    assert not any("request" in line for line in quarter)
    assert len(all_) == 24
    assert "Lyon" in all_[0]["request"]
    assert "predictions" in all_[0]["response"]
    assert lines() == []
