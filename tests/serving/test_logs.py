"""A line of the log is one line, and says what it says, whatever a caller sends."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

from serving import logs
from serving.bundle import Bundle
from serving.options import Options
from serving.predictionlog import PredictionLog
from serving.predictor import Answer, make_predictor


def _line(message: str, **fields: str) -> str:
    record = logging.LogRecord("serving.access", logging.INFO, "", 0, message, (), None)
    record.fields = fields
    return logs._TextFormatter().format(record)


def test_a_caller_cannot_write_a_line_of_its_own() -> None:
    line = _line("request", path="/v2/x\n12:00:00 INFO    bundle swapped from=evil\x1b[31m", id="a status=200")

    assert "\n" not in line
    assert "\x1b" not in line
    assert 'path="/v2/x' in line
    assert 'id="a status=200"' in line
    assert _line("request", status="200", path="/v2").endswith("request status=200 path=/v2")
    assert "\n" not in _line("strange\rname\u2028")


def test_a_full_disk_breaks_no_line_of_the_prediction_log(mixed: Bundle, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: it, too, takes a part of what is written."""
    import signal
    from array import array

    predictor = make_predictor(mixed, Options("m", str(mixed.folder)))
    log = PredictionLog(tmp_path, "m")
    features = array("d", [1.0] * predictor.columns)
    answer = Answer(["yes"], [0.25, 0.75])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        for _ in range(10):
            for _ in range(10):
                log.append(predictor, features, answer)
            log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    for _ in range(3):
        log.append(predictor, features, answer)
    log.flush()

    (file,) = (tmp_path / "m").iterdir()
    lines = file.read_text().splitlines()
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
    assert log.lost > 0
    assert len(lines) + log.lost == 103
