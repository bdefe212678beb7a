"""gRPC by grpcio: the transport where the C extension is not built, or where it is asked for.

Needs the `grpcio` extra; imported after HTTP answers, because importing it takes longer than everything else at start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from serving.calls import HEALTH, METADATA_SIZE, OK, SERVICE, Outcome, Service
from serving.message import Request

if TYPE_CHECKING:
    from serving.app import App

CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioServer:
    """The gRPC side of an application, on grpc.aio."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._service = Service(app)
        options = app.options
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=4 * options.max_waiting,
            options=[
                ("grpc.max_receive_message_length", options.max_body_size),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", METADATA_SIZE),
                ("grpc.so_reuseport", 0),
            ],
        )
        for name in (SERVICE, HEALTH):
            handlers = {
                path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(self._answerer(path.encode()))
                for path in self._service.calls
                if path.startswith(f"/{name}/")
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    async def start(self) -> int:
        """Return the port gRPC listens on.

        Raises:
            OSError: The port is taken.
        """
        options = self._app.options
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            port = self._listen(f"{host}:{options.grpc_port}")
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {host}:{options.grpc_port}: choose another --grpc_port") from error
        await self._server.start()
        return port

    def _listen(self, address: str) -> int:
        options = self._app.options
        if not options.tls_certificate:
            return int(self._server.add_insecure_port(address))

        def read() -> Any:
            key, chain = Path(options.tls_key).read_bytes(), Path(options.tls_certificate).read_bytes()
            roots = Path(options.tls_client_ca).read_bytes() if options.tls_client_ca else None
            return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

        credentials = grpc.dynamic_ssl_server_credentials(
            read(), read, require_client_authentication=bool(options.tls_client_ca)
        )
        return int(self._server.add_secure_port(address, credentials))

    def tick(self) -> None:
        """Nothing: grpcio looks after its connections itself."""

    async def stop(self, timeout: float) -> None:
        """Finish the calls in progress, for at most `timeout` seconds."""
        await self._server.stop(timeout)

    def _answerer(self, target: bytes) -> Callable[[bytes, Any], Awaitable[bytes]]:
        app, service = self._app, self._service

        async def answer(data: bytes, context: Any) -> bytes:
            sampled = app.gate.due()
            wanted = sampled or app.access.enabled or app.predictions is not None
            headers = _headers(context) if wanted else {}
            peer = context.peer() if sampled else ""
            outcome = service.answer(Request(b"RPC", target, headers, data, peer=peer, sampled=sampled))
            if not isinstance(outcome, Outcome):
                outcome = await outcome
            if outcome.status != OK:
                await context.abort(CODES[outcome.status], outcome.message)
            return outcome.body

        return answer


def _headers(context: Any) -> dict[bytes, bytes]:
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in context.invocation_metadata() or ()
    }
