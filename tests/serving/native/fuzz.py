"""Throws damaged tables and requests at the extension; it must answer, refuse or leave them, and nothing else.

    python tests/serving/native/fuzz.py CORPUS [--extension FILE] [--rounds N] [--seed N]

CORPUS is a folder of `<name>.table` and `<name>.json` (the schema), as the sanitizer test writes it. Only the standard
library and serving/ are imported, so it runs under AddressSanitizer without noise from elsewhere.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import struct
import sys
import zlib
from array import array
from pathlib import Path
from typing import Any

NAN = float("nan")
EDGE_NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0, 1e-300, 3.4e38, -3.4e38, 1e308, float("inf"), -float("inf"), NAN)
EDGE_WORDS = (0, 1, 2, 3, 63, 64, 65, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
PIECES = (
    *(bytes([byte]) for byte in b'{}[],:"\\-0 \t\0\xff'),
    *(b"null", b"true", b"false", b"1e999", b"1.5", b"999999999", b"1" * 80, b"\xc3\xa4"),
    *(b'"instances"', b'"inputs"', b'"data"', b'"shape"', b'"id"', b'"name"', b'"datatype"', b'"FP64"'),
    *(b"\r\n", b"\r\n\r\n", b"Content-Length: 10\r\n", b"Host: a\r\n", b"x-request-id: 1\r\n"),
)


def load_extension(path: Path) -> None:
    """Make `serving.native` use this build of the extension."""
    spec = importlib.util.spec_from_file_location("serving.native._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["serving.native._native"] = module


def damaged_table(data: bytes, source: random.Random) -> bytes:
    """Return the table with a few fields changed, cut or doubled; its checksum is right so that the content is read."""
    body = bytearray(data[24:])
    for _ in range(source.randint(1, 4)):
        position = source.randrange(len(body) // 4) * 4
        kind = source.randrange(5)
        if kind == 0:
            body[position : position + 4] = struct.pack("<I", source.choice(EDGE_WORDS))
        elif kind == 1:
            body[position : position + 8] = struct.pack("<d", source.choice(EDGE_NUMBERS))
        elif kind == 2:
            body[position] ^= 1 << source.randrange(8)
        elif kind == 3:
            del body[position : position + 4 * source.randint(1, 9)]
        else:
            start = source.randrange(len(body))
            body[position:position] = body[start : start + source.randint(1, 64)]
        if len(body) < 16:
            break
    return data[:12] + struct.pack("<IQ", zlib.crc32(body), 24 + len(body)) + bytes(body)


def try_table(native: Any, data: bytes, source: random.Random) -> bool:
    """Return whether the table loads; score odd rows with it if so."""
    try:
        table = native.table(data)
    except ValueError:
        return False
    rows = source.choice((1, 2, 100))
    values = [source.choice((*EDGE_NUMBERS, source.uniform(-200, 200))) for _ in range(rows * table.columns)]
    assert len(table.score(array("d", values), rows)) == 8 * rows * table.width
    return True


def ordinary_requests(schema: Any) -> list[bytes]:
    """Return requests of every shape the hot path answers."""
    examples = {"number": 1.5, "integer": 7, "boolean": True, "date": "2000-02-29"}
    types = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "date": "BYTES"}
    row, kinds = [], []
    for column in schema.columns:
        text = column.kind == "category" and isinstance(column.categories[0], str)
        row.append(column.categories[0] if column.kind == "category" else examples[column.kind])
        kinds.append(types.get(column.kind, "BYTES" if text else "FP64"))
    named = dict(zip(schema.names, row, strict=True))
    tensors = [
        {"name": name, "shape": [2], "datatype": kind, "data": [value, None]}
        for name, kind, value in zip(schema.names, kinds, row, strict=True)
    ]
    documents = (
        ("/v1/models/heart:predict", {"instances": [row, row]}),
        ("/v1/models/heart:predict", {"instances": [named, named]}),
        ("/v2/models/heart/infer", {"id": "x", "inputs": tensors}),
        ("/v2/models/heart/versions/3/infer", {"inputs": tensors}),
    )
    return [_request(path, json.dumps(document, ensure_ascii=False).encode()) for path, document in documents]


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Request-Id: q\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def damaged_request(data: bytes, source: random.Random) -> bytes:
    """Return the request with pieces inserted, deleted, doubled or flipped; usually with a matching length."""
    head, _, body = data.partition(b"\r\n\r\n")
    whole = bytearray(body if source.random() < 0.7 else data)
    for _ in range(source.choice((1, 1, 1, 2, 5))):
        position = source.randrange(len(whole) + 1)
        kind = source.randrange(4)
        if kind == 0:
            whole[position:position] = source.choice(PIECES)
        elif kind == 1:
            del whole[position : position + source.randint(1, 12)]
        elif kind == 2 and position < len(whole):
            whole[position] ^= 1 << source.randrange(8)
        else:
            start = source.randrange(len(whole) + 1)
            whole[position:position] = whole[start : start + source.randint(1, 40)]
    if whole.startswith(b"POST"):
        return bytes(whole)
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(whole), b"", bytes(whole)])


def try_request(fast: Any, data: bytes) -> bool:
    """Return whether the request was answered; check the answer's form if so."""
    answer = fast.handle(data)
    if answer is None:
        return False
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"content-length: %d" % len(body))
    json.loads(body)
    json.loads(data.partition(b"\r\n\r\n")[2])
    return True


def run(corpus: Path, rounds: int, seed: int) -> dict[str, int]:
    """Return how many tables loaded and requests were answered, of `rounds` each."""
    from serving import native
    from serving.schema import schema_from_json

    source = random.Random(seed)
    tables = {path.stem: path.read_bytes() for path in sorted(corpus.glob("*.table"))}
    schemas = {name: schema_from_json(json.loads((corpus / f"{name}.json").read_bytes())) for name in tables}
    hot = {name: native.fast(native.table(data), "heart", "3", schemas[name]) for name, data in tables.items()}
    seeds = [(hot[name], request) for name in tables for request in ordinary_requests(schemas[name])]
    assert all(fast.handle(request) for fast, request in seeds if fast is not None)
    counts = {"tables": 0, "requests": 0}
    for _ in range(rounds):
        counts["tables"] += try_table(native, damaged_table(source.choice(list(tables.values())), source), source)
        fast, request = source.choice(seeds)
        counts["requests"] += try_request(fast, damaged_request(request, source))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--extension", type=Path)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.extension:
        load_extension(options.extension)
    print(json.dumps(run(options.corpus, options.rounds, options.seed)))


if __name__ == "__main__":
    main()
