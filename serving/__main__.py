"""`python -m serving`: the server; `python -m serving batch`: the same predictions for a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from serving import logs, options
from serving.bundle import BundleError

log = logging.getLogger("serving")


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of a command line."""
    if arguments[:1] == ["batch"]:
        from serving.batch import main as batch

        return batch(arguments[1:])
    chosen = options.parse(arguments)
    logs.configure(chosen.log_format)
    import uvloop

    from serving.lifecycle import run

    try:
        return int(uvloop.run(run(chosen)))
    except (BundleError, OSError, ValueError) as error:
        log.error("refused to start: %s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
