"""Why a prediction: Shapley values of its features against the training medians, through the model itself.

The background row is the median (or commonest value) of each column in the drift reference. A feature's contribution is
its average effect on the score over all orders in which features change from the background to the row; they add up
to the score minus the background's score. Features that equal the background contribute nothing and drop out. With up
to EXACT_FEATURES others every subset is scored, so the values are exact for any model (L. S. Shapley 1953). Beyond
that, a model that is additive in its log-odds (or its prediction) is exact too, from one change per feature; anything
else is sampled over permutations and their reverses, with the standard error told.
"""

from __future__ import annotations

import asyncio
import math
import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from serving import shapley
from serving.bundle import TABLE
from serving.errors import Refused, invalid
from serving.inference import INLINE_BYTES, Engine
from serving.message import Request, Response
from serving.options import Options
from serving.predictor import Predictor
from serving.schema import Column, decode
from serving.v1 import Looked, parse_object, read_flag, read_instances

EXACT_FEATURES = 13
MAX_ROWS = 64
PERMUTATIONS = 256
ADDITIVE_TOLERANCE = 1e-9
RELATIVE_TO = "background: the median of each column in the training rows, or its most frequent category"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Contributions of one row, in column order, and how they were found."""

    method: str
    scale: str
    contributions: Sequence[float]
    base: float
    score: float
    standard_error: float = 0.0


class Explainer:
    """Answers `:explain` of one predictor."""

    def __init__(self, predictor: Predictor, options: Options, engine: Engine) -> None:
        self.predictor = predictor
        self.options = options
        self.engine = engine
        self.background = array("d", [background_value(column, predictor) for column in predictor.schema.columns])
        self._read = False
        self._sum: shapley.Folded | None = None

    async def explain(self, request: Request) -> Response:
        """Return contributions per feature for each row of a V1 request."""
        if len(request.body) > INLINE_BYTES:
            looked = Looked(request.body, self.predictor, self.options, self.engine.budget)
            await asyncio.get_running_loop().run_in_executor(None, looked.look)
            if looked.found is not None and looked.found.elements > MAX_ROWS:
                raise _too_many(looked.found.elements)
        document = parse_object(request.body)
        instances = read_instances(document, self.options)
        read_flag(document.get("parameters"), "probabilities", self.options)
        if len(instances) > MAX_ROWS:
            raise _too_many(len(instances))
        features = self.predictor.encoder.encode(instances, 0)
        columns = self.predictor.columns
        explained = []
        labels = []
        for start in range(0, len(features), columns):
            row = features[start : start + columns]
            label, explanation = await self.engine.explain(partial(self._explain_row, row))
            explained.append(self._described(row, label, explanation))
            labels.append(label)
        return Response(200, orjson.dumps({"predictions": labels, "explanations": explained}))

    def _described(self, row: Sequence[float], label: Any, explanation: Explanation) -> dict[str, Any]:
        schema = self.predictor.schema
        document: dict[str, Any] = {"method": explanation.method, "scale": explanation.scale}
        if self.predictor.classes:
            document["class"] = self._explained_class(label)
        document |= {
            "base": explanation.base,
            "score": explanation.score,
            "contributions": dict(zip(schema.names, explanation.contributions, strict=True)),
            "relative_to": RELATIVE_TO,
            "background": {
                column.name: decode(column, value)
                for column, value in zip(schema.columns, self.background, strict=True)
            },
        }
        if explanation.standard_error:
            document["standard_error"] = explanation.standard_error
        return document

    def _explained_class(self, label: Any) -> Any:
        """Return the positive class of a binary task, else the class that was predicted."""
        target = self.predictor.schema.target
        return target.positive if len(self.predictor.classes) == 2 and target.positive is not None else label

    def _explain_row(self, row: array[float]) -> tuple[Any, Explanation]:
        scores = self.predictor.score(row, 1).tolist()
        label = self.predictor.labels(scores)[0]
        position = self.predictor.classes.index(self._explained_class(label)) if self.predictor.classes else 0
        game = Game(self.predictor, self.background, row, position, self._folded)
        return label, game.solve()

    def _folded(self) -> shapley.Folded | None:
        """Return the sum that the bundle's table computes, read when it is first needed."""
        if not self._read:
            path = self.predictor.bundle.path(TABLE)
            self._sum = shapley.load(path.read_bytes()) if path else None
            self._read = True
        return self._sum


class Game:
    """The cooperative game of one row: a coalition is the set of features that have the row's values."""

    def __init__(
        self,
        predictor: Predictor,
        background: array[float],
        row: array[float],
        position: int,
        folded: Callable[[], shapley.Folded | None] = lambda: None,
    ) -> None:
        self._predictor = predictor
        self._folded = folded
        self._background = background
        self._row = row
        self._position = position
        self._active = [
            index
            for index, (own, other) in enumerate(zip(row, background, strict=True))
            if own != other and not (own != own and other != other)
        ]
        self._scale = "probability" if predictor.classes else "prediction"

    def solve(self) -> Explanation:
        """Return the contributions by the best method this game allows."""
        if len(self._active) <= EXACT_FEATURES:
            return self._exact()
        return self._additive() or self._summed() or self._sampled()

    def _values(self, rows: array[float]) -> Sequence[float]:
        width = self._predictor.width
        scores = self._predictor.score(rows, len(rows) // len(self._row))
        return scores.tolist()[self._position :: width]

    def _explanation(
        self, method: str, values: Mapping[int, float], base: float, score: float, scale: str = "", error: float = 0.0
    ) -> Explanation:
        contributions = [values.get(index, 0.0) for index in range(len(self._row))]
        return Explanation(method, scale or self._scale, contributions, base, score, error)

    def _exact(self) -> Explanation:
        """Score every subset; subset number s holds active feature j when bit j of s is set."""
        count = len(self._active)
        width = len(self._row)
        rows = array("d", self._background)
        for index in self._active:
            changed = rows[:]
            changed[index::width] = array("d", [self._row[index]]) * (len(rows) // width)
            rows += changed
        values = self._values(rows)
        total = math.factorial(count)
        weights = [math.factorial(size) * math.factorial(count - size - 1) / total for size in range(count)]
        inside = [0.0, *weights]
        outside = [*weights, 0.0]
        sizes = [subset.bit_count() for subset in range(len(values))]
        without = math.fsum(value * outside[size] for value, size in zip(values, sizes, strict=True))
        both = [value * (inside[size] + outside[size]) for value, size in zip(values, sizes, strict=True)]
        found = {
            index: math.fsum(
                math.fsum(both[start + (1 << bit) : start + (2 << bit)]) for start in range(0, len(both), 2 << bit)
            )
            - without
            for bit, index in enumerate(self._active)
        }
        return self._explanation("exact Shapley values (every subset scored)", found, values[0], values[-1])

    def _changed(self, origin: array[float], source: array[float]) -> array[float]:
        """Return one row per active feature: `origin` with that feature taken from `source`."""
        rows = array("d")
        for index in self._active:
            row = origin[:]
            row[index] = source[index]
            rows += row
        return rows

    def _additive(self) -> Explanation | None:
        """Return the effects of single changes where they do not depend on the other features, else None."""
        ends = self._values(self._background + self._row)
        values = self._values(self._changed(self._background, self._row) + self._changed(self._row, self._background))
        linked = [self._link(value) for value in (*ends, *values)]
        if not all(map(math.isfinite, linked)):
            return None
        base, score, *changes = linked
        count = len(self._active)
        up = [value - base for value in changes[:count]]
        down = [score - value for value in changes[count:]]
        scale = 1.0 + abs(base) + abs(score)
        agree = all(abs(one - other) <= ADDITIVE_TOLERANCE * scale for one, other in zip(up, down, strict=True))
        if not agree or abs(math.fsum(up) - (score - base)) > ADDITIVE_TOLERANCE * scale * count:
            return None
        name = "log-odds" if self._predictor.classes else self._scale
        found = dict(zip(self._active, up, strict=True))
        return self._explanation("exact Shapley values (the model is additive)", found, base, score, name)

    def _summed(self) -> Explanation | None:
        """Return the contributions to the sum that the folded model is, None where it is not one."""
        folded = self._folded()
        found = folded.explain(self._background, self._row, self._position) if folded else None
        if folded is None or found is None:
            return None
        scale = {shapley.EXPIT: "log-odds", shapley.SOFTMAX: "score before softmax"}.get(folded.link, self._scale)
        name = "exact Shapley values (tree by tree)"
        return self._explanation(name, found.contributions, found.base, found.score, scale)

    def _link(self, value: float) -> float:
        if not self._predictor.classes:
            return value
        return math.log(value / (1 - value)) if 0 < value < 1 else math.inf

    def _sampled(self) -> Explanation:
        count = len(self._active)
        pairs = max(4, min(PERMUTATIONS // 2, 32768 // count))
        generator = random.Random(0)  # noqa: S311  (a fixed seed: the same row gets the same answer)
        samples: dict[int, list[float]] = {index: [] for index in self._active}
        base, score = self._values(self._background + self._row)
        for _ in range(pairs):
            order = generator.sample(self._active, count)
            pair = [self._walk(order, base), self._walk(order[::-1], base)]
            for index in self._active:
                samples[index].append((pair[0][index] + pair[1][index]) / 2)
        found = {index: math.fsum(values) / pairs for index, values in samples.items()}
        error = max(_standard_error(values, found[index]) for index, values in samples.items())
        method = f"sampled Shapley values ({2 * pairs} permutations)"
        return self._explanation(method, found, base, score, error=error)

    def _walk(self, order: Sequence[int], base: float) -> Mapping[int, float]:
        """Return each feature's effect when they change one after the other."""
        row = self._background[:]
        rows = array("d")
        for index in order:
            row[index] = self._row[index]
            rows += row
        values = [base, *self._values(rows)]
        return {index: after - before for index, before, after in zip(order, values, values[1:], strict=False)}


def _standard_error(values: Sequence[float], mean: float) -> float:
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    return math.sqrt(variance / len(values))


def background_value(column: Column, predictor: Predictor) -> float:
    """Return the encoded median of a column on the training rows, or its commonest category."""
    bins = predictor.reference.get("columns", {}).get(column.name, {})
    counts = bins.get("counts", [])
    if not sum(counts):
        return math.nan
    if column.kind == "category":
        return float(counts.index(max(counts)))
    value = _median(column, bins.get("edges", []), counts)
    return float(round(value)) if column.kind in ("integer", "boolean") else value


def _median(column: Column, edges: Sequence[float], counts: Sequence[int]) -> float:
    """Return the median of a histogram, linear within its bin."""
    bounds = [column.minimum if column.minimum is not None else -math.inf, *edges]
    bounds.append(column.maximum if column.maximum is not None else math.inf)
    half = sum(counts) / 2
    reached = 0
    for low, high, count in zip(bounds, bounds[1:], counts, strict=True):
        if count and reached + count >= half:
            share = (half - reached) / count
            return low + (high - low) * share if math.isfinite(high - low) else (high if math.isinf(low) else low)
        reached += count
    return bounds[-2]


def _too_many(rows: int) -> Refused:
    return invalid(f"instances: at most {MAX_ROWS} rows can be explained per request, got {rows}")
