"""Shadow: a version gets copies of the requests, its answers reach nobody, and both versions' answers are compared.

The gateway drops what the shadow answers, so the comparison is made afterwards, from the servers' access logs, joined
by x-request-id. The gateway copies the header, and makes one where the client sends none; an id that a version answered
more than once is ambiguous and left out. Scores are compared where the client asked for probabilities, and numbers
where the model predicts them.

No risk to the primary: the gateway waits for the primary only, the shadow has pods and CPU limits of its own, and the
champion keeps its number of pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.releases import routes, trials
from components.releases.answers import Answer, read
from components.releases.intervals import Interval, share
from components.releases.kube import Kube
from components.releases.plans import Target
from components.releases.trials import Trial

SHOWN = 5


@dataclass(frozen=True)
class Difference:
    """How two versions answered the same requests.

    Attributes:
        requests: Compared ones.
        rows: In them.
        agreed: Rows that both predicted the same class for; of numbers, those that are equal.
        within: The interval of that share in all traffic of this kind (Wilson, 95 %).
        pairs: (the primary's class, the shadow's class) -> rows; empty for numbers.
        distances: Per row, sorted: largest difference of a probability, or difference of the numbers.
        failed: Requests that the primary answered and the shadow answered with an error.
        unheard: Requests that the primary answered and the shadow has no answer to: not copied, or lost.
        left_out: Requests whose answers were not logged, cut off, or ambiguous.
        examples: Ids of requests that were answered differently.
    """

    requests: int
    rows: int
    agreed: int
    within: Interval
    pairs: Counter[tuple[str, str]]
    distances: tuple[float, ...]
    failed: int
    unheard: int
    left_out: int
    examples: tuple[str, ...]

    @property
    def by_class(self) -> dict[str, tuple[int, int]]:
        """Class of the primary -> rows, and rows of them that the shadow agreed on."""
        return {
            primary: (
                sum(count for (one, _), count in self.pairs.items() if one == primary),
                self.pairs[primary, primary],
            )
            for primary in sorted({one for one, _ in self.pairs})
        }

    def distance(self, quantile: float) -> float:
        """Return a quantile of the distances, 0 when nothing was measured."""
        return (
            self.distances[min(len(self.distances) - 1, int(quantile * len(self.distances)))] if self.distances else 0
        )


def start(kube: Kube, target: Target, golden: Mapping[str, Any], percent: int) -> Trial:
    """Send a version copies of a share of the requests, until `trials.end`.

    Raises:
        ReleaseError: It cannot be tried.
    """

    def make(live: dict[str, Any], first: str, second: str) -> dict[str, Any]:
        return routes.mirror(live, target.model, first, second, percent)

    return trials.begin(kube, target, golden, "shadow", percent, make)


def diff(lines: Iterable[str], primary: str, shadow: str, since: float = 0.0) -> Difference:
    """Return how two versions answered the same requests, from the log lines of both.

    Args:
        primary: The version that clients heard.
        shadow: The version that nobody heard.
        since: Seconds since the epoch; what was answered earlier does not count.
    """
    heard: dict[str, list[Answer]] = {}
    unheard: dict[str, list[Answer]] = {}
    begin = datetime.fromtimestamp(since, UTC).isoformat(timespec="milliseconds")
    for answer in read(lines):
        if answer.time < begin:
            continue
        side = {primary: heard, shadow: unheard}.get(answer.version)
        if side is not None:
            side.setdefault(answer.id, []).append(answer)
    return _compared(heard, unheard)


def _compared(heard: dict[str, list[Answer]], unheard: dict[str, list[Answer]]) -> Difference:
    pairs: Counter[tuple[str, str]] = Counter()
    distances: list[float] = []
    examples: list[str] = []
    requests = rows = agreed = failed = missing = left_out = 0
    for identity, answers in heard.items():
        others = unheard.get(identity, [])
        if answers[0].status != 200:
            continue
        if len(answers) > 1 or len(others) > 1:
            left_out += 1
            continue
        if not others or others[0].status != 200:
            failed, missing = failed + bool(others), missing + (not others)
            continue
        compared = _pairs(answers[0], others[0])
        if compared is None:
            left_out += 1
            continue
        requests, rows, same = requests + 1, rows + len(compared), sum(one == other for one, other in compared)
        agreed += same
        if same < len(compared):
            examples.append(identity)
        pairs.update((str(one), str(other)) for one, other in compared if not isinstance(one, float))
        distances += _distances(answers[0], others[0])
    return Difference(
        requests,
        rows,
        agreed,
        share(agreed, rows),
        pairs,
        tuple(sorted(distances)),
        failed,
        missing,
        left_out,
        tuple(examples[:SHOWN]),
    )


def _pairs(one: Answer, other: Answer) -> list[tuple[Any, Any]] | None:
    """Return the predictions of both per row, None when they cannot be compared."""
    if one.predictions is None or other.predictions is None or len(one.predictions) != len(other.predictions):
        return None
    return list(zip(one.predictions, other.predictions, strict=True))


def _distances(one: Answer, other: Answer) -> Iterator[float]:
    """Yield the largest difference of a probability per row, or the difference of two numbers."""
    if one.scores and other.scores:
        for row, second in zip(one.scores, other.scores, strict=False):
            yield max((abs(p - q) for p, q in zip(row, second, strict=False)), default=0.0)
        return
    for left, right in zip(one.predictions or [], other.predictions or [], strict=False):
        if isinstance(left, float) and isinstance(right, float):
            yield abs(left - right)
