"""The server's flags: named as KServe's runtimes name theirs where KServe has the flag."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Options:
    """What one server process is told at start; sizes in bytes, times in seconds."""

    model_name: str = field(metadata={"help": "the name in every path"})
    model_dir: str = _flag("/mnt/models", "folder or s3://bucket/prefix of a bundle; may be a symbolic link")
    http_port: int = _flag(8080, "port of V1, V2 and metrics; 0 picks a free one")
    grpc_port: int = _flag(8081, "port of the Open Inference Protocol over gRPC; 0 picks a free one")
    enable_grpc: bool = _flag(True, "whether gRPC is served at all")
    grpc_transport: str = _flag("auto", "auto, native (HTTP/2 in C) or grpcio: what speaks gRPC")
    host: str = _flag("0.0.0.0", "address to listen on; 127.0.0.1 keeps it to this machine")  # noqa: S104  (a pod's service reaches it from outside)
    bundle_digest: str = _flag("", "SHA-256 the bundle.json must have; any other bundle is refused")
    evaluator: str = _flag("auto", "auto, table (C) or onnx: what computes predictions")
    ignore_unknown: bool = _flag(False, "accept and drop fields the schema does not know")
    max_header_size: int = _flag(32 * 1024, "largest request head")
    max_body_size: int = _flag(16 * 1024 * 1024, "largest request body")
    max_rows: int = _flag(100_000, "most rows in one request")
    max_connections: int = _flag(20_000, "most open connections; more are closed at once")
    max_waiting: int = _flag(256, "most large requests in the queue before 503")
    max_in_flight_bytes: int = _flag(0, "most bytes of all requests together (0: 40 % of the memory it may use)")
    max_delay: float = _flag(0.5, "seconds of event loop delay from which predictions are shed with 503")
    request_timeout: float = _flag(30.0, "seconds a client may take to send a request or read its answer")
    idle_timeout: float = _flag(120.0, "seconds an unused connection stays open")
    drain_delay: float = _flag(1.0, "seconds after SIGTERM in which new connections are still answered")
    drain_timeout: float = _flag(25.0, "seconds after that for requests in progress")
    api_keys: str = _flag("", "file with one `name:key` per line; read again when it changes")
    rate_limit: float = _flag(0.0, "requests per second and key (0: no limit); bursts of one second")
    tls_certificate: str = _flag("", "PEM file of the certificate chain; read again when it changes")
    tls_key: str = _flag("", "PEM file of its private key")
    tls_client_ca: str = _flag("", "PEM file of who must have signed the certificate of every caller (mutual TLS)")
    cors_origins: str = _flag("", "origins whose pages may call, separated by commas, or *")
    access_log_sample: float = _flag(0.0, "share of requests that are logged, 0 to 1; 5xx always are")
    access_log_payloads: bool = _flag(False, "put request and response bodies into the access log")
    prediction_log: str = _flag("", "folder that gets JSON Lines of encoded rows and scores, for monitoring")
    log_format: str = _flag("auto", "auto, json or text")


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of a command line; exits with a usage message where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve one bundle over V1 and V2 of KServe's protocols. Files: `python -m serving batch --help`.",
        allow_abbrev=False,
    )
    for option in fields(Options):
        default = None if option.default is MISSING else option.default
        parser.add_argument(
            f"--{option.name}",
            type=_truth if isinstance(default, bool) else type(default) if default is not None else str,
            default=default,
            required=option.default is MISSING,
            metavar=str(option.type).upper(),
            help=f"{option.metadata['help']}" + (f" [{default}]" if default not in (None, "") else ""),
        )
    options = Options(**vars(parser.parse_args(arguments)))
    problem = _problem(options)
    if problem:
        parser.error(problem)
    return options


def _problem(options: Options) -> str | None:
    if bool(options.tls_certificate) != bool(options.tls_key):
        return "--tls_certificate and --tls_key belong together: give both"
    if options.tls_client_ca and not options.tls_certificate:
        return "--tls_client_ca asks callers for certificates: give --tls_certificate and --tls_key as well"
    if options.evaluator not in ("auto", "table", "onnx"):
        return f"--evaluator {options.evaluator!r}: choose auto, table or onnx"
    if options.grpc_transport not in ("auto", "native", "grpcio"):
        return f"--grpc_transport {options.grpc_transport!r}: choose auto, native or grpcio"
    if options.log_format not in ("auto", "json", "text"):
        return f"--log_format {options.log_format!r}: choose auto, json or text"
    if not 0 <= options.access_log_sample <= 1:
        return f"--access_log_sample {options.access_log_sample}: a share between 0 and 1"
    if options.rate_limit and not options.api_keys:
        return "--rate_limit counts per key: give --api_keys as well"
    if not options.model_name or "/" in options.model_name:
        return f"--model_name {options.model_name!r}: a name without a slash"
    return None


def _truth(text: str) -> bool:
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
