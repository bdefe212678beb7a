"""A damaged or foreign table is refused with a reason; whatever its bytes, nothing crashes."""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import Any

import pytest

from serving import native

NAMES = ("logistic", "forest", "voting", "svm", "boosting", "regression")


def _checked(data: bytes) -> bytes:
    """Return the bytes with the length and the checksum they need to be looked at any further."""
    body = data[24:]
    return data[:12] + struct.pack("<IQ", zlib.crc32(body), 24 + len(body)) + body


def _refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the message is what the test looks at)
        native.table(data)
    assert type(caught.value).__name__ == "TableError"
    return str(caught.value)


def test_refuses_bytes_that_are_no_table() -> None:
    assert _refusal(b"") == "not a model table"
    assert _refusal(b"PK\3\4" + bytes(100)) == "not a model table"


def test_refuses_a_newer_format(folded: dict[str, Any]) -> None:
    data = folded["logistic"].data

    assert "format version" in _refusal(data[:8] + struct.pack("<I", 2) + data[12:])


@pytest.mark.parametrize("name", NAMES)
def test_refuses_every_cut(name: str, folded: dict[str, Any]) -> None:
    data = folded[name].data
    for size in sorted({*range(32), *range(32, len(data), max(1, len(data) // 400)), len(data) - 1}):
        assert _refusal(data[:size])
        if size >= 32:
            assert _refusal(_checked(data[:size]))


def test_refuses_bytes_after_the_end(folded: dict[str, Any]) -> None:
    data = folded["forest"].data

    assert "after its end" in _refusal(data + b"\0")
    assert "after its model" in _refusal(_checked(data + b"\0"))


@pytest.mark.parametrize("name", NAMES)
def test_refuses_a_single_flipped_bit(name: str, folded: dict[str, Any]) -> None:
    data = bytearray(folded[name].data)
    for position in range(0, len(data), max(1, len(data) // 300)):
        data[position] ^= 4
        assert _refusal(bytes(data))
        data[position] ^= 4


@pytest.mark.parametrize("name", NAMES)
def test_survives_every_field_at_its_extremes(name: str, folded: dict[str, Any]) -> None:
    """With a right checksum the content itself is on trial: it is refused, or it is scored without harm."""
    data = folded[name].data
    row = array("d", [float("nan")] * 6)
    for position in range(24, len(data) - 4, max(4, len(data) // 700 * 4)):
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            changed = data[:position] + struct.pack("<I", value) + data[position + 4 :]
            try:
                table = native.table(_checked(changed))
            except ValueError:
                continue
            if table.columns == 6:
                assert len(table.score(row, 1)) == 8 * table.width


def test_refuses_a_buffer_of_another_size(folded: dict[str, Any]) -> None:
    table = native.table(folded["forest"].data)

    for size, rows in ((47, 1), (48, 2), (48, 0), (96, 1), (48, -1), (48, 2**62)):
        with pytest.raises(ValueError, match=f"got {size} bytes"):
            table.score(bytes(size), rows)


def test_refuses_an_unaligned_buffer(folded: dict[str, Any]) -> None:
    table = native.table(folded["forest"].data)

    with pytest.raises(ValueError, match="aligned"):
        table.score(memoryview(bytes(49))[1:], 1)


def test_scores_no_rows(folded: dict[str, Any]) -> None:
    assert native.table(folded["forest"].data).score(b"", 0) == b""
