"""`python -m benchmarks.serving`: this project's server and its peers, side by side, in interleaved rounds on one core.

Every round starts each server anew, so cold starts are measured as often as throughput. Compare the ratios: absolute
figures are those of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving import measure, report, sizes
from benchmarks.serving.models import NAME, RECIPES, Served, prepare
from benchmarks.serving.peers import DEFAULT, PEERS, SEPARATE, SERVERS, Peer

CONNECTIONS = (16, 1)
PAIRS = 8
ECHO_EXTENSION = "echo.so"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument(
        "--peers", nargs="*", choices=names, default=list(DEFAULT), help="which servers [all but --with]"
    )
    parser.add_argument(
        "--with", dest="separate", nargs="*", choices=SEPARATE, default=[], help="servers that need a venv"
    )
    parser.add_argument("--models", nargs="*", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--protocols", nargs="*", choices=("V1", "V2", "gRPC"), default=["V1", "V2", "gRPC"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one window")
    parser.add_argument("--realtime", action="store_true", help="real-time priority (root, busy machines)")
    parser.add_argument(
        "--folder", type=Path, default=Path(".headrace/benchmarks"), help="for models, venvs and results"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure, write results.md, readme.md and results.json, and return the exit code."""
    options = parse(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [peer for peer in PEERS if peer.name in {*options.peers, *options.separate}]
    results = report.Results()
    pythons = {peer.name: _python(peer, folder, results) for peer in chosen}
    chosen = [peer for peer in chosen if peer.name not in results.absent]
    client = measure.build_client(folder)
    build_echo(folder)
    served = {name: prepare(name, folder / name) for name in options.models}
    for turn in range(options.rounds):
        for model in served.values():
            for peer in chosen:
                print(f"round {turn + 1}: {model.name}, {peer.title}", file=sys.stderr)
                _measure(peer, model, pythons[peer.name], client, options, folder, results)
    echoes = [peer for peer in chosen if peer.name in report.ECHOES]
    if echoes and "ours" in {peer.name for peer in chosen}:
        for model in served.values():
            _compare_with_echoes(echoes, model, client, options, folder, results)
    _measure_sizes(chosen, folder, results)
    about = {"machine": _machine(options), "models": {name: _about(model) for name, model in served.items()}}
    text = report.markdown(results, options.models, chosen, about)
    block = report.summary(results, options.models, chosen)
    (folder / "results.md").write_text(text)
    (folder / "readme.md").write_text(block + "\n")
    (folder / "results.json").write_text(json.dumps(report.as_json(results, options.models, about), indent=1))
    print(text)
    print(f"## For the README ({options.models[0]})", "", block, sep="\n")
    return 0


def build_echo(folder: Path) -> None:
    """Compile this server's extension with a constant (constant.c) in place of the work on a request."""
    native = Path(__file__).parents[2] / "serving" / "native"
    sources = [*sorted(native.glob("*.c")), SERVERS / "constant.c"]
    flags = ["-O3", "-std=c11", "-fPIC", "-shared", "-fno-math-errno", "-ffp-contract=off", "-fvisibility=hidden"]
    include = [f"-I{sysconfig.get_path('include')}", f"-I{native}"]
    wrap = ["-Wl,--wrap=fast_answer", "-Wl,--wrap=infer_answer"]
    command = ["cc", *flags, *include, *map(str, sources), *wrap, "-o", str(folder / ECHO_EXTENSION), "-lm"]
    subprocess.run(command, check=True)


def _python(peer: Peer, folder: Path, results: report.Results) -> str:
    """Return the interpreter of a peer, after making its own environment where it needs one."""
    if not peer.venv:
        return sys.executable
    home = folder / f"venv-{peer.venv}"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        print(f"installing {peer.title}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *peer.requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            results.absent[peer.name] = (
                "could not be installed: " + (done.stderr.strip().splitlines() or ["?"])[-1][:200]
            )
            return sys.executable
        (home / "ready").touch()
    return str(python)


def _command(peer: Peer, served: Served, python: str, ports: tuple[int, int], folder: Path) -> list[str]:
    """Return the command line of a server; the echo gets the very bytes this project's server gave."""
    if peer.name == report.ECHO:
        files = [str(folder / f"{served.name}.{kind}") for kind in ("V1", "V2", "gRPC")]
        return [sys.executable, str(SERVERS / "echo.py"), *map(str, ports), *files]
    command = peer.command(served, *ports)
    if peer.name == report.WIRE:
        answers = [f"{served.name}.{protocol}" for protocol in ("V1", "V2", "gRPC")]
        extension, *answers = (str(folder / name) for name in (ECHO_EXTENSION, *answers))
        return [sys.executable, str(SERVERS / "echo_wire.py"), extension, *answers, *command[3:]]
    if peer.venv:
        return [python, *(command if command[0] == "-m" else command[1:])]
    return command


def _measure(
    peer: Peer,
    served: Served,
    python: str,
    client: Path,
    options: argparse.Namespace,
    folder: Path,
    results: report.Results,
) -> None:
    """One server, one round: start, all windows, memory."""
    ports = measure.free_ports()
    log = folder / f"{peer.name}.log"
    try:
        command = _command(peer, served, python, ports, folder)
        with measure.started(peer, command, ports, served, log, realtime=options.realtime) as server:
            results.cold_start.setdefault((served.name, peer.name), []).append(server.cold_start)
            for ask in peer.asks:
                if ask.protocol not in options.protocols:
                    continue
                if peer.name not in report.ECHOES or ask.protocol == "V1":
                    measure.check(ask, served, server)
                for connections in CONNECTIONS:
                    load = measure.load(
                        client,
                        ask,
                        served,
                        server,
                        connections=connections,
                        seconds=max(1.0, options.seconds) if peer.name == report.STOCK else options.seconds,
                        warm=options.seconds / 3,
                        realtime=options.realtime,
                    )
                    results.add((served.name, peer.name, ask.protocol, connections), load)
            results.pss_mb.setdefault((served.name, peer.name), []).append(server.pss_mb())
            if peer.name == "ours":
                _keep_answers(peer, served, server, folder)
    except (RuntimeError, AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"{peer.name}: {error}", file=sys.stderr)
        results.absent[peer.name] = str(error).splitlines()[-1][:200]


def _keep_answers(peer: Peer, served: Served, server: measure.Running, folder: Path) -> None:
    """Write this server's answers for the echo."""
    for ask in peer.asks:
        request = ask.request(served)
        path = folder / f"{served.name}.{ask.protocol}"
        if ask.grpc:
            path.write_bytes(measure.exchange_grpc(server.grpc_port, request))
        else:
            path.write_bytes(measure.exchange(server.http_port, request))


def _compare_with_echoes(
    echoes: Sequence[Peer],
    served: Served,
    client: Path,
    options: argparse.Namespace,
    folder: Path,
    results: report.Results,
) -> None:
    """Take windows of this server and of its echoes in turn: a share of 90 % drowns in the noise between rounds."""
    print(f"in turn: {served.name}, this server and its echoes", file=sys.stderr)
    ours = next(peer for peer in PEERS if peer.name == "ours")
    with contextlib.ExitStack() as stack:
        running = {}
        for peer in (ours, *echoes):
            ports = measure.free_ports()
            command = _command(peer, served, sys.executable, ports, folder)
            log = folder / f"{peer.name}.log"
            start = measure.started(peer, command, ports, served, log, realtime=options.realtime)
            running[peer.name] = stack.enter_context(start)
        asks = [ask for ask in ours.asks if ask.protocol in options.protocols]
        for ask, connections in itertools.product(asks, CONNECTIONS):
            compared = [peer for peer in echoes if peer.name == report.WIRE or not ask.grpc]
            for _ in range(PAIRS):
                seen = {
                    name: measure.load(
                        client,
                        ask,
                        served,
                        server,
                        connections=connections,
                        seconds=options.seconds / 3,
                        warm=0.05,
                        realtime=options.realtime,
                    )
                    for name, server in running.items()
                    if name in {ours.name, *(peer.name for peer in compared)}
                }
                for peer in compared:
                    key = (served.name, peer.name, ask.protocol, connections)
                    results.compare(key, seen[ours.name], seen[peer.name])


def _measure_sizes(chosen: Sequence[Peer], folder: Path, results: report.Results) -> None:
    own = sizes.folder_mb(Path(__file__).parents[2] / "serving")
    for peer in chosen:
        if peer.venv:
            results.size_mb[peer.name] = sizes.folder_mb(folder / f"venv-{peer.venv}")
        else:
            results.size_mb[peer.name] = sizes.installed_mb(peer.roots) + (own if peer.name.startswith("ours") else 0)


def _about(served: Served) -> str:
    if not served.trees:
        return "scaling, one-hot and a linear model, one row per request"
    return f"{served.trees} trees, {served.leaves / served.trees:.0f} leaves each, one row per request"


def _machine(options: argparse.Namespace) -> str:
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; server on core "
        f"{measure.SERVER_CORE}, client on core {measure.CLIENT_CORE}; medians of {options.rounds} interleaved rounds "
        f"of {options.seconds:g} s; model `{NAME}`."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
