"""The errors whose cause is the person's input; the command line answers them with their exit code, not a trace."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from pathlib import Path


class InputError(ValueError):
    """The data, a path or an option that a person gave cannot be used; the message says what to change."""

    exit_code = 2


def meant(given: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean 'left'?)` for what is close to one of the choices; empty when nothing is."""
    import difflib

    known = {choice.casefold().strip(): choice for choice in choices}
    close = difflib.get_close_matches(given.casefold().strip(), known, 1, 0.7)
    return f" (did you mean {known[close[0]]!r}?)" if close else ""


@contextlib.contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Turn "no space left" into a message that names the folder and the remedy; other errors pass.

    Raises:
        InputError: The disk or the quota of the folder is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"the disk is full: nothing more can be written to {folder}; free some space there, or point HEADRACE_HOME "
            "and TMPDIR to a larger disk, and run again"
        ) from error
