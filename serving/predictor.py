"""One loaded bundle that answers: encoder, scorer, labels and drift counts together, never changed after loading.

A hot swap replaces the whole object, so a request sees one bundle from its first byte to its last.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving import native
from serving.bundle import METRICS, REFERENCE, Bundle
from serving.drift import Drift, Observer
from serving.encoding import RowEncoder
from serving.options import Options
from serving.schema import Label
from serving.scorer import Scorer, TableScorer, make_scorer

if TYPE_CHECKING:
    from serving.native._native import Fast


@dataclass(frozen=True, slots=True)
class Answer:
    """The predictions of some rows.

    Attributes:
        labels: One class, or one number for regression, per row.
        scores: Probabilities [rows, classes], or predictions [rows], flat.
    """

    labels: Sequence[Any]
    scores: Sequence[float]


class Predictor:
    """Answers for one bundle."""

    def __init__(self, bundle: Bundle, scorer: Scorer, options: Options, hot_headers: bytes | None = None) -> None:
        self.bundle = bundle
        self.schema = bundle.schema
        self.classes = bundle.schema.target.classes
        self.width = bundle.schema.width
        self.columns = len(bundle.schema.columns)
        self.scorer = scorer
        self.version = None if bundle.version is None else str(bundle.version)
        self.encoder = RowEncoder(bundle.schema, options.ignore_unknown)
        self.reference = bundle.json(REFERENCE)
        self.metrics = bundle.json(METRICS)
        self._options = options
        self._hot_headers = hot_headers or native.HEADERS
        self.fast = self.make_fast()
        self.drift: Observer = self.fast or Drift(bundle.schema, self.reference)

    def make_fast(self) -> Fast | None:
        """Return a new hot path where C is built, else None; the predictor's own also counts for other paths."""
        options = self._options
        if not native.available():
            return None
        folded = isinstance(self.scorer, TableScorer)
        return native.fast(
            self.scorer.table if isinstance(self.scorer, TableScorer) else self.scorer.score,
            options.model_name,
            self.version,
            self.schema,
            self.reference,
            headers=self._hot_headers,
            rows_limit=min(native.ROWS_LIMIT if folded else self.scorer.inline_rows, options.max_rows),
            bytes_limit=min(native.BYTES_LIMIT, options.max_body_size),
        )

    @property
    def path(self) -> str:
        """The V1 path of predictions."""
        return f"/v1/models/{self._options.model_name}:predict"

    def score(self, features: array[float], rows: int) -> memoryview[float]:
        """Return float64 [rows, width], flat."""
        return self.scorer.score(features, rows)

    def labels(self, scores: Sequence[float]) -> Sequence[Label]:
        """Return the class of each row: the first with the highest probability; for regression the numbers."""
        if not self.classes:
            return scores
        width = self.width
        if width == 2:
            negative, positive = self.classes
            return [positive if scores[start + 1] > scores[start] else negative for start in range(0, len(scores), 2)]
        chunks = [scores[start : start + width] for start in range(0, len(scores), width)]
        return [self.classes[chunk.index(max(chunk))] for chunk in chunks]

    def rows_of(self, scores: Sequence[float]) -> list[Sequence[float]]:
        """Return the scores as one list per row."""
        return [scores[start : start + self.width] for start in range(0, len(scores), self.width)]


def make_predictor(bundle: Bundle, options: Options, hot_headers: bytes | None = None) -> Predictor:
    """Return the predictor of a checked bundle.

    Raises:
        BundleError: Its model cannot be loaded here, or its reference is of another shape.
    """
    scorer = make_scorer(bundle, options.evaluator)
    try:
        return Predictor(bundle, scorer, options, hot_headers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise bundle.unreadable(REFERENCE, error) from error
