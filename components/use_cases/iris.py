"""Which iris is it: 150 flowers of three species, four lengths in centimetres."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.models import recipes
from components.use_cases import Candidate, Expected, Gate, Source, UseCase

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "sepal_length": Expected("number", "cm", "Length of a sepal", minimum=1, maximum=15),
    "sepal_width": Expected("number", "cm", "Width of a sepal", minimum=0.5, maximum=10),
    "petal_length": Expected("number", "cm", "Length of a petal", minimum=0.1, maximum=15),
    "petal_width": Expected("number", "cm", "Width of a petal", minimum=0.05, maximum=10),
}


def read(path: Path) -> pd.DataFrame:
    """Return the flowers of scikit-learn's `iris.csv`, whose header is: rows, columns, name of class 0, 1, 2."""
    import pandas as pd

    with path.open(encoding="utf-8") as stream:
        species = stream.readline().strip().split(",")[2:]
    frame = pd.read_csv(path, header=None, skiprows=1, names=[*COLUMNS, "species"])
    frame["species"] = frame["species"].map(dict(enumerate(species)))
    return frame


USE_CASE = UseCase(
    name="iris",
    title="Iris species",
    description="Which of three species is a flower, by the size of its sepals and petals?",
    target="species",
    task="multiclass",
    target_description="Species of the iris",
    source=Source(
        location="package:sklearn/datasets/data/iris.csv",
        sha256="f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449",
        file="iris.csv",
        licence="CC BY 4.0 (UCI), shipped with scikit-learn (BSD-3-Clause)",
        credit="R. A. Fisher (1936), E. Anderson (1935): Iris, UCI Machine Learning Repository, doi 10.24432/C56C76",
    ),
    columns=COLUMNS,
    read=read,
    candidates=(
        Candidate("logistic", recipes.logistic, recipes.LOGISTIC),
        Candidate("svm", recipes.svm, recipes.SVM),
        Candidate("forest", recipes.forest, recipes.FOREST),
        Candidate("boosting", recipes.boosting, recipes.BOOSTING),
        Candidate("voting", recipes.voting, recipes.VOTING),
    ),
    # The test split has 30 flowers: a model whose true accuracy is 0.96 gets four or more of them wrong in about one
    # split of thirty, five in one of a hundred and fifty.
    gate=Gate("accuracy", at_least={"accuracy": 0.85}, tolerance=0.07),
    example={"sepal_length": 6.1, "sepal_width": 2.9, "petal_length": 4.7, "petal_width": 1.4},
)
