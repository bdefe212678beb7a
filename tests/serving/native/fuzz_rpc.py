"""Throws damaged HTTP/2 connections and ModelInfer messages at the extension: it must answer or refuse them, no more.

    python tests/serving/native/fuzz_rpc.py CORPUS [--extension FILE] [--rounds N] [--seed N]

CORPUS is as for fuzz.py. Only the standard library and serving/ are imported, so it runs under AddressSanitizer without
noise from elsewhere; each round is one connection whose bytes come in pieces of any size.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import struct
import sys
from pathlib import Path
from typing import Any

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
INFER = b"/inference.GRPCInferenceService/ModelInfer"
EDGES = (0, 1, 2, 4, 5, 16383, 16384, 16385, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
KINDS = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "date": "BYTES"}
FORMATS = {"FP64": "<d", "INT64": "<q", "BOOL": "<?"}


def load_extension(path: Path) -> None:
    """Make `serving.native` use this build of the extension."""
    spec = importlib.util.spec_from_file_location("serving.native._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["serving.native._native"] = module


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def ordinary_message(schema: Any, raw: bool, rows: int) -> bytes:
    """Return a ModelInferRequest that is answered in C."""
    examples = {"number": 1.5, "integer": 7, "boolean": True, "date": b"2000-02-29"}
    inputs, contents = b"", b""
    for column in schema.columns:
        value: Any = column.categories[0] if column.kind == "category" else examples[column.kind]
        value = value.encode() if isinstance(value, str) else value
        kind = "BYTES" if isinstance(value, bytes) else KINDS.get(column.kind, "FP64")
        packed = value if kind == "BYTES" else struct.pack(FORMATS[kind], value)
        if raw:
            contents += _field(7, (struct.pack("<I", len(packed)) + packed if kind == "BYTES" else packed) * rows)
        typed = {"BYTES": _field(8, packed) * rows, "FP64": _field(7, packed * rows)}.get(kind)
        if typed is None:
            typed = _field(3 if kind == "INT64" else 1, _varint(int(value)) * rows)
        tensor = _field(1, column.name.encode()) + _field(2, kind.encode()) + _field(3, _varint(rows))
        inputs += _field(5, tensor + (b"" if raw else _field(5, typed)))
    return _field(1, b"heart") + _field(3, b"x") + inputs + contents


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(dice: random.Random, path: bytes) -> bytes:
    """Return a header block, with indexed, literal and indexing fields."""
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    fields += dice.sample(
        [(b"grpc-timeout", b"5S"), (b"x-request-id", b"q" * 40), (b"user-agent", b"f" * 60)], dice.randrange(3)
    )
    encoded = b""
    if dice.random() < 0.05:
        encoded += bytes([0x3F]) + _varint(dice.randrange(4096))
    for name, value in fields:
        start = dice.choice([0x00, 0x10, 0x40])
        encoded += bytes([start, len(name)]) + name + bytes([len(value)]) + value
        if start == 0x40 and dice.random() < 0.3:
            encoded += bytes([0x80 | dice.choice([62, 62, 62, 63, 70])])
    return encoded


def call(dice: random.Random, stream: int, message: bytes) -> list[bytes]:
    """Return the frames of one call."""
    path = dice.choice([INFER, INFER, INFER, b"/inference.GRPCInferenceService/ServerLive", b"/x"])
    head = block(dice, path)
    frames = []
    if dice.random() < 0.2:
        cut = dice.randrange(len(head))
        frames += [frame(HEADERS, 0, stream, head[:cut]), frame(CONTINUATION, 4, stream, head[cut:])]
    else:
        frames.append(frame(HEADERS, 4, stream, head))
    body = bytes([dice.random() < 0.03]) + struct.pack(">I", len(message) + (dice.random() < 0.03)) + message
    while len(body) > 16384 or (body and dice.random() < 0.3):
        size = dice.randrange(min(16384, len(body)) + 1)
        pad = dice.randrange(20) if dice.random() < 0.3 and size < 16000 else None
        padded = body[:size] if pad is None else bytes([pad]) + body[:size] + bytes(pad)
        frames.append(frame(DATA, 0 if pad is None else 8, stream, padded))
        body = body[size:]
    frames.append(frame(DATA, 1, stream, body))
    return frames


def control(dice: random.Random, stream: int) -> bytes:
    """Return a frame that is no call's."""
    number = struct.pack(">I", dice.choice(EDGES))
    settings = struct.pack(">HI", dice.randrange(8), dice.choice(EDGES))
    return dice.choice(
        [
            frame(SETTINGS, 0, 0, settings * dice.randrange(3)),
            frame(SETTINGS, 1, 0, b""),
            frame(PING, dice.randrange(2), 0, b"drained?"),
            frame(WINDOW_UPDATE, 0, dice.choice([0, stream]), number),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 100_000)),
            frame(RST_STREAM, 0, max(1, stream - dice.choice([0, 2])), number),
            frame(PRIORITY, 0, stream, bytes(5)),
            frame(GOAWAY, 0, 0, bytes(8)),
            frame(
                dice.randrange(12), dice.randrange(256), dice.randrange(stream + 3), dice.randbytes(dice.randrange(40))
            ),
        ]
    )


def conversation(dice: random.Random, messages: list[bytes]) -> bytes:
    """Return what a client sends on one connection: mostly calls, some of it damaged."""
    frames = [PREFACE, frame(SETTINGS, 0, 0, struct.pack(">HI", 4, dice.choice((10, 65535, 1 << 20))))]
    stream = 1
    for _ in range(dice.randint(1, 12)):
        if dice.random() < 0.25:
            frames.append(control(dice, stream))
        message = bytearray(dice.choice(messages))
        if dice.random() < 0.4 and message:
            for _ in range(dice.randint(1, 3)):
                message[dice.randrange(len(message))] = dice.randrange(256)
        frames += call(dice, stream, bytes(message))
        stream += 2
    if dice.random() < 0.1:
        dice.shuffle(frames)
    data = bytearray(b"".join(frames))
    if dice.random() < 0.4:
        for _ in range(dice.randint(1, 4)):
            position = dice.randrange(len(data))
            if dice.random() < 0.5:
                data[position] ^= 1 << dice.randrange(8)
            else:
                del data[position : position + dice.randint(1, 9)]
    return bytes(data)


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 1


def make_connection(gate: Any, dice: random.Random, limit: int) -> Any:
    """Return a connection whose Python side answers, refuses, waits or fails."""
    from serving.native._native import RpcWire

    class Connection(RpcWire):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__(gate, limit, 4096, 3.0, 5.0)
            self.waiting: list[int] = []
            self.ended = 0

        def called(self, stream: int, path: bytes, metadata: Any, message: bytes, *_: Any) -> None:
            assert path.startswith((b"/", b"*"))
            assert len(message) <= limit
            choice = dice.randrange(4)
            if choice == 0:
                self.answer(stream, message * dice.choice([1, 50]))
            elif choice == 1:
                self.refuse(stream, dice.randrange(17), "ä%\n " * dice.choice([1, 900]))
            else:
                self.waiting.append(stream)

        def cancelled(self, stream: int) -> None:
            self.waiting.remove(stream)

        def ending(self) -> None:
            self.ended += 1

    return Connection()


def check_output(data: bytes) -> dict[int, int]:
    """Return how many frames of each kind came out; each has to be whole."""
    kinds: dict[int, int] = {}
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 3], "big")
        assert size <= 16384
        assert position + 9 + size <= len(data), "a frame is cut off"
        kinds[data[position + 3]] = kinds.get(data[position + 3], 0) + 1
        position += 9 + size
    return kinds


def try_connection(gate: Any, messages: list[bytes], dice: random.Random) -> int:
    """Return how many answers a connection gave."""
    connection = make_connection(gate, dice, dice.choice([300, 100_000]))
    transport = Transport()
    connection.attach(transport, -1)
    data = conversation(dice, messages)
    while data:
        size = dice.choice([1, 9, 100, 5_000, 1 << 20])
        connection.data_received(data[:size])
        data = data[size:]
        if connection.waiting and dice.random() < 0.5:
            connection.answer(connection.waiting.pop(), bytes(dice.choice([0, 10, 30_000])))
        step = dice.randrange(60)
        if step == 0:
            gate.clock += dice.choice([1, 4])
            connection.tick()
        elif step == 1:
            connection.drain()
        elif step == 2:
            connection.pause(dice.random() < 0.5)
        elif step == 3:
            connection.finish()
    connection.pause(False)
    assert connection.ended <= 1
    assert bool(connection.ended) == connection.over
    kinds = check_output(bytes(transport.written))
    connection.detach()
    return kinds.get(DATA, 0)


def run(corpus: Path, rounds: int, seed: int) -> dict[str, int]:
    """Return how many DATA frames were sent, and messages answered in C, in `rounds` connections."""
    from serving import native
    from serving.native._native import Gate
    from serving.schema import schema_from_json

    dice = random.Random(seed)
    models = []
    for path in sorted(corpus.glob("*.table")):
        schema = schema_from_json(json.loads(path.with_suffix(".json").read_bytes()))
        fast = native.fast(native.table(path.read_bytes()), "heart", "3", schema)
        assert fast is not None
        messages = [ordinary_message(schema, raw, rows) for raw in (False, True) for rows in (1, 3, 200)]
        assert all(fast.infer(message) for message in messages), path
        gate = Gate()
        gate.fast = fast
        models.append((gate, [*messages, b""]))
    sent = 0
    for _ in range(rounds):
        gate, messages = dice.choice(models)
        sent += try_connection(gate, messages, dice)
    return {
        "requests": sent,
        "ordinary": sum(gate.fast.counters()["requests"]["grpc"] for gate, _ in models if gate.fast),
    }


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
