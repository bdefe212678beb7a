"""This project's server with its C connection, and in place of the work on a request the bytes of a file.

What is left of a request is what no server on this stack can do without: the event loop, one read, one write.

python echo_wire.py EXTENSION V1_ANSWER_FILE V2_ANSWER_FILE GRPC_ANSWER_FILE [OPTIONS OF THE SERVER]
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys


def use_extension(path: str) -> None:
    """Make `serving.native` find this build of the extension."""
    spec = importlib.util.spec_from_file_location("serving.native._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["serving.native._native"] = module


if __name__ == "__main__":
    use_extension(sys.argv.pop(1))
    for name in ("ECHO_V1", "ECHO_V2", "ECHO_GRPC"):  # constant.c reads them
        os.environ[name] = sys.argv.pop(1)
    runpy.run_module("serving", run_name="__main__", alter_sys=True)
