"""The command line of the pipelines: `python -m pipelines VERB --help`.

Exit codes: 0 done (for run: accepted and served), 1 failed, 2 wrong input or usage, 3 finished but not accepted, 130
and 143 stopped by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError
from pipelines.lean import stub_client
from pipelines.local.slots import cores

FAILURE, USAGE = 1, 2
EXAMPLES = {"least": "roc_auc=0.8", "most": "ece=0.1"}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    from pipelines.local.signals import Interrupted

    stub_client()
    options = _parser().parse_args(arguments)
    home = Path(os.environ.get("HEADRACE_HOME", ".headrace")).absolute()
    try:
        return int(options.verb(options, home))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except Interrupted as stopped:
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read it, such as head, has enough
        return FAILURE
    except Exception as error:
        if not _is_told(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return FAILURE


def _is_told(error: Exception) -> bool:
    """Return whether the message of an error says all a person needs."""
    from components.releases import ReleaseError
    from components.settings import SettingsError
    from components.store import StoreError
    from pipelines.local.seams import SeamMoved
    from pipelines.local.services import ServiceError

    return isinstance(error, OSError | ReleaseError | SeamMoved | ServiceError | SettingsError | StoreError)


def release() -> str:
    """Return the version of the project, with the commit where there is one."""
    from importlib import metadata

    code = os.environ.get("HEADRACE_CODE_VERSION", "")
    return metadata.version("headrace") + (f" ({code})" if code else "")


def _say(line: str) -> None:
    print(line, flush=True)


def _run(options: argparse.Namespace, home: Path) -> int:
    from pipelines.local import choice, index, progress, summary
    from pipelines.local.run import run
    from pipelines.local.signals import Interrupted

    wanted = choice.Wanted(
        use_case="csv" if options.csv and options.use_case is None else options.use_case,
        source=options.csv or options.source,
        target=options.target,
        model=options.model,
        overrides=options.override,
        candidates=tuple(options.candidate or ()),
        seed=options.seed,
        bars=tuple(_bars(options)),
        resume=options.resume,
        workers=options.workers,
    )
    show = progress.best()
    try:
        done = run(choice.order(wanted, home), show)
    except Interrupted as stopped:
        show.say("stopped; `run --resume` goes on where it was")
        return 128 + stopped.number
    index.write(done)
    for line in summary.closing(done):
        show.say(line)
    return summary.exit_code(done)


def _bars(options: argparse.Namespace) -> Iterator[str]:
    for sign, given in ((">=", options.at_least), ("<=", options.at_most)):
        for text in given or ():
            yield sign.join(text.split("=", 1))


def _compile(options: argparse.Namespace, home: Path) -> int:
    from pipelines import compiling

    path = compiling.write(options.output or compiling.FOLDER)
    if not options.quiet:
        print(path)
    return 0


def _validate(options: argparse.Namespace, home: Path) -> int:
    from pipelines import ir, validation

    failed = False
    for path in options.file:
        try:
            findings = validation.check(ir.load(path))
        except ir.Unreadable as error:
            print(f"{validation.REFUSED}: {error}")
            failed = True
            continue
        bad = [finding for finding in findings if finding.level in (validation.REFUSED, validation.DIFFERS)]
        failed = failed or bool(bad)
        print(f"{path}: {'not usable' if bad else 'ok'}")
        for finding in findings:
            print(f"  {finding}")
    return FAILURE if failed else 0


def _list(options: argparse.Namespace, home: Path) -> int:
    from pipelines.local import catalogue
    from pipelines.local.signals import interruptible

    with interruptible():
        for line in catalogue.lines(options.what, home, options.model):
            print(line)
    return 0


def _show(options: argparse.Namespace, home: Path) -> int:
    from pipelines.local import choice, summary

    for line in summary.shown(choice.find(home, options.run)):
        print(line)
    return 0


def _fetch(options: argparse.Namespace, home: Path) -> int:
    from pipelines.local import catalogue
    from pipelines.local.signals import interruptible

    folder = options.output or home / "fetched" / f"{options.model}-{options.version[:12]}"
    with interruptible():
        print(catalogue.fetch(home, options.model, options.version, folder))
    return 0


def _serve(options: argparse.Namespace, home: Path) -> int:
    from pipelines.local import server
    from pipelines.local.signals import interruptible

    with interruptible():
        server.serve(home, options.model, options.http_port, options.grpc_port, _say)


def _stop(options: argparse.Namespace, home: Path) -> int:
    from pipelines.local import server

    for ended in server.stop(home) or ["nothing was running"]:
        print(ended if ended.startswith("nothing") else f"stopped the {ended}")
    return 0


def _ui(options: argparse.Namespace, home: Path) -> int:
    from pipelines.local import server
    from pipelines.local.signals import interruptible

    with interruptible():
        return server.ui(home, options.port, _say, options.model)


def _parser() -> argparse.ArgumentParser:
    from pipelines import cluster, crs, releasing

    parser = argparse.ArgumentParser(
        prog="python -m pipelines",
        description="Train, judge and release a model: on this machine, or as a file for Kubeflow Pipelines.",
        epilog="State lies in .headrace; set HEADRACE_HOME for another folder. make clean removes it.",
    )
    parser.add_argument("--version", action="version", version=f"headrace {release()}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_run(verbs)
    made = verbs.add_parser("compile", help="write pipelines/compiled/training.yaml, the file a cluster takes")
    made.add_argument("--output", type=Path, metavar="DIR", help="another folder")
    made.add_argument("--quiet", action="store_true", help="do not name the file")
    made.set_defaults(verb=_compile)
    crs.add_options(made)
    checked = verbs.add_parser("validate", help="say what a cluster would refuse in a compiled file, offline")
    checked.add_argument("file", nargs="+", type=Path, metavar="FILE", help="a compiled pipeline")
    checked.set_defaults(verb=_validate)
    listed = verbs.add_parser("list", help="list runs, use cases, data set versions or model versions")
    listed.add_argument("what", nargs="?", default="runs", choices=("runs", "usecases", "datasets", "versions"))
    listed.add_argument("--model", default="", help="only of this model")
    listed.set_defaults(verb=_list)
    show = verbs.add_parser("show", help="show a run: tasks, times, verdict, paths")
    show.add_argument("run", nargs="?", default="last", metavar="RUN", help="id of a run, or its beginning [last]")
    show.set_defaults(verb=_show)
    _add_others(verbs)
    cluster.add_verbs(verbs)
    releasing.add_verbs(verbs)
    return parser


def _add_run(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = verbs.add_parser(
        "run",
        help="data in, served model out",
        description="Run the training pipeline of a use case here; ends with the verdict and a curl line.",
        epilog="examples: run heart · run iris --candidate svm · run --csv churn.csv --target left --model churn",
    )
    run.add_argument("use_case", nargs="?", metavar="USE_CASE", help="heart, iris, housing, csv, ... [heart]")
    source = run.add_mutually_exclusive_group()
    source.add_argument("--csv", metavar="FILE", help="a table: path, URL or s3:// address")
    source.add_argument("--source", metavar="PLACE", help="another place for the data of the use case")
    run.add_argument("--target", metavar="COLUMN", help="the column to predict")
    run.add_argument("--model", metavar="NAME", help="name to register and serve under")
    run.add_argument("--override", metavar="JSON", help="replace inferred properties of columns")
    run.add_argument("--candidate", action="append", metavar="NAME", help="fit only this one; may be repeated")
    for name, sense in (("least", "smallest"), ("most", "largest")):
        what = f"the {sense} value accepted of a figure of the test rows, such as {EXAMPLES[name]}; may be repeated"
        run.add_argument(f"--at-{name}", action="append", metavar="METRIC=VALUE", help=what)
    run.add_argument("--seed", type=int, metavar="N", help="seed of the split, the search and the models")
    run.add_argument("--resume", nargs="?", const="last", metavar="RUN", help="go on with a run [last]")
    run.add_argument(
        "--workers", type=int, default=cores(), metavar="N", help="tasks at the same time [as many as there are cores]"
    )
    run.set_defaults(verb=_run)


def _add_others(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fetched = verbs.add_parser("fetch", help="download a version of a data set")
    fetched.add_argument("model", metavar="MODEL")
    fetched.add_argument("version", metavar="VERSION", help="its hash, or the beginning of it")
    fetched.add_argument("--output", type=Path, metavar="DIR", help="a folder that does not exist yet")
    fetched.set_defaults(verb=_fetch)
    served = verbs.add_parser("serve", help="serve the champion of a model in the foreground")
    served.add_argument("model", nargs="?", default="heart", metavar="MODEL", help="[heart]")
    served.add_argument("--http-port", type=int, metavar="PORT", help="[8080, or another where it is taken]")
    served.add_argument("--grpc-port", type=int, metavar="PORT", help="[8081, or another where it is taken]")
    served.set_defaults(verb=_serve)
    stopped = verbs.add_parser("stop", help="stop the servers that runs left in the background")
    stopped.set_defaults(verb=_stop)
    pages = verbs.add_parser("ui", help="open MLflow on the local store")
    pages.add_argument("--port", type=int, default=5000, metavar="PORT", help="[5000, or another where it is taken]")
    pages.add_argument("--model", default="", metavar="MODEL", help="whose runs to open [of the newest run]")
    pages.set_defaults(verb=_ui)


if __name__ == "__main__":
    sys.exit(main())
