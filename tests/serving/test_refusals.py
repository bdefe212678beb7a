"""A server that cannot vouch for its bundle does not start, and says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving import bundle as bundles
from serving.bundle import Bundle

Start = Callable[..., tuple[int, str]]


@pytest.fixture
def copy(reseal: Callable[..., Bundle], mixed: Bundle, tmp_path: Path) -> Bundle:
    return reseal(mixed, tmp_path / "copy", "3")


def _changed(bundle: Bundle, name: str, change: Callable[[Any], None]) -> None:
    document = bundle.json(name)
    change(document)
    (bundle.folder / name).write_text(json.dumps(document))


def test_a_changed_file_is_refused(start_refused: Start, copy: Bundle) -> None:
    with (copy.folder / bundles.CARD).open("a") as card:
        card.write("!")

    code, reason = start_refused(copy.folder)

    assert code == 1
    assert "card.md does not match its digest" in reason


def test_a_missing_file_is_refused(start_refused: Start, copy: Bundle) -> None:
    (copy.folder / bundles.MODEL).unlink()

    assert start_refused(copy.folder)[1].endswith("lacks model.onnx: publish it again")


@pytest.mark.parametrize("name", [bundles.GOLDEN, bundles.REFERENCE, bundles.METRICS])
@pytest.mark.parametrize("content", ["{", "[1]", '"text"', '{"columns": [1], "predictions": 3, "requests": 1}'])
def test_a_sealed_file_that_holds_something_else_is_refused_by_its_name(
    start_refused: Start, copy: Bundle, name: str, content: str
) -> None:
    (copy.folder / name).write_text(content)
    bundles.seal(copy)
    if name == bundles.METRICS and content.startswith('{"'):
        pytest.skip("nothing that serves depends on what the figures are")

    code, reason = start_refused(copy.folder)

    assert code == 1
    assert f"{name} is not readable" in reason
    assert "publish it again" in reason


def test_a_newer_format_is_refused(start_refused: Start, copy: Bundle) -> None:
    _changed(copy, bundles.MANIFEST, lambda document: document.update(format=99))

    assert "has format 99, this server reads up to 1: upgrade the server" in start_refused(copy.folder)[1]


def test_another_digest_than_the_one_asked_for_is_refused(start_refused: Start, copy: Bundle) -> None:
    code, reason = start_refused(copy.folder, "--bundle_digest", "0" * 64)

    assert code == 1
    assert "does not match its digest (expected 000000000000…" in reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: one.update(predictions=["maybe"] * len(one["predictions"])), "expected 'maybe', got "),
        (lambda one: one["probabilities"][0].reverse(), "expected probabilities"),
        (lambda one: one["instances"][0].pop("age"), "a golden request does not fit the schema: instances[0]: lacks"),
    ],
)
def test_a_bundle_that_does_not_reproduce_its_goldens_is_refused(
    start_refused: Start, copy: Bundle, change: Callable[[Any], None], reason: str
) -> None:
    _changed(copy, bundles.GOLDEN, lambda document: change(document["requests"][0]))
    sealed = bundles.seal(copy)

    code, message = start_refused(sealed.folder)

    assert code == 1
    assert "does not reproduce its golden requests" in message
    assert reason in message


def test_a_bundle_without_goldens_is_refused(start_refused: Start, copy: Bundle) -> None:
    _changed(copy, bundles.GOLDEN, lambda document: document.update(requests=[]))

    assert "holds no rows to prove it with" in start_refused(bundles.seal(copy).folder)[1]


@pytest.mark.parametrize("name", [bundles.TABLE, bundles.MODEL])
def test_a_model_that_cannot_be_read_is_refused(start_refused: Start, copy: Bundle, name: str) -> None:
    (copy.folder / name).write_bytes(b"not a model")
    evaluator = "table" if name == bundles.TABLE else "onnx"

    code, reason = start_refused(bundles.seal(copy).folder, "--evaluator", evaluator)

    assert code == 1
    assert name in reason
    assert "publish it again" in reason


def test_a_folder_that_is_no_bundle_is_refused(start_refused: Start, tmp_path: Path) -> None:
    code, reason = start_refused(tmp_path / "nothing")

    assert code == 1
    assert reason.endswith("publish it again or name another folder")


def test_a_table_is_insisted_on_only_where_there_is_one(start_refused: Start, unfolded: Bundle) -> None:
    assert "the bundle has no model.table" in start_refused(unfolded.folder, "--evaluator", "table")[1]


def test_a_taken_port_is_told(start_refused: Start, server: Any, mixed: Bundle) -> None:
    for flag, port in (("--http_port", server.http_port), ("--grpc_port", server.grpc_port)):
        code, reason = start_refused(mixed.folder, flag, str(port))

        assert code == 1
        assert f"127.0.0.1:{port}" in reason


def test_keys_that_cannot_be_read_stop_the_start(start_refused: Start, mixed: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("alice:short\n")

    code, reason = start_refused(mixed.folder, "--api_keys", str(tmp_path / "keys"))

    assert code == 1
    assert "line 1: expected name:key with a key of at least 8 characters" in reason
