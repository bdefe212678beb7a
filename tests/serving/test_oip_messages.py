"""The gRPC messages are generated from the committed .proto, and are KServe's on the wire."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROTO = "serving/oip/inference.proto"


def _compile(folder: Path) -> Any:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", f"--python_out={folder}"]
    command += [f"--descriptor_set_out={folder / 'set'}", PROTO]
    subprocess.run(command, check=True, cwd=ROOT)
    return FileDescriptorSet.FromString((folder / "set").read_bytes()).file[0]


def test_the_generated_messages_are_the_committed_ones(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    _compile(tmp_path)

    generated = (tmp_path / "serving/oip/inference_pb2.py").read_text()
    generated = generated.replace("_descriptor_pool.Default()", "_descriptor_pool.DescriptorPool()")
    assert generated == (ROOT / "serving/oip/inference_pb2.py").read_text()


def test_every_message_is_kserve_s_on_the_wire(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    theirs = pytest.importorskip("kserve.protocol.grpc.grpc_predict_v2_pb2")
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    reference = FileDescriptorProto()
    theirs.DESCRIPTOR.CopyToProto(reference)
    ours = _compile(tmp_path)

    known = {message.name: _fields(message) for message in reference.message_type}
    assert ours.package == reference.package
    for message in ours.message_type:
        assert _fields(message) == known[message.name]


def _fields(message: Any) -> list[Any]:
    own = sorted((field.number, field.name, field.type, field.label, field.type_name) for field in message.field)
    return [own, *sorted((inner.name, _fields(inner)) for inner in message.nested_type)]
