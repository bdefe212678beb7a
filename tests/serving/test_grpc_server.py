"""gRPC as a whole server speaks it, seen by grpcio's client: many calls at once, long messages, deadlines, endings."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving import native
from serving.bundle import Bundle
from serving.oip import inference_pb2 as oip
from tests.serving.callers import METHOD, PREFACE, connected, count, make_message, parse
from tests.serving.certificates import make_certificate

pytestmark = pytest.mark.skipif(not native.available(), reason="the C extension is not built here")


def test_many_calls_at_once_on_one_connection_are_each_answered(server: Any) -> None:
    with connected(server) as method:
        infer = method("ModelInfer")
        calls = [infer.future(make_message(1 + number % 5, f"id-{number}"), timeout=60) for number in range(2_000)]
        answers = [parse(call.result()) for call in calls]

    assert [answer.id for answer in answers] == [f"id-{number}" for number in range(2_000)]
    assert [list(answer.outputs[0].shape) for answer in answers[:5]] == [[1], [2], [3], [4], [5]]


def test_long_messages_pass_both_ways_among_short_ones(server: Any) -> None:
    with connected(server, max_receive_message_length=-1) as method:
        infer = method("ModelInfer")
        long = [infer.future(make_message(rows), timeout=60) for rows in (5_000, 20_000, 60_000, 90_000)]
        short = [parse(infer(make_message(1), timeout=60)) for _ in range(50)]
        answers = [parse(call.result()) for call in long]

    assert [len(answer.outputs[0].contents.bytes_contents) for answer in answers] == [5_000, 20_000, 60_000, 90_000]
    assert {tuple(answer.outputs[0].contents.bytes_contents) for answer in short} == {
        (answers[0].outputs[0].contents.bytes_contents[0],)
    }


def test_a_message_above_the_limit_is_refused_and_the_connection_goes_on(server: Any) -> None:
    with connected(server, max_send_message_length=-1) as method:
        with pytest.raises(grpc.RpcError) as refused:
            method("ModelInfer")(bytes(17 << 20), timeout=60)
        after = parse(method("ModelInfer")(make_message(), timeout=60))

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == "the message is larger than 16777216 bytes (it has 17825792)"
    assert list(after.outputs[0].shape) == [1]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_read(server: Any, compression: grpc.Compression) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", compression=compression) as channel:
        answer = parse(channel.unary_unary(METHOD + "ModelInfer")(make_message(300), timeout=60))

    assert list(answer.outputs[0].shape) == [300]


def test_an_unknown_method_and_metadata_too_long_have_their_statuses(server: Any) -> None:
    with connected(server) as method:
        with pytest.raises(grpc.RpcError) as unknown:
            method("Nothing")(b"", timeout=20)
        with pytest.raises(grpc.RpcError) as long:
            method("ServerLive")(b"", timeout=20, metadata=[("x-long", "y" * 20_000)])

    assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert long.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_given_up_and_deadlines_leave_the_server_as_it_was(server: Any) -> None:
    large = make_message(60_000)
    with connected(server) as method:
        infer = method("ModelInfer")
        calls = [infer.future(large, timeout=60) for _ in range(6)]
        late = [infer.future(large, timeout=0.02) for _ in range(6)]
        time.sleep(0.05)
        for call in calls[1:]:
            call.cancel()
        states = {call.exception().code() for call in late}
        first = parse(calls[0].result())
        after = parse(infer(make_message(), timeout=60))
    deadline = time.monotonic() + 20
    while 'headrace_requests_in_flight{model_name="m"} 0' not in httpx.get(f"{server.url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert states == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert len(first.outputs[0].contents.bytes_contents) == 60_000
    assert list(after.outputs[0].shape) == [1]


def test_the_server_itself_ends_a_call_at_its_deadline(run_server: Callable[..., Any], mixed: Bundle) -> None:
    body = struct.pack(">BI", 0, len(large := make_message(60_000))) + large
    h2_connection = pytest.importorskip("h2.connection", reason="h2 is not installed")
    events = pytest.importorskip("h2.events")
    made = h2_connection.H2Connection()
    made.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":path", METHOD + "ModelInfer"), (":authority", "a")]
    head += [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "1m")]
    with run_server(mixed.folder) as running, socket.create_connection(("127.0.0.1", running.grpc_port)) as wire:
        made.send_headers(1, head)
        status = None
        while status is None:
            while body and (room := min(made.local_flow_control_window(1), 16384)) > 0:
                made.send_data(1, body[:room], end_stream=len(body) <= room)
                body = body[room:]
            wire.sendall(made.data_to_send())
            for event in made.receive_data(wire.recv(65536)):
                fields = dict(event.headers) if isinstance(event, events.ResponseReceived) else {}
                status = fields.get(b"grpc-status", status)

    assert status == b"4"


def test_a_bomb_of_gzip_is_refused(server: Any) -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    h2_connection = pytest.importorskip("h2.connection", reason="h2 is not installed")
    head = [(":method", "POST"), (":scheme", "http"), (":path", METHOD + "ModelInfer"), (":authority", "a")]
    head += [("content-type", "application/grpc"), ("te", "trailers")]
    answers = {}
    for encoding in ("gzip", "deflate", "snappy", "identity"):
        made = h2_connection.H2Connection()
        made.initiate_connection()
        made.send_headers(1, [*head, ("grpc-encoding", encoding)])
        body = struct.pack(">BI", 1, len(bomb)) + bomb
        with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=20) as wire:
            while body:
                room = min(made.local_flow_control_window(1), 16384)
                if room:
                    made.send_data(1, body[:room], end_stream=len(body) <= room)
                    body = body[room:]
                wire.sendall(made.data_to_send())
                if not room:
                    made.receive_data(wire.recv(65536))
            while encoding not in answers:
                for event in made.receive_data(wire.recv(65536)):
                    if hasattr(event, "headers"):
                        answers[encoding] = dict(event.headers)

    assert {name: fields[b"grpc-status"] for name, fields in answers.items()} == {
        "gzip": b"8",
        "deflate": b"3",
        "snappy": b"12",
        "identity": b"13",  # flagged as compressed all the same: case 4 of gRPC's compression document
    }
    assert answers["snappy"][b"grpc-accept-encoding"] == b"identity,deflate,gzip"


def test_ordinary_calls_are_counted_as_such(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder) as running, connected(running) as method:
        for _ in range(5):
            method("ModelInfer")(make_message(), timeout=20)
        with pytest.raises(grpc.RpcError):
            method("ModelInfer")(b"\x0a\x01x", timeout=20)
        text = httpx.get(f"{running.url}/metrics").text
        counted = (count(running, "200"), count(running, "404"))

    assert counted == (5, 1)
    assert 'headrace_request_seconds_count{model_name="m",protocol="hot"} 5' in text
    assert 'headrace_rows_total{model_name="m",version="3"} 5' in text


def test_slow_half_open_and_idle_connections_are_ended(run_server: Callable[..., Any], mixed: Bundle) -> None:
    flags = ("--request_timeout", "1", "--idle_timeout", "1")
    with run_server(mixed.folder, *flags) as running, contextlib.ExitStack() as open_:
        address = ("127.0.0.1", running.grpc_port)
        wires = [open_.enter_context(socket.create_connection(address, timeout=20)) for _ in range(4)]
        for wire, data in zip(wires, [b"", PREFACE[:7], PREFACE + b"\0\0", PREFACE], strict=True):
            wire.sendall(data)
        ends = []
        for wire in wires:
            while wire.recv(65536):
                pass
            ends.append(True)

    assert ends == [True] * 4


def _send_for_ever(wire: socket.socket, data: bytes) -> None:
    while True:
        wire.sendall(data)


def test_a_caller_that_reads_nothing_is_cut_off(run_server: Callable[..., Any], mixed: Bundle) -> None:
    """Pings are answered into a socket that nobody reads, until the server stops reading and then gives up."""
    ping = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)
    window = bytes([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    with run_server(mixed.folder, "--request_timeout", "1") as running:
        with socket.create_connection(("127.0.0.1", running.grpc_port), timeout=20) as wire:
            wire.sendall(PREFACE)
            with pytest.raises(OSError):  # noqa: PT011  (reset, broken pipe or time-out: it has ended)
                _send_for_ever(wire, ping * 400 + window * 100)
        after = httpx.get(f"{running.url}/v2/health/ready").status_code

    assert after == 200


def test_thousands_of_idle_connections_leave_calls_as_they_were(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder) as running, contextlib.ExitStack() as open_:
        for _ in range(400):
            wire = open_.enter_context(socket.create_connection(("127.0.0.1", running.grpc_port)))
            wire.sendall(PREFACE)
        with connected(running) as method:
            answer = parse(method("ModelInfer")(make_message(), timeout=20))

    assert list(answer.outputs[0].shape) == [1]


def test_connections_above_the_limit_are_closed(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder, "--max_connections", "2") as running, contextlib.ExitStack() as open_:
        wires = [
            open_.enter_context(socket.create_connection(("127.0.0.1", running.grpc_port), timeout=20))
            for _ in range(3)
        ]
        firsts = [bool(wire.recv(9)) for wire in wires[:2]]
        with contextlib.suppress(ConnectionResetError):
            while wires[2].recv(65536):
                pass
        text = httpx.get(f"{running.url}/metrics").text

    assert firsts == [True, True]
    assert 'headrace_connections_rejected_total{model_name="m"} 1' in text


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_both_transports_give_the_same_answers(
    run_server: Callable[..., Any], mixed: Bundle, transport: str, golden: Callable[..., Any]
) -> None:
    with run_server(mixed.folder, "--grpc_transport", transport) as running, connected(running) as method:
        answers = [method("ModelInfer")(make_message(rows, "a"), timeout=20) for rows in (1, 3, 2_000)]
        ready = method("ServerReady")(b"", timeout=20)
        metadata = method("ModelMetadata")(b"\x0a\x01m", timeout=20)
        with pytest.raises(grpc.RpcError) as refused:
            method("ModelInfer")(b"\xff", timeout=20)

    assert [list(parse(answer).outputs[0].shape) for answer in answers] == [[1], [3], [2_000]]
    assert (ready, oip.ModelMetadataResponse.FromString(metadata).name) == (b"\x08\x01", "m")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "the message is not a ModelInferRequest of the Open Inference Protocol"


@pytest.mark.parametrize("transport", ["native", "grpcio"])
@pytest.mark.parametrize("times", [2, 4_000])
def test_an_output_is_named_once(run_server: Callable[..., Any], mixed: Bundle, transport: str, times: int) -> None:
    message = oip.ModelInferRequest.FromString(make_message())
    for _ in range(times):
        message.outputs.add(name="prediction")

    with run_server(mixed.folder, "--grpc_transport", transport) as running, connected(running) as method:
        with pytest.raises(grpc.RpcError) as refused:
            method("ModelInfer")(message.SerializeToString(), timeout=20)
        running.stop()

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "'prediction' is named twice" in refused.value.details()


def test_ordinary_calls_load_neither_grpcio_nor_protobuf(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder) as running, connected(running) as method:
        method("ModelInfer")(make_message(), timeout=20)
        maps = Path(f"/proc/{running.process.pid}/maps")
        before = maps.read_text()
        method("ServerLive")(b"", timeout=20)
        after = maps.read_text()

    assert "_native" in before
    assert "cygrpc" not in after
    assert ("_upb" in before, "_upb" in after) == (False, True)


def test_without_the_extension_and_grpcio_the_start_is_refused_with_the_remedy(
    start_refused: Callable[..., tuple[int, str]], mixed: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "grpc.py").write_text("raise ImportError('not installed')")
    code, reason = start_refused(mixed.folder, "--grpc_transport", "grpcio", PYTHONPATH=str(tmp_path))

    assert code != 0
    assert "install headrace[grpcio], or give --enable_grpc false" in reason


def test_a_log_line_of_a_call_carries_its_request_id(run_server: Callable[..., Any], mixed: Bundle) -> None:
    with run_server(mixed.folder, "--access_log_sample", "1") as running, connected(running) as method:
        metadata = [("x-request-id", "abc-7"), ("traceparent", f"00-{'4b' * 16}-{'7d' * 8}-01")]
        method("ModelInfer")(make_message(), timeout=20, metadata=metadata)
        line = running.wait_for("request")

    assert (line["protocol"], line["id"], line["status"]) == ("grpc", "abc-7", 200)
    assert (line["trace_id"], line["span_id"]) == ("4b" * 16, "7d" * 8)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_with_prior_knowledge_hears_that_this_is_grpc(server: Any) -> None:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--http2-prior-knowledge"]
    url = f"http://127.0.0.1:{server.grpc_port}/"
    answers = [
        subprocess.run([*command, *extra, url], capture_output=True, text=True, timeout=30).stdout
        for extra in ([], ["-d", "x"])
    ]
    if not answers[0].startswith("2"):
        pytest.skip("this curl speaks no HTTP/2")

    assert answers == ["2 405", "2 415"]


def test_tls_takes_a_renewed_certificate_without_a_restart(
    run_server: Callable[..., Any], mixed: Bundle, tmp_path: Path
) -> None:
    def ask() -> Any:
        credentials = grpc.ssl_channel_credentials((tmp_path / "tls.crt").read_bytes())
        with grpc.secure_channel(f"localhost:{running.grpc_port}", credentials) as channel:
            return parse(channel.unary_unary(METHOD + "ModelInfer")(make_message(5_000), timeout=5))

    make_certificate(tmp_path, "first")
    flags = ("--tls_certificate", str(tmp_path / "tls.crt"), "--tls_key", str(tmp_path / "tls.key"))
    with run_server(mixed.folder, *flags) as running:
        first = ask()
        make_certificate(tmp_path, "second")
        second = None
        deadline = time.monotonic() + 30
        while second is None and time.monotonic() < deadline:
            with contextlib.suppress(grpc.RpcError):
                second = ask()

    assert list(first.outputs[0].shape) == [5_000]
    assert second == first


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "m"])
def test_the_health_checking_protocol_is_spoken(server: Any, service: str) -> None:
    asked = b"" if not service else b"\x0a%c%s" % (len(service), service.encode())
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = check(asked, timeout=20)
        with pytest.raises(grpc.RpcError) as unknown:
            check(b"\x0a\x03abc", timeout=20)

    assert answer == b"\x08\x01"
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("place", ["message", "input", "output"])
@pytest.mark.parametrize(
    ("name", "told"), [("shared_memory_region", "no shared memory"), ("classification", "probabilities")]
)
def test_parameters_that_change_what_an_answer_means_are_refused(server: Any, place: str, name: str, told: str) -> None:
    message = oip.ModelInferRequest.FromString(make_message())
    asked = message.outputs.add(name="prediction")
    of = {"message": message, "input": message.inputs[0], "output": asked}[place]
    of.parameters[name].string_param = "region"
    with connected(server) as method, pytest.raises(grpc.RpcError) as refused:
        method("ModelInfer")(message.SerializeToString(), timeout=20)
    tensors = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]
    document: dict[str, Any] = {"inputs": tensors, "outputs": [{"name": "prediction"}]}
    {"message": document, "input": tensors[0], "output": document["outputs"][0]}[place]["parameters"] = {name: "r"}
    rest = httpx.post(f"{server.url}/v2/models/m/infer", json=document)

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"parameters.{name}" in str(refused.value.details())
    assert told in str(refused.value.details())
    assert (rest.status_code, told in rest.json()["error"]) == (400, True)
