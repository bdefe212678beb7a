"""`python -m serving batch`: predictions for a file of any length, in bounded memory, by the server's evaluator.

Parquet, CSV or JSON Lines in and out, by the file names. Every column of the input is kept; `prediction` is added and,
for a classifier, one `probability_<class>` per class. The output appears under its name only when it is complete.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from serving import logs
from serving.bundle import BundleError, load
from serving.errors import Refused
from serving.fetch import fetch
from serving.frames import FrameError, encode_frame, open_reader, open_writer
from serving.goldens import check_goldens
from serving.options import Options
from serving.predictor import Predictor, make_predictor


@dataclass(frozen=True)
class Progress:
    """How far a run is; `total` is None where the format does not tell."""

    rows: int
    total: int | None
    seconds: float

    def __str__(self) -> str:
        rate = self.rows / self.seconds if self.seconds > 0 else 0.0
        share = f" of {self.total:,} ({100 * self.rows / self.total:.0f} %)" if self.total else ""
        return f"{self.rows:,} rows{share}, {rate:,.0f} rows/s"


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of a batch command line."""
    chosen = _parse(arguments)
    logs.configure("text")
    options = Options(model_name="batch", model_dir=chosen.model_dir, evaluator=chosen.evaluator)
    try:
        predictor = make_predictor(load(fetch(options.model_dir)), options)
        check_goldens(predictor)
        for progress in predict_file(predictor, Path(chosen.input), Path(chosen.output), chosen.rows_per_step):
            _show(progress)
    except (BundleError, FrameError, Refused, OSError) as error:
        sys.stderr.write(f"\nbatch stopped, nothing was written: {error}\n")
        return 1
    sys.stderr.write(f"\nwrote {chosen.output}\n")
    return 0


def predict_file(predictor: Predictor, source: Path, target: Path, rows_per_step: int = 65_536) -> Iterator[Progress]:
    """Predict every row of `source` into `target`, telling the progress after each step.

    Raises:
        FrameError: A column is missing, a value does not fit, or a file cannot be read; the message says where.
    """
    partial = target.with_name(target.name + ".partial")
    began = monotonic()
    done = 0
    try:
        with open_reader(source, predictor.schema, rows_per_step) as reader, open_writer(partial, target) as write:
            for frame in reader:
                write(predicted(predictor, frame, done))
                done += frame.num_rows
                yield Progress(done, reader.total, monotonic() - began)
            if done == 0:
                raise FrameError(f"{source} holds no rows")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def predicted(predictor: Predictor, frame: Any, first: int) -> Any:
    """Return the frame with its predictions."""
    import numpy
    import pyarrow

    features = encode_frame(predictor.schema, frame, first)
    scores = numpy.asarray(predictor.scorer.score(features, frame.num_rows))
    if not predictor.classes:
        return frame.append_column("prediction", pyarrow.array(scores))
    matrix = scores.reshape(frame.num_rows, predictor.width)
    labels = pyarrow.array(list(predictor.classes)).take(pyarrow.array(matrix.argmax(axis=1)))
    frame = frame.append_column("prediction", labels)
    for position, label in enumerate(predictor.classes):
        name = f"probability_{str(label).lower() if isinstance(label, bool) else label}"
        frame = frame.append_column(name, pyarrow.array(matrix[:, position]))
    return frame


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving batch",
        description="Predict every row of a Parquet, CSV or JSON Lines file.",
        allow_abbrev=False,
    )
    parser.add_argument("input", help="file with one column per model column; others are kept")
    parser.add_argument("output", help="file to write: .parquet, .csv or .jsonl")
    parser.add_argument("--model_dir", required=True, help="folder or s3://bucket/prefix of a bundle")
    parser.add_argument("--evaluator", default="auto", choices=("auto", "table", "onnx"), help="what computes [auto]")
    parser.add_argument("--rows_per_step", type=int, default=65_536, help="rows held in memory at a time [65536]")
    return parser.parse_args(arguments)


def _show(progress: Progress) -> None:
    """Show the progress: on one line of a terminal, else a line per step."""
    sys.stderr.write(f"\r{progress}   " if sys.stderr.isatty() else f"{progress}\n")
    sys.stderr.flush()
