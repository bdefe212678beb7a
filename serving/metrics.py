"""Counters of one process and their Prometheus text.

A file of its own, and not a client library, because the hot path counts in C and the rest counts with plain integers:
nothing is looked up or locked per request, and the text is only built when Prometheus asks.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from serving import __version__
from serving.accepting import Tally

if TYPE_CHECKING:
    from serving.budget import Account
    from serving.predictor import Predictor

KSERVE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Buckets of KServe's own histograms (the defaults of prometheus_client)."""
FINE_BOUNDS = (
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0
)  # fmt: skip
STAGES = ("preprocess", "predict", "postprocess", "explain")
Samples = Iterator[tuple[str, Mapping[str, Any], float]]


class Histogram:
    """Counts of values up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, bounds: Sequence[float], counts: Sequence[int], total: float) -> None:
        """Add a histogram with other bounds; a bucket goes whole to where its upper bound belongs."""
        for bound, count in zip((*bounds, float("inf")), counts, strict=True):
            self.counts[bisect_left(self.bounds, bound)] += count
        self.sum += total

    def copy(self) -> Histogram:
        """Return a histogram with the same content."""
        other = Histogram(self.bounds)
        other.counts, other.sum = list(self.counts), self.sum
        return other

    def samples(self, labels: Mapping[str, Any]) -> Samples:
        """Yield the cumulative buckets, the count and the sum."""
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield "_bucket", {**labels, "le": bound}, total
        yield "_count", labels, total
        yield "_sum", labels, self.sum


class Metrics:
    """What one process has counted since its start."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.stages = {stage: Histogram(KSERVE_BOUNDS) for stage in STAGES}
        self.latency: dict[str, Histogram] = {}
        self.requests: dict[tuple[str, str, str], int] = {}
        self.others: dict[tuple[str, str], int] = {}
        self.in_flight = 0
        self.connections = 0
        self.shed = 0
        self.swaps = {"done": 0, "refused": 0, "unchanged": 0}
        self.rejected_connections = 0
        self.accepting = Tally()
        self.account: Account | None = None
        self.lost_predictions = 0
        self.delay = 0.0
        self.ready = False
        self._started = time.time()
        self._hot = Histogram(FINE_BOUNDS)

    def observe_stages(self, preprocess: float, predict: float, postprocess: float) -> None:
        """Count the seconds of one answered prediction request."""
        self.stages["preprocess"].observe(preprocess)
        self.stages["predict"].observe(predict)
        self.stages["postprocess"].observe(postprocess)

    def observe_request(self, protocol: str, code: str, version: str, seconds: float) -> None:
        """Count one finished prediction or explanation of the generic path."""
        key = (protocol, code, version)
        self.requests[key] = self.requests.get(key, 0) + 1
        latency = self.latency.get(protocol)
        if latency is None:
            latency = self.latency[protocol] = Histogram(FINE_BOUNDS)
        latency.observe(seconds)

    def observe_other(self, protocol: str, code: str) -> None:
        """Count one finished request that asked for no prediction: error rates and latencies are without probes."""
        key = (protocol, code)
        self.others[key] = self.others.get(key, 0) + 1

    def retire(self, predictor: Predictor) -> None:
        """Keep what the hot path of a replaced predictor has counted."""
        if predictor.fast is None:
            return
        counters = predictor.fast.counters()
        for protocol, count in counters["requests"].items():
            key = (protocol, "200", predictor.version or "")
            self.requests[key] = self.requests.get(key, 0) + count
        self._hot.add(**_seconds(counters))

    def render(self, predictor: Predictor | None) -> bytes:
        """Return everything in the Prometheus text format."""
        version = (predictor.version if predictor is not None else None) or ""
        requests = {(protocol, "200", version): 0 for protocol in ("v1", "v2", "grpc")} | self.requests
        hot = self._hot.copy()
        if predictor is not None and predictor.fast is not None:
            counters = predictor.fast.counters()
            for protocol, count in counters["requests"].items():
                key = (protocol, "200", version)
                requests[key] = requests.get(key, 0) + count
            hot.add(**_seconds(counters))
        text = _Text()
        self._render_stages(text, hot)
        self._render_requests(text, requests, hot)
        self._render_process(text)
        if predictor is not None:
            _render_model(text, self.model, predictor)
        return text.encode()

    def _render_stages(self, text: _Text, hot: Histogram) -> None:
        labels = {"model_name": self.model}
        for stage, histogram in self.stages.items():
            shown = histogram.copy()
            if stage == "predict":
                shown.add(hot.bounds, hot.counts, hot.sum)
            text.family(
                f"request_{stage}_seconds",
                "histogram",
                f"Seconds of the {stage} stage, as KServe's servers count it"
                + ("; requests of the hot path count here as a whole" if stage == "predict" else ""),
                shown.samples(labels),
            )

    def _render_requests(self, text: _Text, requests: Mapping[tuple[str, str, str], int], hot: Histogram) -> None:
        model = {"model_name": self.model}
        text.family(
            "headrace_requests_total",
            "counter",
            "Finished requests for predictions and explanations",
            (
                ("", {**model, "protocol": protocol, "code": code, "version": version}, count)
                for (protocol, code, version), count in sorted(requests.items())
            ),
        )
        text.family(
            "headrace_other_requests_total",
            "counter",
            "Finished requests for anything else: probes, metadata, pages, what is not there",
            (
                ("", {**model, "protocol": protocol, "code": code}, count)
                for (protocol, code), count in sorted(self.others.items())
            ),
        )
        latency = {**self.latency, "hot": hot}
        text.family(
            "headrace_request_seconds",
            "histogram",
            "Seconds from a complete request to its answer; protocol hot is what is answered in C",
            (
                sample
                for protocol, histogram in sorted(latency.items())
                for sample in histogram.samples({**model, "protocol": protocol})
            ),
        )
        text.gauge("headrace_requests_in_flight", "Requests being answered", self.in_flight, model)
        text.counter("headrace_requests_shed_total", "Requests refused with 503 because of overload", self.shed, model)

    def _render_process(self, text: _Text) -> None:
        model = {"model_name": self.model}
        if self.account is not None:
            text.gauge("headrace_in_flight_bytes", "Bytes of all requests in flight", self.account.held, model)
            text.gauge("headrace_in_flight_bytes_limit", "How many there may be", self.account.limit, model)
            text.counter(
                "headrace_messages_refused_total",
                "gRPC messages refused while they arrived, for the bytes in flight",
                self.account.refused,
                model,
            )
        text.counter(
            "headrace_prediction_log_lost_total",
            "Predictions that could not be written to the prediction log",
            self.lost_predictions,
            model,
        )
        text.gauge("headrace_connections", "Open HTTP connections", self.connections, model)
        text.counter(
            "headrace_connections_rejected_total",
            "Connections closed because too many were open",
            self.rejected_connections,
            model,
        )
        text.gauge("headrace_tls_handshakes", "TLS handshakes in progress", self.accepting.handshakes, model)
        text.counter(
            "headrace_accept_failures_total",
            "Times that no connection could be accepted, for want of descriptors or memory",
            self.accepting.failures,
            model,
        )
        text.gauge("headrace_event_loop_delay_seconds", "How late the event loop last ran", self.delay, model)
        text.gauge("headrace_ready", "1 when the server is ready", int(self.ready), model)
        text.family(
            "headrace_swaps_total",
            "counter",
            "Looks at the model folder for another bundle, by outcome",
            (("", {**model, "outcome": outcome}, count) for outcome, count in self.swaps.items()),
        )
        text.counter("process_cpu_seconds_total", "CPU seconds of this process", time.process_time(), {})
        text.gauge("process_resident_memory_bytes", "Resident memory", _resident(), {})
        text.gauge("process_start_time_seconds", "Start time since the epoch", self._started, {})


def _seconds(counters: Mapping[str, Any]) -> dict[str, Any]:
    seconds = counters["seconds"]
    return {"bounds": seconds["bounds"], "counts": seconds["counts"], "total": seconds["sum"]}


def _resident() -> int:
    with open("/proc/self/statm", "rb") as stream:  # noqa: PTH123  (the shortest way to one number)
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _render_model(text: _Text, name: str, predictor: Predictor) -> None:
    bundle = predictor.bundle
    labels = {"model_name": name, "version": predictor.version or ""}
    information = {
        **labels,
        "digest": bundle.digest,
        "dataset": str(bundle.provenance.get("dataset", "")),
        "use_case": bundle.use_case,
        "candidate": bundle.candidate,
        "evaluator": predictor.scorer.name,
        "server": __version__,
    }
    text.gauge("headrace_model_info", "What is served; always 1", 1, information)
    counters = predictor.drift.counters()
    text.counter("headrace_rows_total", "Rows predicted", counters["rows"], labels)
    _render_predictions(text, labels, predictor, counters)
    _render_features(text, labels, predictor, counters)


def _render_predictions(
    text: _Text, labels: Mapping[str, Any], predictor: Predictor, counters: Mapping[str, Any]
) -> None:
    reference = predictor.reference.get("predictions", {})
    edges = reference.get("edges", ())
    values = [_shown(label) for label in predictor.classes] or _bin_names(edges)
    text.family(
        "headrace_predictions_total",
        "counter",
        "Predictions by class, or by bucket of the training predictions",
        (("", {**labels, "value": v}, n) for v, n in zip(values, counters["predictions"], strict=False)),
    )
    text.family(
        "headrace_reference_predictions",
        "gauge",
        "The same counts on the training rows",
        (("", {**labels, "value": v}, n) for v, n in zip(values, reference.get("counts", ()), strict=False)),
    )
    text.family(
        "headrace_scores_total",
        "counter",
        "Predictions by bucket of the positive (or likeliest) class's probability",
        (("", {**labels, "bucket": v}, n) for v, n in zip(_bin_names(edges), counters["scores"], strict=False)),
    )
    text.family(
        "headrace_reference_scores",
        "gauge",
        "The same counts on the training rows",
        (
            ("", {**labels, "bucket": v}, n)
            for v, n in zip(_bin_names(edges), reference.get("scores", ()), strict=False)
        ),
    )


def _render_features(text: _Text, labels: Mapping[str, Any], predictor: Predictor, counters: Mapping[str, Any]) -> None:
    reference = predictor.reference.get("columns", {})
    seen: list[tuple[str, Mapping[str, Any], float]] = []
    known: list[tuple[str, Mapping[str, Any], float]] = []
    for column, counted in zip(predictor.schema.columns, counters["columns"], strict=True):
        bins = reference.get(column.name, {})
        names = [_shown(value) for value in column.categories] if column.kind == "category" else None
        names = names if names is not None else _bin_names(bins.get("edges", ()))
        for source, target in ((counted, seen), (bins, known)):
            buckets = [*zip(names, source.get("counts", ()), strict=False)]
            buckets += [("missing", source.get("missing", 0))]
            buckets += [("unseen", source.get("unseen", 0))] if column.kind == "category" else []
            target += [("", {**labels, "feature": column.name, "bucket": name}, n) for name, n in buckets]
    text.family("headrace_feature_values_total", "counter", "Feature values by bucket of the training rows", iter(seen))
    text.family("headrace_reference_feature_values", "gauge", "The same counts on the training rows", iter(known))


def _bin_names(edges: Sequence[float]) -> list[str]:
    """Return a name per bin: its range, closed below and open above."""
    bounds = ["-inf", *(f"{edge:g}" for edge in edges), "inf"]
    return [f"{position:02d} [{low}, {high})" for position, (low, high) in enumerate(pairwise(bounds))]


def _shown(label: object) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


class _Text:
    """Builds the text format, one family after the other."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str, samples: Samples) -> None:
        rows = [f"{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in samples]
        if rows:
            self._lines += [f"# HELP {name} {text}.", f"# TYPE {name} {kind}", *rows]

    def gauge(self, name: str, text: str, value: float, labels: Mapping[str, Any]) -> None:
        self.family(name, "gauge", text, iter([("", labels, value)]))

    def counter(self, name: str, text: str, value: float, labels: Mapping[str, Any]) -> None:
        self.family(name, "counter", text, iter([("", labels, value)]))

    def encode(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()


def _labels(labels: Mapping[str, Any]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
