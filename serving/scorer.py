"""What computes predictions: the folded table in C where it can, ONNX Runtime otherwise; the same numbers either way.

Nothing here imports numpy or ONNX Runtime unless a bundle needs them: they would triple the memory of a process.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from serving import native
from serving.bundle import MODEL, TABLE, Bundle, BundleError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from serving.native._native import Table


class Scorer(Protocol):
    """Computes the answer of encoded rows.

    Attributes:
        name: For people and metrics.
        inline_rows: Up to so many rows a call is short enough for the event loop.
        step_rows: Rows per call of larger requests, so that others get their turn.
    """

    name: str
    inline_rows: int
    step_rows: int

    def score(self, features: Buffer, rows: int) -> memoryview[float]:
        """Return float64 [rows, width] as a flat memoryview of doubles."""
        ...


class TableScorer:
    """The folded table of a bundle, evaluated by the C extension."""

    name = "table"
    inline_rows = 64
    step_rows = 512

    def __init__(self, table: Table) -> None:
        self.table = table

    def score(self, features: Buffer, rows: int) -> memoryview[float]:
        return memoryview(self.table.score(features, rows)).cast("d")


class OnnxScorer:
    """model.onnx in ONNX Runtime with one thread; its session may be called from several threads."""

    name = "onnx"
    inline_rows = 16
    step_rows = 256

    def __init__(self, path: Path, columns: int, width: int, output: str) -> None:
        import numpy
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        self._numpy = numpy
        self._columns = columns
        self._outputs = [output]
        settings.enable_cpu_mem_arena = False
        settings.enable_mem_pattern = False
        with ThreadPoolExecutor(
            1
        ) as reader:  # glibc gives it a heap of its own, so that what is freed can be given back
            session = reader.submit(
                onnxruntime.InferenceSession, str(path), settings, providers=["CPUExecutionProvider"]
            )
        self._session = session.result()
        self._one = _OneRow(self._session, columns, width)

    def score(self, features: Buffer, rows: int) -> memoryview[float]:
        if rows == 1 and self._one.ready.acquire(blocking=False):
            try:
                return self._one.score(features)
            finally:
                self._one.ready.release()
        matrix = self._numpy.frombuffer(memoryview(features), dtype="f8").reshape(rows, self._columns)
        outcome: Any = self._session.run(self._outputs, {"features": matrix})[0]
        flat: Any = self._numpy.ascontiguousarray(outcome, dtype="f8").reshape(-1)
        return memoryview(flat)


class _OneRow:
    """One row in memory that the session reads from and writes to, which saves a fifth of a call.

    Attributes:
        ready: To be held while it is used; never free where the graph does not say that it answers doubles.
    """

    def __init__(self, session: Any, columns: int, width: int) -> None:
        import numpy
        from onnxruntime import OrtValue

        self.ready = Lock()
        (answered,) = session.get_outputs()
        if answered.type != "tensor(double)" or answered.shape[1:] not in ([], [width]):
            self.ready.acquire()
            return
        row, answer = numpy.zeros((1, columns)), numpy.zeros([1, *answered.shape[1:]])
        self._values = OrtValue.ortvalue_from_numpy(row), OrtValue.ortvalue_from_numpy(answer)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("features", self._values[0])
        self._binding.bind_ortvalue_output(answered.name, self._values[1])
        self._run = session.run_with_iobinding
        self._row, self._answer = row.data.cast("B"), answer.data.cast("B")

    def score(self, features: Buffer) -> memoryview[float]:
        self._row[:] = memoryview(features).cast("B")
        self._run(self._binding)
        return memoryview(bytes(self._answer)).cast("d")


def make_scorer(bundle: Bundle, evaluator: str = "auto") -> Scorer:
    """Return the scorer of a bundle.

    Args:
        evaluator: `table` and `onnx` insist on one; `auto` takes the table where the extension is built.

    Raises:
        BundleError: The model file cannot be read, or what it needs is not installed.
    """
    folded = bundle.path(TABLE)
    if evaluator == "table" and (folded is None or not native.available()):
        lack = "the bundle has no model.table" if folded is None else "the C extension is not built here"
        raise BundleError(f"bundle {bundle.folder}: {lack}; use --evaluator auto")
    if evaluator != "onnx" and folded is not None and native.available():
        try:
            table = native.table(folded.read_bytes())
        except ValueError as error:
            raise BundleError(
                f"bundle {bundle.folder}: model.table is not readable ({error}); publish it again"
            ) from error
        _check_shape(bundle, table.columns, table.width)
        return TableScorer(table)
    return _onnx(bundle)


def _onnx(bundle: Bundle) -> OnnxScorer:
    output = "probabilities" if bundle.schema.target.classes else "prediction"
    try:
        return OnnxScorer(bundle.folder / MODEL, len(bundle.schema.columns), bundle.schema.width, output)
    except ImportError as error:
        raise BundleError(
            f"bundle {bundle.folder} needs ONNX Runtime, which is not installed: install headrace[runtime]"
        ) from error
    except Exception as error:  # the runtime has its own exception types, all of which mean the same here
        raise BundleError(f"bundle {bundle.folder}: {MODEL} cannot be loaded ({error}); publish it again") from error


def _check_shape(bundle: Bundle, columns: int, width: int) -> None:
    expected = (len(bundle.schema.columns), bundle.schema.width)
    if (columns, width) != expected:
        raise BundleError(
            f"bundle {bundle.folder}: model.table takes {columns} columns and answers {width} numbers, "
            f"the schema says {expected[0]} and {expected[1]}; publish it again"
        )
