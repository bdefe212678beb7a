"""What is given back after loading is code that comes back when it is called, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from serving.memory import MAPS, code_of, give_back

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="needs Linux")


def test_only_code_of_the_libraries_is_found() -> None:
    found = list(code_of(("libm.so", "libm-")))
    writable = [line for line in Path(MAPS).read_text().splitlines() if line.split()[1][1] == "w"]
    starts = {int(line.split("-")[0], 16) for line in writable}

    assert found
    assert all(first < last and first not in starts for first, last in found)
    assert list(code_of(("/no such library/",))) == []


def test_code_that_was_given_back_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.memory.LIBRARIES", ("libm.so", "libm-", "libpython"))
    before = [math.gamma(number / 7) for number in range(1, 200)]

    give_back()

    assert [math.gamma(number / 7) for number in range(1, 200)] == before
