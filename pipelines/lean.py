"""KFP without its API client: what the laptop's verbs import, at a third of the CPU time.

`import kfp` loads the client of the KFP server with all of Kubernetes' and Google's libraries behind it. Compiling and
running on a laptop talk to no server, so an empty module takes its place; verbs that do talk to one never call this.
"""

import sys
import types


def stub_client() -> None:
    """Put an empty `kfp.client` in place, unless the real one is loaded already."""
    if "kfp.client" not in sys.modules:
        stand_in = types.ModuleType("kfp.client")
        stand_in.Client = None  # type: ignore[attr-defined]  # kfp/__init__ imports this name
        sys.modules["kfp.client"] = stand_in
