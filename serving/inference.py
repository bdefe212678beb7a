"""From a request's rows to its answer, at once when it is short and in steps when it is not.

Large requests are answered one after the other, first in, first out, a step per turn of the event loop: health checks
and small requests are answered in between, those that can be answered in time are, and the memory of one is enough. A
queue that is too long is refused before it gets longer.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from serving.budget import default_limit
from serving.errors import busy
from serving.metrics import Metrics
from serving.options import Options
from serving.predictionlog import PredictionLog
from serving.predictor import Answer, Predictor
from serving.scorer import OnnxScorer

INLINE_BYTES = 128 * 1024
"""Larger bodies are parsed in the queue of large requests: up to about a millisecond of parsing."""

Reply = TypeVar("Reply")
Reply_co = TypeVar("Reply_co", covariant=True)


class Rows(Protocol):
    """The rows of one request, not yet encoded."""

    count: int

    def encode(self, start: int, stop: int) -> array[float]:
        """Return some of the rows, encoded; raises Refused where one does not fit."""
        ...


@dataclass(frozen=True, slots=True)
class Job(Generic[Reply_co]):
    """A parsed request: its rows and how its answer is written.

    Attributes:
        request_id: Under which the prediction log keeps it; empty where there is none.
        trace_id: Of the caller's trace; empty where there is none.
    """

    rows: Rows
    render: Callable[[Answer], Reply_co]
    request_id: str = ""
    trace_id: str = ""


class Engine:
    """Runs jobs; one per process, shared by all protocols.

    Attributes:
        waiting: Large requests in progress or in the queue.
        untrimmed: Whether there was one since memory was last given back.
    """

    def __init__(self, options: Options, metrics: Metrics, log: PredictionLog | None = None) -> None:
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._max_waiting = options.max_waiting
        self.budget = options.max_in_flight_bytes or default_limit()
        self._timeout = options.request_timeout
        self._log = log
        self.waiting = 0
        self.untrimmed = False

    def run(
        self,
        predictor: Predictor,
        size: int,
        read: Callable[[], Job[Reply]],
        prepare: Callable[[], object] | None = None,
    ) -> Reply | Awaitable[Reply]:
        """Return the reply, or something to await for it when the request is large.

        Args:
            size: Bytes of the body.
            read: Parses the request; raises Refused where it does not fit.
            prepare: Runs in a thread before a large request is read, when it is its turn; raises like `read`.
        """
        if size > INLINE_BYTES:
            return self._in_turns(predictor, read, prepare)
        began = perf_counter()
        job = read()
        if job.rows.count > predictor.scorer.inline_rows:
            return self._in_turns(predictor, lambda: job, None)
        features = job.rows.encode(0, job.rows.count)
        encoded = perf_counter()
        scores = predictor.score(features, job.rows.count)
        scored = perf_counter()
        reply = self._finish(predictor, job, features, scores)
        self._metrics.observe_stages(encoded - began, scored - encoded, perf_counter() - scored)
        return reply

    async def explain(self, solve: Callable[[], Reply]) -> Reply:
        """Return what a long computation gives; it takes its turn in the queue and a thread."""
        if self.waiting >= self._max_waiting:
            self._metrics.shed += 1
            raise busy()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                began = perf_counter()
                thread = asyncio.get_running_loop().run_in_executor(None, solve)
                try:
                    reply = await asyncio.shield(thread)
                except asyncio.CancelledError:
                    await asyncio.wait([thread])  # nobody waits for it, but it computes: the turn is still its own
                    raise
                self._metrics.stages["explain"].observe(perf_counter() - began)
                return reply
        except TimeoutError:
            self._metrics.shed += 1
            raise busy(5) from None
        finally:
            self.waiting -= 1

    async def _in_turns(
        self, predictor: Predictor, read: Callable[[], Job[Reply]], prepare: Callable[[], object] | None
    ) -> Reply:
        if self.waiting >= self._max_waiting:
            self._metrics.shed += 1
            raise busy()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                self.untrimmed = True
                if prepare is not None:
                    await asyncio.get_running_loop().run_in_executor(None, prepare)
                return await self._step(predictor, read)
        except TimeoutError:
            self._metrics.shed += 1
            raise busy(5) from None
        finally:
            self.waiting -= 1

    async def _step(self, predictor: Predictor, read: Callable[[], Job[Reply]]) -> Reply:
        preprocess = predict = 0.0
        began = perf_counter()
        job = read()
        preprocess += perf_counter() - began
        features = array("d")
        scores = array("d")
        step = predictor.scorer.step_rows
        for start in range(0, job.rows.count, step):
            stop = min(start + step, job.rows.count)
            await asyncio.sleep(0)
            began = perf_counter()
            block = job.rows.encode(start, stop)
            encoded = perf_counter()
            scores.frombytes((await self._score(predictor, block, stop - start)).cast("B"))
            preprocess += encoded - began
            predict += perf_counter() - encoded
            features.extend(block)
        await asyncio.sleep(0)
        began = perf_counter()
        reply = self._finish(predictor, job, features, memoryview(scores))
        self._metrics.observe_stages(preprocess, predict, perf_counter() - began)
        return reply

    async def _score(self, predictor: Predictor, block: array[float], rows: int) -> memoryview[float]:
        """Return the scores of a block; ONNX Runtime is slow enough to deserve a thread and lets others run."""
        if isinstance(predictor.scorer, OnnxScorer):
            return await asyncio.get_running_loop().run_in_executor(None, predictor.score, block, rows)
        return predictor.score(block, rows)

    def _finish(
        self, predictor: Predictor, job: Job[Reply], features: array[float], scores: memoryview[float]
    ) -> Reply:
        predictor.drift.observe(features, scores, job.rows.count)
        numbers = scores.tolist()
        answer = Answer(predictor.labels(numbers), numbers)
        if self._log is not None:
            self._log.append(predictor, features, answer, job.request_id, job.trace_id)
        return job.render(answer)
