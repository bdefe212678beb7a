"""Any table: a CSV or Parquet file that a person names, with a target column; everything else is inferred and shown.

What is inferred can be overridden with a JSON object, see `components.tables.overrides`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.models import recipes
from components.use_cases import Candidate, Gate, Source, UseCase

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from serving.schema import Schema


def linear(schema: Schema, seed: int) -> Pipeline:
    """Return the linear model of the task."""
    return recipes.ridge(schema, seed) if schema.target.task == "regression" else recipes.logistic(schema, seed)


def forest(schema: Schema, seed: int) -> Pipeline:
    """Return the random forest of the task."""
    regression = schema.target.task == "regression"
    return recipes.forest_regressor(schema, seed) if regression else recipes.forest(schema, seed)


def boosting(schema: Schema, seed: int) -> Pipeline:
    """Return the boosted trees of the task.

    Numbers get 300 trees instead of the recipe's 600, which made no table better by more than folds differ: R2 within
    0.006 for Ames, concrete, Saratoga and Bikeshare, in a quarter of the time.
    """
    if schema.target.task == "regression":
        return recipes.boosting_regressor(schema, seed).set_params(model__max_iter=300, model__learning_rate=0.07)
    return recipes.boosting(schema, seed)


def read(path: Path) -> pd.DataFrame:
    """Return the table of a small file as it stands, CSV values as text; `ingest` streams and infers instead."""
    import tempfile

    from components.tables import reading

    with tempfile.TemporaryDirectory(prefix="headrace-table-") as scratch:
        return reading.open_table(path, Path(scratch)).frame()


USE_CASE = UseCase(
    name="csv",
    title="A table of your own",
    description="Predict one column of a CSV or Parquet file from the others.",
    target="",
    task=None,
    source=Source(location="", sha256=None, file="", licence="", credit=""),
    columns={},
    read=read,
    candidates=(
        Candidate("linear", linear, {**recipes.LOGISTIC, **recipes.RIDGE}),
        Candidate("forest", forest, recipes.FOREST_REGRESSOR),
        Candidate("boosting", boosting, {"model__max_leaf_nodes": (4, 15, 31)}),
    ),
    # Nobody knows how good a model of an unknown table can be: only the champion, where there is one, sets a bar.
    gate=Gate("", tolerance=0.02),
)
