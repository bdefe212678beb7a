"""Medians and ratios of all rounds, as Markdown tables and as JSON, and what the project promised beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving.peers import Peer

STOCK = "kserve-sklearn"
SDK = "kserve-onnx"
ECHO = "echo"
WIRE = "echo-wire"
ECHOES = {ECHO: "the echo", WIRE: "the echo in C"}
Key = tuple[str, str, str, int]  # model, peer, protocol, connections


@dataclass
class Results:
    """Everything measured, a list with one entry per round under each key."""

    rate: dict[Key, list[float]] = field(default_factory=dict)
    p50: dict[Key, list[float]] = field(default_factory=dict)
    p99: dict[Key, list[float]] = field(default_factory=dict)
    cpu_us: dict[Key, list[float]] = field(default_factory=dict)
    failures: dict[Key, int] = field(default_factory=dict)
    cold_start: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    pss_mb: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    echo_share: dict[Key, list[float]] = field(default_factory=dict)
    echo_p99: dict[Key, list[float]] = field(default_factory=dict)
    size_mb: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, key: Key, load: Any) -> None:
        """Keep one window."""
        for name in ("rate", "p50", "p99", "cpu_us"):
            getattr(self, name).setdefault(key, []).append(getattr(load, name))
        self.failures[key] = self.failures.get(key, 0) + load.failures

    def compare(self, key: Key, ours: Any, echo: Any) -> None:
        """Keep two windows that were taken one after the other; the key names the echo."""
        self.echo_share.setdefault(key, []).append(ours.rate / echo.rate)
        self.echo_p99.setdefault(key, []).append(ours.p99 / echo.p99)


def middle(values: Iterable[float] | None) -> float | None:
    """Return the median; None of nothing."""
    known = list(values or ())
    return statistics.median(known) if known else None


def ratio(results: Results, model: str, protocol: str, peer: str, base: str, connections: int = 16) -> float | None:
    """Return how many times the requests of `base` a peer answers; the median of the rounds' own ratios."""
    ours = results.rate.get((model, peer, protocol, connections), [])
    theirs = results.rate.get((model, base, protocol, connections), [])
    return middle(mine / other for mine, other in zip(ours, theirs, strict=False) if other)


def markdown(results: Results, models: Sequence[str], peers: Sequence[Peer], about: Mapping[str, Any]) -> str:
    """Return the whole report."""
    lines = ["# Serving benchmark", "", about["machine"], ""]
    for model in models:
        lines += [f"## {model}: {about['models'][model]}", "", *_table(results, model, peers), ""]
    lines += ["## Promised and measured", "", *_promises(results, models), ""]
    if results.absent:
        lines += ["Not measured: " + "; ".join(f"{name} ({why})" for name, why in results.absent.items()) + ".", ""]
    return "\n".join(lines)


def _table(results: Results, model: str, peers: Sequence[Peer]) -> list[str]:
    head = "| server | protocol | req/s, 16 connections | × stock | CPU µs | p50 / p99 µs (16) | p50 / p99 µs (1) "
    lines = [head + "| PSS MB | start s | size MB |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for peer in peers:
        if peer.name in results.absent:
            continue
        for position, ask in enumerate(peer.asks):
            lines.append(_row(results, model, peer, ask.protocol, first=position == 0))
    return lines


def _row(results: Results, model: str, peer: Peer, protocol: str, *, first: bool) -> str:
    many, one = (model, peer.name, protocol, 16), (model, peer.name, protocol, 1)
    stock = ratio(results, model, protocol, peer.name, STOCK)
    failures = results.failures.get(many, 0) + results.failures.get(one, 0)
    whole = (model, peer.name)
    cells = [
        peer.title if first else "",
        protocol + (f" ({failures} failures)" if failures else ""),
        _shown(middle(results.rate.get(many)), 0),
        _shown(stock, 1),
        _shown(middle(results.cpu_us.get(many)), 1),
        f"{_shown(middle(results.p50.get(many)), 0)} / {_shown(middle(results.p99.get(many)), 0)}",
        f"{_shown(middle(results.p50.get(one)), 0)} / {_shown(middle(results.p99.get(one)), 0)}",
        _shown(middle(results.pss_mb.get(whole)), 1) if first else "",
        _shown(middle(results.cold_start.get(whole)), 3) if first else "",
        _shown(results.size_mb.get(peer.name), 0) if first else "",
    ]
    return "| " + " | ".join(cells) + " |"


def summary(results: Results, models: Sequence[str], peers: Sequence[Peer]) -> str:
    """Return what the project's README shows: a row per server for the first model, and what was missed for any."""
    lines = ["| server | V1 req/s | × stock | V2 req/s | gRPC req/s | p99, 1 connection | PSS | first answer |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    lines += [_summary_row(results, models[0], peer) for peer in peers if peer.name not in results.absent]
    for echo, title in ECHOES.items():
        shares = [
            f"{_shown(middle(results.echo_share.get((model, echo, protocol, 16))), 2)} ({model}, {protocol})"
            for model in models
            for protocol in ("V1", "V2")
        ]
        lines += ["", f"Share of {title}, in turns: {', '.join(shares)}."]
    found = [promise for promise in promises(results, models) if promise.value is not None]
    missed = [f"{one.text} {one.value:,.2f} ({one.bound:g})" for one in found if not one.kept]
    lines += [
        "",
        f"{len(found) - len(missed)} of {len(found)} aims met" + (f"; missed: {'; '.join(missed)}." if missed else "."),
    ]
    lines += [f"Not measured: {name} ({why})." for name, why in results.absent.items()]
    return "\n".join(lines)


def _summary_row(results: Results, model: str, peer: Peer) -> str:
    rates = {protocol: middle(results.rate.get((model, peer.name, protocol, 16))) for protocol in ("V1", "V2", "gRPC")}
    asked = [ask.protocol for ask in peer.asks]
    first = asked[0] if asked else "V1"
    stock = ratio(results, model, first, peer.name, STOCK)
    one = middle(results.p99.get((model, peer.name, first, 1)))
    memory, start = (middle(kept.get((model, peer.name))) for kept in (results.pss_mb, results.cold_start))
    cells = [
        peer.title,
        _shown(rates["V1"], 0),
        (_shown(stock, 0 if stock and stock >= 10 else 1) + ("" if first == "V1" else f" ({first})")),
        _shown(rates["V2"], 0),
        _shown(rates["gRPC"], 0),
        "–" if one is None else f"{one / 1000:,.0f} ms" if one >= 10_000 else f"{one:,.0f} µs",
        "–" if memory is None else f"{memory:,.0f} MB",
        "–" if start is None else f"{start:.2f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


@dataclass(frozen=True)
class Promise:
    """One figure the project holds itself to; `most` when smaller is better."""

    text: str
    value: float | None
    bound: float
    most: bool = False

    @property
    def kept(self) -> bool:
        """Whether it was measured and is good enough."""
        return self.value is not None and (self.value <= self.bound if self.most else self.value >= self.bound)

    def line(self) -> str:
        """Return its row."""
        if self.value is None:
            return f"| {self.text} | {self.bound:g} | – | not measured |"
        sign = "at most" if self.most else "at least"
        return f"| {self.text} | {sign} {self.bound:g} | {self.value:,.2f} | {'yes' if self.kept else '**no**'} |"


def promises(results: Results, models: Sequence[str]) -> list[Promise]:
    """Return what issue and README promise, with what was measured."""

    def times(model: str, protocol: str, peer: str, base: str) -> float | None:
        return ratio(results, model, protocol, peer, base)

    found = []
    stock = {("forest", "V1"): 1000, ("logistic", "V1"): 150, ("forest", "V2"): 900, ("forest", "gRPC"): 80}
    fallback = {"forest": 300, "logistic": 70}
    for model in models:
        for protocol in ("V1", "V2", "gRPC"):
            if (model, protocol) in stock:
                text = f"{model}, {protocol}: times the stock server"
                found.append(Promise(text, times(model, protocol, "ours", STOCK), stock[model, protocol]))
        found.append(Promise(f"{model}, V1: times KServe SDK + ORT", times(model, "V1", "ours", SDK), 20))
        for echo, title in ECHOES.items():
            for protocol in ("V1", "V2", *(["gRPC"] if echo == WIRE else [])):
                share = middle(results.echo_share.get((model, echo, protocol, 16)))
                found.append(Promise(f"{model}, {protocol}: share of {title}", share, 0.9))
        found.append(
            Promise(f"{model}, V1, ORT fallback: times stock", times(model, "V1", "ours-onnx", STOCK), fallback[model])
        )
        for echo, title in ECHOES.items():
            share = middle(results.echo_p99.get((model, echo, "V1", 1)))
            found.append(Promise(f"{model}, V1, 1 connection: p99 over that of {title}", share, 1.5, most=True))
        start, base = (middle(results.cold_start.get((model, peer))) for peer in ("ours", STOCK))
        found.append(Promise(f"{model}: seconds to the first prediction", start, 0.3, most=True))
        found.append(Promise(f"{model}: start over stock", start / base if start and base else None, 0.1, most=True))
        memory, base = (middle(results.pss_mb.get((model, peer))) for peer in ("ours", STOCK))
        found.append(Promise(f"{model}: PSS, MB", memory, 60, most=True))
        found.append(Promise(f"{model}: PSS over stock", memory / base if memory and base else None, 0.25, most=True))
        memory = middle(results.pss_mb.get((model, "ours-onnx")))
        found.append(Promise(f"{model}, ORT fallback: PSS, MB", memory, 60, most=True))
    found.append(Promise("installed, without ONNX Runtime, MB", results.size_mb.get("ours"), 80, most=True))
    found.append(Promise("installed, with ONNX Runtime, MB", results.size_mb.get("ours-onnx"), 220, most=True))
    return found


def _promises(results: Results, models: Sequence[str]) -> list[str]:
    head = ["| figure | promised | measured | kept |", "|---|---:|---:|---|"]
    return head + [promise.line() for promise in promises(results, models)]


def as_json(results: Results, models: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same as plain data, every round included."""

    def flat(values: Mapping[Any, Any]) -> dict[str, Any]:
        return {"/".join(map(str, key)) if isinstance(key, tuple) else key: value for key, value in values.items()}

    return {
        "about": dict(about),
        **{name: flat(values) for name, values in vars(results).items()},
        "promises": [
            {"text": each.text, "value": each.value, "bound": each.bound, "most": each.most}
            for each in promises(results, models)
        ],
    }
