"""What people see: the model card, the schema as a document, and a page that shows how to call the server.

Pages are whole in themselves: no font, picture or script from elsewhere; for the one script of ours see `trying`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from serving import trying
from serving.bundle import CARD
from serving.predictor import Predictor
from serving.schema import Column, decode, schema_to_json

BULLET = re.compile(r"\s*([-*]|\d+\.) ")
YEARS = (1_500, 2_200)
ORIGIN = "http://127.0.0.1:8080"
"""Stands in the docs page for whatever address a reader came by."""
STYLE = """
:root{color-scheme:light dark;--ink:#1b2733;--soft:#5b6b7b;--line:#d9e0e6;--back:#fff;--band:#f4f7f9;--mark:#0b6e8a}
@media(prefers-color-scheme:dark){:root{--ink:#e4ebf1;--soft:#9db0c0;--line:#2d3b47;--back:#10181f;--band:#182530;--mark:#5cc4e0}}
body{margin:0 auto;max-width:60rem;padding:2rem 1.25rem 4rem;background:var(--back);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.9rem;margin:.2em 0}h2{margin-top:2em;border-bottom:1px solid var(--line);padding-bottom:.2em}
a{color:var(--mark)}p.lead,.soft{color:var(--soft)}
pre,code{font:14px/1.45 ui-monospace,monospace}code{background:var(--band);padding:.1em .3em;border-radius:.25em}
pre{background:var(--band);padding:.8em 1em;border-radius:.5em;white-space:pre-wrap;overflow-wrap:anywhere}
pre code{padding:0;background:none}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35em .7em;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}td.number{text-align:right;font-variant-numeric:tabular-nums}
.verb{display:inline-block;min-width:3.2em;color:var(--mark);font-weight:600}
"""


def example_row(predictor: Predictor) -> dict[str, Any]:
    """Return one row a client could send: the first golden one."""
    golden = predictor.bundle.json("golden.json")
    for request in golden.get("requests", ()):
        for row in request.get("instances", ()):
            if isinstance(row, dict):
                return row
            return dict(zip(predictor.schema.names, row, strict=True))
    return dict.fromkeys(predictor.schema.names)


def schema_document(predictor: Predictor, name: str) -> dict[str, Any]:
    """Return the schema for a program or a curious person."""
    return {
        "name": name,
        "version": predictor.version,
        "digest": predictor.bundle.digest,
        **schema_to_json(predictor.schema),
        "example": example_row(predictor),
    }


def card_markdown(predictor: Predictor, name: str) -> bytes:
    """Return the bundle's model card, or a short one from its schema where it has none."""
    path = predictor.bundle.path(CARD)
    if path is not None:
        return path.read_bytes()
    target = predictor.schema.target
    lines = [
        f"# {name}",
        "",
        f"Predicts {target.name} ({target.task}) from {predictor.columns} columns.",
        "",
        "| column | kind | unit |",
        "|---|---|---|",
        *(f"| {_cell(column.name)} | {column.kind} | {_cell(column.unit)} |" for column in predictor.schema.columns),
    ]
    return ("\n".join(lines) + "\n").encode()


def card_page(predictor: Predictor, name: str, markdown: bytes) -> bytes:
    """Return the model card as a page."""
    body = render_markdown(markdown.decode("utf-8", "replace"))
    return _page(f"{name}: model card", body + _footer(predictor))


def docs_page(predictor: Predictor, name: str, *, guarded: bool = False) -> bytes:
    """Return the page that shows every call with a line that can be pasted, and lets a reader send it.

    Args:
        guarded: Whether callers need an API key.
    """
    target = predictor.schema.target
    row = example_row(predictor)
    v1 = {"instances": [row]}
    inputs = [
        {"name": column.name, **_example_tensor(column, row.get(column.name))} for column in predictor.schema.columns
    ]
    v2 = {"inputs": inputs}
    label = predictor.labels(predictor.score(predictor.encoder.encode([row], 0), 1).tolist())[0]
    answer = json.dumps({"predictions": [label]}, ensure_ascii=False)
    classes = ", ".join(str(label) for label in target.classes)
    description = f"Predicts <b>{html.escape(target.name)}</b>" + (
        f", one of {html.escape(classes)}" if classes else (f" in {html.escape(target.unit)}" if target.unit else "")
    )
    call = partial(trying.call, origin=ORIGIN)
    spare = ", ".join((*predictor.schema.unused[:30], target.name))
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f'<p class="lead">{description} · version {html.escape(predictor.version or "unregistered")} · '
        f'<a href="/v1/models/{html.escape(name)}/card">model card</a> · <a href="/openapi.json">OpenAPI</a> · '
        '<a href="/metrics">metrics</a></p>',
        "<h2>Predict</h2>",
        trying.key_field() if guarded else "",
        call(f"/v1/models/{name}:predict", "rows as lists in column order, or as objects; null is missing", v1, answer),
        call(f"/v2/models/{name}/infer", "the Open Inference Protocol: one tensor per column", v2),
        call(f"/v1/models/{name}:explain", "what each feature contributed", v1),
        '<p>Probabilities: add <code>"parameters": {"probabilities": true}</code> in V1, or ask for the output '
        "<code>probabilities</code> in V2. The same calls answer over gRPC as inference.GRPCInferenceService.</p>"
        if target.classes
        else "",
        "<h2>Columns</h2>",
        _columns_table(predictor.schema.columns),
        f"<p class=soft>Rows may carry what the model does not look at: {html.escape(spare)}.</p>",
        "<h2>Statuses</h2>",
        trying.statuses(),
        "<h2>Everything else</h2>",
        *(
            f'<p><span class="verb">GET</span> <a href="{path}">{html.escape(path)}</a> — {text}</p>'
            for path, text in _other_paths(name)
        ),
    ]
    return _page(name, "".join(parts) + _footer(predictor) + trying.script(), trying.STYLE)


def _other_paths(name: str) -> Sequence[tuple[str, str]]:
    return (
        ("/v1/models", "the models of this server"),
        (f"/v1/models/{name}", "ready or not"),
        (f"/v1/models/{name}/schema", "columns, kinds, ranges and categories"),
        ("/v2", "server name, version and extensions"),
        ("/v2/health/live", "liveness"),
        ("/v2/health/ready", "readiness"),
        (f"/v2/models/{name}", "tensors in and out"),
        (f"/v2/models/{name}/ready", "readiness of the model"),
        ("/metrics", "Prometheus"),
        ("/inference.protoset", "descriptors of the gRPC service: grpcurl -protoset FILE"),
    )


def _example_tensor(column: Column, value: Any) -> dict[str, Any]:
    datatype = "BYTES" if isinstance(value, str) else "BOOL" if isinstance(value, bool) else "FP64"
    return {"shape": [1], "datatype": datatype, "data": [value]}


def _columns_table(columns: Sequence[Column]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(column.name)}</code></td><td>{column.kind}</td><td>{_range(column)}</td>"
        f"<td>{html.escape(column.unit)}</td><td>{html.escape(column.description)}</td></tr>"
        for column in columns
    )
    head = "<tr><th>name</th><th>kind</th><th>seen in training</th><th>unit</th><th>meaning</th></tr>"
    return f'<div class="wide"><table>{head}{rows}</table></div>'


def _range(column: Column) -> str:
    if column.kind == "category":
        shown = ", ".join(str(value) for value in column.categories[:12])
        return html.escape(shown + (", …" if len(column.categories) > 12 else ""))
    if column.kind == "boolean":
        return "true, false"
    if column.minimum is None or column.maximum is None:
        return ""
    return html.escape(f"{_written(decode(column, column.minimum))} to {_written(decode(column, column.maximum))}")


def _written(value: Any) -> str:
    """Return a value with separators, unless it may be a year."""
    if isinstance(value, bool) or not isinstance(value, int | float) or YEARS[0] <= abs(value) <= YEARS[1]:
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _footer(predictor: Predictor) -> str:
    bundle = predictor.bundle
    return (
        f'<p class="soft">bundle {bundle.digest[:12]} · {html.escape(bundle.candidate)} · '
        f"evaluated by {predictor.scorer.name}</p>"
    )


def _page(title: str, body: str, style: str = "") -> bytes:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{style}</style></head><body>{body}</body></html>"
    ).encode()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def render_markdown(text: str) -> str:
    """Return HTML for the Markdown that model cards use: headings, lists, tables, code, emphasis, links."""
    return "".join(map(_block, re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())))


def _block(block: str) -> str:
    lines = block.split("\n")
    heading = re.match(r"(#{1,6}) +(.*)", lines[0])
    if heading:
        level = len(heading[1])
        rest = _block("\n".join(lines[1:])) if len(lines) > 1 else ""
        return f"<h{level}>{_inline(heading[2])}</h{level}>{rest}"
    if lines[0].startswith("```"):
        return f"<pre><code>{html.escape(chr(10).join(lines[1:]).removesuffix('```'))}</code></pre>"
    if len(lines) > 1 and lines[0].lstrip().startswith("|") and set(lines[1]) <= set("|-: "):
        return _table(lines)
    if all(BULLET.match(line) for line in lines):
        items = "".join(f"<li>{_inline(BULLET.sub('', line))}</li>" for line in lines)
        return f"<ul>{items}</ul>"
    return f"<p>{_inline(' '.join(lines))}</p>"


def _table(lines: Sequence[str]) -> str:
    def cells(line: str, tag: str) -> str:
        parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        return "".join(f"<{tag}>{_inline(part.strip())}</{tag}>" for part in parts)

    rows = "".join(f"<tr>{cells(line, 'td')}</tr>" for line in lines[2:])
    return f'<div class="wide"><table><tr>{cells(lines[0], "th")}</tr>{rows}</table></div>'


def _inline(text: str) -> str:
    escaped = html.escape(text.replace("\\|", "|"))
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)
    return re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', escaped)
