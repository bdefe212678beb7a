"""The end of a listening socket: nobody is let in any more, whoever was in gets an answer."""

from __future__ import annotations

import asyncio
import socket

import pytest

from serving.listener import close_listener, open_listener


def test_a_listener_that_ends_answers_who_was_let_in_and_takes_nobody_else() -> None:
    late: list[str] = []

    async def scene() -> bytes:
        listener = open_listener("127.0.0.1", 0, "HTTP")
        address = listener.getsockname()
        listener.listen()
        with socket.create_connection(address, 1) as early:
            early.sendall(b"asked before the end")  # the server has not accepted it yet
            server = await asyncio.get_running_loop().create_server(Echo, sock=listener)
            ending = asyncio.ensure_future(close_listener(listener, server))
            await asyncio.sleep(0)
            stranger = socket.socket()
            stranger.settimeout(0.02)
            try:
                stranger.connect(address)
            except OSError as error:
                late.append(type(error).__name__)
            await ending
            stranger.close()
            await server.wait_closed()
            return await asyncio.get_running_loop().run_in_executor(None, early.recv, 100)

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(data)
            self.transport.close()

    assert asyncio.run(scene()) == b"asked before the end"
    assert late == ["TimeoutError"]


def test_a_taken_port_says_which_flag_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="choose another --grpc_port"):
        open_listener("127.0.0.1", taken.getsockname()[1], "gRPC")
