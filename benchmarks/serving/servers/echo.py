"""A bare echo in Python: a uvloop protocol, and grpc.aio, with fixed bytes and no model.

Its protocol is the usual one: `data_received` in Python, answers through `transport.write`. What this project's server
gains by its connection in C (serving/native/wire.c) counts against what its work on a request costs.

python echo.py HTTP_PORT GRPC_PORT V1_ANSWER_FILE V2_ANSWER_FILE GRPC_ANSWER_FILE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

VERSION_1 = ord("1")
SERVICE = "inference.GRPCInferenceService"


class Echo(asyncio.Protocol):
    """Answers whatever arrives; the client sends one small request at a time."""

    def __init__(self, v1: bytes, v2: bytes) -> None:
        self.v1 = v1
        self.v2 = v2

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.v1 if data[7] == VERSION_1 else self.v2)  # POST /v1...


async def main(http: int, grpc_port: int, v1: bytes, v2: bytes, message: bytes) -> None:
    async def infer(request: bytes, context: Any) -> bytes:
        return message

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(infer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": method}),))
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    listener = await asyncio.get_running_loop().create_server(lambda: Echo(v1, v2), "127.0.0.1", http)
    await listener.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), *(Path(path).read_bytes() for path in sys.argv[3:6])))
