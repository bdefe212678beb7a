"""The verbs that try a version beside the one that serves, without promoting it: compare and shadow. Clusters only.

Both begin with a version named, tell what was seen without one, and end with `--end`; the champion serves throughout.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.releasing import LAPTOP, Verbs, add_verb, reached, say

if TYPE_CHECKING:
    from components.releases.compare import Comparison, Shares
    from components.releases.plans import Plan
    from components.releases.shadow import Difference
    from components.releases.trials import Trial
    from components.settings import Settings

SHOWN = 10
"""Values of a distribution that are listed."""


def add_verbs(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to the command line."""
    compared = add_verb(verbs, "compare", _compare, "give a version a fixed share of the clients, and compare the two")
    compared.add_argument("a", nargs="?", default="", metavar="A", help="the version that serves")
    compared.add_argument("b", nargs="?", default="", metavar="B", help="the version to compare with it: begins")
    compared.add_argument("--share", type=int, default=20, metavar="PERCENT", help="of the clients that get B [20]")
    compared.add_argument(
        "--detect", type=float, default=1.0, metavar="POINTS", help="smallest difference worth finding, in percent [1]"
    )
    compared.add_argument("--prometheus", default="", metavar="URL", help="where it is from here [the plan's]")
    compared.add_argument("--end", action="store_true", help="tell the result and give all clients to A again")
    shadowed = add_verb(verbs, "shadow", _shadow, "send a version copies of the requests, and compare its answers")
    shadowed.add_argument("version", nargs="?", default="", metavar="VERSION", help="the version that listens: begins")
    shadowed.add_argument("--percent", type=int, default=100, metavar="PERCENT", help="of the requests copied [100]")
    shadowed.add_argument("--diff", action="store_true", help="compare what was answered so far")
    shadowed.add_argument("--logs", default="", metavar="PLACE", help="folder, file or s3:// prefix [the pods' logs]")
    shadowed.add_argument("--end", action="store_true", help="stop copying and remove the version's pods")


def _compare(options: argparse.Namespace, home: Path) -> int:
    from components.errors import InputError
    from components.releases import addresses, cluster, compare, trials
    from components.releases.kube import connect

    _check_environment(options)
    if bool(options.a) != bool(options.b):
        raise InputError("compare takes two versions to begin, none to tell the result")
    if not 0 < options.detect < 100:
        raise InputError(f"--detect {options.detect:g}: expected percentage points above 0 and below 100")
    with reached(options, home) as known:
        kube = connect()
        if options.b:
            target, golden = cluster.prepare(known, options.model, options.b, options.environment, "")
            trial = compare.start(kube, target, golden, options.a, options.share)
            say(f"{trial.model} {trial.version} answers {trial.percent} % of the clients, {trial.champion} the others")
            return 0
        trial = trials.expect(kube, options.model, "compare")
        plan = addresses.found(kube, trial.model, _plan(known, trial, options))
        for line in compared_lines(compare.report(trial, plan, kube.namespace, options.detect / 100), trial):
            say(line)
        if options.end:
            trials.end(kube, options.model, plan.timeout)
            say(f"{trial.model} {trial.champion} answers all clients again")
    return 0


def _shadow(options: argparse.Namespace, home: Path) -> int:
    from components.errors import InputError
    from components.releases import answers, cluster, shadow, trials
    from components.releases.kube import connect

    _check_environment(options)
    if bool(options.version) == (options.diff or options.end):
        raise InputError("shadow takes a version to begin, or --diff, or --end")
    with reached(options, home) as known:
        kube = connect()
        if options.version:
            target, golden = cluster.prepare(known, options.model, options.version, options.environment, "")
            trial = shadow.start(kube, target, golden, options.percent)
            say(f"{trial.model} {trial.version} gets copies of {trial.percent} % of the requests, and answers nobody")
            return 0
        trial = trials.expect(kube, options.model, "shadow")
        if options.diff:
            lines = answers.stored(known, options.logs) if options.logs else answers.pods(kube, options.model)
            for line in shadow_lines(shadow.diff(lines, trial.champion, trial.version, trial.since), trial):
                say(line)
        if options.end:
            trials.end(kube, options.model, _plan(known, trial, options).timeout)
            say(f"{trial.model} {trial.version} listens no more")
    return 0


def compared_lines(found: Comparison, trial: Trial) -> list[str]:
    """Return a comparison as a person reads it."""
    lines = [
        f"{trial.model}     A {found.a.version}, B {found.b.version} with {trial.percent} % of the clients "
        f"since {_moment(trial.since)}",
        f"requests  A {found.a.requests:.0f}, B {found.b.requests:.0f}; a verdict takes {found.needed} each",
    ]
    lines += [_shares_line(shares) for shares in found.judged]
    lines += [_shares_line(shares) for shares in found.predicted[:SHOWN]]
    if not found.predicted:
        lines.append("predicted no value whose share differs")
    return [*lines, f"verdict   {found.verdict}"]


def shadow_lines(found: Difference, trial: Trial) -> list[str]:
    """Return a shadow's difference as a person reads it."""
    agreed = found.agreed / found.rows if found.rows else 0.0
    lines = [
        f"compared  {found.requests} requests, {found.rows} rows, of {trial.champion} and {trial.version}",
        f"agreed    {agreed:.2%} (95 %: {found.within.low:.2%} to {found.within.high:.2%})",
    ]
    lines += [f"          {name}: {same} of {rows}" for name, (rows, same) in found.by_class.items()]
    differing = [(pair, count) for pair, count in found.pairs.most_common() if pair[0] != pair[1]]
    lines += [f"          {one} became {other}: {count}" for (one, other), count in differing[:SHOWN]]
    if found.distances:
        lines.append(
            f"distance  median {found.distance(0.5):.4g}, 95 % below {found.distance(0.95):.4g}, "
            f"largest {found.distances[-1]:.4g}"
        )
    lines.append(f"shadow    {found.failed} failed, {found.unheard} without an answer, {found.left_out} left out")
    if found.examples:
        lines.append(f"look at   {', '.join(found.examples)}")
    return lines


def _shares_line(shares: Shares) -> str:
    apart = shares.apart
    return (
        f"{shares.name:<9} A {shares.a:.2%}, B {shares.b:.2%}; "
        f"B - A is {100 * apart.low:+.2f} to {100 * apart.high:+.2f} points"
    )


def _check_environment(options: argparse.Namespace) -> None:
    from components.errors import InputError

    if options.environment == LAPTOP:
        raise InputError("a laptop has no gateway that could divide requests: name a cluster with --environment")


def _plan(known: Settings, trial: Trial, options: argparse.Namespace) -> Plan:
    from components.releases import cluster

    target, _ = cluster.prepare(known, trial.model, trial.version, options.environment, "")
    reachable = getattr(options, "prometheus", "")
    return replace(target.plan, prometheus=reachable.rstrip("/")) if reachable else target.plan


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
