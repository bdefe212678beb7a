"""What a process gives back to the system once a model is loaded: most of what loading needed is never used again."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

MAPS = Path("/proc/self/maps")
LIBRARIES = ("/onnxruntime/", "/numpy")
"""Their code runs mostly while a graph is read and optimised: some 12 MB of it stay mapped without this."""
MADV_DONTNEED = 4


def give_back() -> None:
    """Return freed memory, and code that was mapped for loading only, to the system; a no-op where that is not Linux.

    Reading a forest into ONNX Runtime frees some 30 MB that glibc would keep. Code pages are clean and come back
    from the page cache when they are needed.
    """
    system = ctypes.CDLL(None)
    trim = getattr(system, "malloc_trim", None)
    if trim is None:
        return
    trim(0)
    for start, end in code_of(LIBRARIES):
        system.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)


def trim() -> None:
    """Return freed memory to the system, after a large request; a no-op where the allocator cannot."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)


def code_of(libraries: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last address of the loaded code of libraries: mapped from a file and never writable."""
    if not MAPS.exists():
        return
    for line in MAPS.read_text().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[1] == "r-xp" and any(library in parts[5] for library in libraries):
            first, _, last = parts[0].partition("-")
            yield int(first, 16), int(last, 16)
