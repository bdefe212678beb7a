"""Builds the images with docker or podman, and proves the serving image with a real bundle as production runs it.

python tests/tools/images.py build [--base IMAGE] [--prefix headrace] [--push] [--record FILE] [STEP ...]
python tests/tools/images.py prove BUNDLE [--prefix headrace]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORT = 18082
HARDENED = [
    "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65532:65532",
    "--tmpfs=/tmp", "--memory=512m", "--pids-limit=256",
]  # fmt: skip


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build serving, mlflow and the steps")
    build.add_argument("step", nargs="*", help="only these; serving and mlflow count as steps")
    build.add_argument("--base", default="debian:bookworm-slim", help="any Debian 12 with its package sources")
    build.add_argument("--push", action="store_true", help="push each one")
    build.add_argument("--record", type=Path, metavar="FILE", help="write the digests, as components/images.json")
    prove = verbs.add_parser("prove", help="run the serving image with a bundle and ask it its golden requests")
    prove.add_argument("bundle", type=Path)
    for verb in (build, prove):
        usual = os.environ.get("HEADRACE_IMAGE_PREFIX", "headrace")
        verb.add_argument("--prefix", default=usual, help="what stands before the name of an image [%(default)s]")
        verb.add_argument("--tag", default="0.1.0")
    chosen = parser.parse_args()
    engine = shutil.which("docker") or shutil.which("podman")
    if engine is None:
        sys.exit("needs docker or podman")
    try:
        if chosen.verb == "build":
            build_all(engine, chosen)
            return 0
        return prove_serving(engine, f"{chosen.prefix}/serving:{chosen.tag}", chosen.bundle.resolve())
    except subprocess.CalledProcessError as error:  # the engine has said why
        sys.exit(
            f"images: `{' '.join(map(str, error.cmd))}` ended with {error.returncode}; {error.stderr or 'see above'}"
        )


def steps() -> list[str]:
    """Return the names of all images: the two servers, then every folder with a component."""
    found = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))
    return ["serving", "mlflow", *found]


def build_all(engine: str, chosen: argparse.Namespace) -> None:
    """Build, and push and record digests if asked to; HEADRACE_BUILD_OPTIONS goes to the engine as it is."""
    pushed: dict[str, str] = {}
    for step in chosen.step or steps():
        name = f"{chosen.prefix}/{step}:{chosen.tag}"
        file = "serving/Dockerfile" if step == "serving" else "components/Dockerfile"
        kind = {"serving": [], "mlflow": ["--target=mlflow"]}.get(step, [f"--build-arg=STEP={step}"])
        extra = os.environ.get("HEADRACE_BUILD_OPTIONS", "").split()
        command = [
            engine,
            "build",
            f"--file={file}",
            f"--build-arg=BASE={chosen.base}",
            *kind,
            *extra,
            f"--tag={name}",
            ".",
        ]
        subprocess.run(command, check=True, cwd=ROOT)
        if chosen.push:
            subprocess.run([engine, "push", name], check=True)
            asked = [engine, "inspect", "--format={{index .RepoDigests 0}}", name]
            pushed[step] = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        print(pushed.get(step, name), flush=True)
    if chosen.record:
        chosen.record.write_text(json.dumps(pushed, indent=1, sort_keys=True) + "\n")


def prove_serving(engine: str, image: str, bundle: Path) -> int:
    """Return 0 when a container under the production security context answers every golden request as at training."""
    model = json.loads((bundle / "bundle.json").read_bytes())["model"]
    command = [engine, "run", "--rm", "--detach", *HARDENED, f"--publish=127.0.0.1:{PORT}:8080"]
    command += [f"--volume={bundle}:/mnt/models:ro", image, f"--model_name={model}", "--model_dir=/mnt/models"]
    container = subprocess.run([*command, "--host=0.0.0.0"], check=True, capture_output=True, text=True).stdout.strip()
    try:
        return ask_goldens(model, json.loads((bundle / "golden.json").read_bytes()))
    finally:
        subprocess.run([engine, "stop", container], check=False, capture_output=True)


def ask_goldens(model: str, golden: dict[str, list[dict[str, object]]]) -> int:
    """Ask every golden request; the first one waits for the server."""
    deadline = time.monotonic() + 60
    for request in golden["requests"]:
        body = json.dumps({"instances": request["instances"]}).encode()
        url = f"http://127.0.0.1:{PORT}/v1/models/{model}:predict"
        while True:
            try:
                with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
                    answer = json.load(response)["predictions"]
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        if answer != request["predictions"]:
            print(f"{answer} is not {request['predictions']}")
            return 1
    print(f"{model}: {len(golden['requests'])} golden requests answered as at training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
