"""A bundle as an MLflow model: `mlflow.pyfunc.load_model("models:/heart@champion").predict(frame)`.

MLflow finds this module by the file `MLmodel` of a bundle. It answers as `python -m serving batch` does, by the same
code, and after the same proof by golden requests; nothing of MLflow is imported here.
"""

from __future__ import annotations

from pathlib import Path

from serving.batch import predicted
from serving.bundle import load
from serving.goldens import check_goldens
from serving.options import Options
from serving.predictor import Predictor, make_predictor


class Loaded:
    """What MLflow calls."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    # MLflow takes type hints for a contract and warns about those that say little, so there are none.
    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]
        """Return a pandas frame of predictions, for classes with a column of probabilities each.

        Args:
            model_input: A pandas frame with one column per model column; others are ignored.
            params: Unused; MLflow passes it.

        Raises:
            FrameError: A column is missing or a value does not fit.
        """
        import pyarrow

        names = list(self._predictor.schema.names)
        known = model_input[[name for name in names if name in model_input.columns]]
        frame = pyarrow.Table.from_pandas(known, preserve_index=False)
        return predicted(self._predictor, frame, 0).drop_columns(frame.column_names).to_pandas()


def _load_pyfunc(path: str) -> Loaded:  # the name is MLflow's
    predictor = make_predictor(load(Path(path)), Options("batch", path))
    check_goldens(predictor)
    return Loaded(predictor)
