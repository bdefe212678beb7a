r"""The C side of serving: a folded model (`Table`) and the hot path for ordinary requests (`Fast`).

A package of its own because it may be absent: where no compiler was at hand the extension is not built, `available()`
is False, and the server uses ONNX Runtime and its generic path for everything, with the same answers.

Scoring
    table = native.table(bundle.path("model.table").read_bytes())
    table.columns, table.width                   # features per row, numbers per answered row
    table.score(features, rows) -> bytes         # float64 [rows, columns] in, float64 [rows, width] out

`score` takes any contiguous buffer of `rows * columns` float64 (bytes, array, numpy), row after row, encoded by
serving.schema (missing is NaN, an unseen category -1). It raises ValueError for a buffer of another size, and releases
the GIL for big batches. It is thread-safe. The answer is what the fitted pipeline's `predict_proba` (or `predict`)
gives: bit for bit for trees, within 1e-12 for the others. Boosted trees of three and more classes are the same bits up
to the softmax, whose exp is numpy's there and the C library's here: the last bit of a probability may differ. A linear
regression is within 1e-15 of the sizes of the terms it adds up, as scikit-learn is of itself.

The hot path
    fast = native.fast(table, model="heart", version="3", schema=bundle.schema, reference=reference)
    answer = fast.handle(data)                   # what a Wire does with arriving bytes, before any other parsing

`handle` returns the complete response bytes when `data` is exactly one complete, ordinary request (below), and None
for everything else; then nothing has been counted and the generic path must take `data` from the start. It never
raises for any bytes, and what it keeps between calls (the last head, to recognise the next) changes no answer. Where
the model is not folded, `fast` takes a function in place of the table, so that ONNX Runtime is called between C parsing
and C rendering; should it raise, the answer is None. Call it only between requests of a connection: not while an
earlier request of the same connection is unfinished, and not when API keys or rate limits apply (it looks at neither).

An ordinary request is HTTP/1.1 POST to
  * `/v1/models/<model>:predict` with `{"instances": [...]}`: each row a list in column order or an object that names
    every column once; numbers, true/false, null, text of categories, dates as YYYY-MM-DD; or
  * `/v2/models/<model>/infer` (or `.../versions/<version>/infer`) with `{"inputs": [...]}`, optionally `"id"`, the
    model's own `"model_name"` and empty `"parameters"`: one
    FP64/FP32/INT64/INT32 tensor [rows, columns] of any name, or one tensor [rows] or [rows, 1] per column by name
    (those datatypes, BOOL for booleans, BYTES for text and dates); `data`, flat or nested, comes last in a tensor;
with Content-Length, `Content-Type: application/json`, at most `rows_limit` rows, and only headers that change nothing
(Host, User-Agent, Accept, Accept-Encoding, Connection: keep-alive, X-Request-Id, X-Forwarded-*, traceparent and such).
Invalid values, unknown or duplicate fields, escapes in text, other parameters, other requests: None.

The answer, byte for byte what the generic path must give as well:

    HTTP/1.1 200 OK\r\n
    <headers>                                    # the lines passed as `headers`
    date: <IMF-fixdate>\r\n
    x-request-id: <as received>\r\n              # only when the request carried one
    content-length: <n>\r\n
    \r\n
    {"predictions":[0,1]}                                                                            # V1
    {"model_name":"heart","model_version":"3","id":"a","outputs":[{"name":"prediction","shape":[2],  # V2, no line break
     "datatype":"INT64","data":[0,1]}]}

without `model_version` when the version is None and without `id` when the request has none; labels as orjson renders
them; datatype INT64, BOOL or BYTES by the type of the classes, FP64 for regression. Classes of mixed types, or float:
no hot path.

Counting: `counters()` returns a new dict, cumulative since the object was made:

    {"requests": {"v1": n, "v2": n, "grpc": n}, "rows": n,
     "seconds": {"bounds": [1e-05, ...], "counts": [len(bounds) + 1], "sum": s},     # time inside `handle`
     "predictions": [per class, or per bucket of the reference's prediction edges],
     "scores": [per bucket of the reference's score edges; empty for regression],
     "columns": [{"counts": [...], "missing": n, "unseen": n}, ...]}                 # bins of reference.json, in order

`observe(features, outputs, rows)` adds rows that another path has scored (gRPC, generic REST, batch) to `rows`,
`predictions`, `scores` and `columns`, so drift is counted once, here.

`sample=n` makes every n-th ordinary request return None, so that the generic path logs it (0: never).

gRPC
    class Connection(RpcWire, asyncio.Protocol)   # serving.http2
An `RpcWire` is the server's side of one HTTP/2 connection (h2.h). A call is ordinary when it is ModelInfer with one
uncompressed message of at most `rows_limit` rows in tensors as above (raw or typed contents; BYTES as text), without
parameters, that asks for `prediction`, `probabilities` or nothing. It is answered with the bytes that serving.calls
would give; every other call goes to `called` of the subclass.

The format of model.table is described in table.h.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serving.native import messages
from serving.schema import Column, Schema

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from serving.native._native import Fast, Table

    Scorer = Callable[[bytes, int], Buffer]

HEADERS = b"content-type: application/json\r\n"
ROWS_LIMIT = 256
BYTES_LIMIT = 256 * 1024
OUTPUT = "prediction"


def available() -> bool:
    """Return whether the extension was built for this Python."""
    try:
        import serving.native._native  # noqa: F401  (importing is the question)
    except ImportError:
        return False
    return True


def table(data: bytes) -> Table:
    """Return the evaluator of a model.table.

    Raises:
        ImportError: The extension is not built here.
        ValueError: The bytes are not a table this version can read, or are damaged; the message says where.
    """
    from serving.native._native import Table

    return Table(data)


def fast(
    scorer: Table | Scorer,
    model: str,
    version: str | None,
    schema: Schema,
    reference: Mapping[str, Any] | None = None,
    *,
    headers: bytes = HEADERS,
    rows_limit: int = ROWS_LIMIT,
    bytes_limit: int = BYTES_LIMIT,
    sample: int = 0,
) -> Fast | None:
    """Return the hot path of a model, None where its schema has something only the generic path can answer.

    Args:
        scorer: A table, or a function from the bytes of float64 [rows, columns] and the number of rows to a contiguous
            buffer of float64 [rows, width].
        reference: The parsed reference.json; without it features and scores are not binned.
        headers: Complete header lines that every answer carries.
        rows_limit: Larger requests are left to the generic path.
        bytes_limit: As above, for the whole request in bytes.
        sample: Every n-th ordinary request is left to the generic path (0: none).
    """
    from serving.native._native import Fast

    datatype = output_datatype(schema)
    if datatype is None or not model.isascii() or not (version or "").isascii():
        return None
    bins: Mapping[str, Any] = (reference or {}).get("columns", {})
    outcomes: Mapping[str, Any] = (reference or {}).get("predictions", {})
    classes = schema.target.classes
    identity = {"model_name": model} | ({"model_version": version} if version is not None else {})
    prefix = f"POST /v2/models/{model}"
    versions = ["", f"/versions/{version}"] if version is not None else [""]
    made = Fast(
        scorer,
        [_described(column, bins.get(column.name)) for column in schema.columns],
        [_rendered(label) for label in classes] if classes else None,
        (f"POST /v1/models/{model}:predict".encode(), [f"{prefix}{part}/infer".encode() for part in versions]),
        b"HTTP/1.1 200 OK\r\n" + headers,
        (_rendered(identity)[:-1], f'],"datatype":"{datatype}","data":['.encode()),
        (_finite(outcomes.get("edges")), _scored_class(schema)),
        (rows_limit, bytes_limit),
        sample,
    )
    messages.speak_grpc(made, model, version or "", datatype, classes)
    return made


def output_datatype(schema: Schema) -> str | None:
    """Return the V2 datatype of the `prediction` output; None when the classes have mixed types."""
    kinds = {type(label) for label in schema.target.classes}
    if not kinds:
        return "FP64"
    return {bool: "BOOL", int: "INT64", str: "BYTES"}.get(kinds.pop()) if len(kinds) == 1 else None


def _scored_class(schema: Schema) -> int:
    """Return the class whose probability is the score: the positive one, or -1 for the likeliest."""
    positive = schema.target.positive
    return schema.target.classes.index(positive) if positive in schema.target.classes else -1


def _described(
    column: Column, bins: Mapping[str, Any] | None
) -> tuple[bytes, str, Sequence[bytes] | Sequence[float], Sequence[float] | None]:
    """Return name, kind, known values and bin edges of a column; the kind of numeric categories is `code`."""
    values: list[bytes] | list[float] = []
    kind: str = column.kind
    if column.kind == "category":
        if column.categories and not isinstance(column.categories[0], str):
            kind, values = "code", [float(value) for value in column.categories]
        else:
            values = [str(value).encode("utf-8", "surrogatepass") for value in column.categories]
    edges = _finite(bins.get("edges")) if bins is not None and column.kind != "category" else None
    return column.name.encode("utf-8", "surrogatepass"), kind, values, edges


def _finite(edges: Sequence[float] | None) -> list[float]:
    """Return the sorted finite edges of a histogram."""
    return sorted(float(edge) for edge in edges or () if math.isfinite(edge))


def _rendered(value: Any) -> bytes:
    """Return compact JSON in UTF-8, as orjson writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
