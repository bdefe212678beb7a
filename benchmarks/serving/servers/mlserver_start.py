"""MLServer with its scikit-learn runtime, without parallel workers (which cost it more than they give on one core).

python mlserver_start.py MODEL_FILE MODEL_NAME HTTP_PORT GRPC_PORT
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from mlserver.cli import main

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    model, name, http, grpc = sys.argv[1:5]
    settings = {"host": "127.0.0.1", "http_port": int(http), "grpc_port": int(grpc), "metrics_endpoint": None}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "debug": False}))
    runtime = {"name": name, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": model}}
    (folder / "model-settings.json").write_text(json.dumps(runtime))
    sys.argv = ["mlserver", "start", str(folder)]
    main()
