"""The file by which MLflow reads a bundle as one of its models, and the signature that it shows of it."""

from __future__ import annotations

import json
import platform
from typing import Any

from serving.schema import Column, Schema

FILE = "MLmodel"
LOADER = "serving.pyfunc"


def write() -> str:
    """Return the content of `MLmodel`, as JSON, which is YAML too.

    Without a signature: MLflow would refuse whole numbers in columns of numbers by it, and the bundle checks its rows
    itself. The signature stands beside the registered version.
    """
    import mlflow

    document = {
        "flavors": {"python_function": {"loader_module": LOADER, "python_version": platform.python_version()}},
        "mlflow_version": mlflow.__version__,
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def signature(schema: Schema) -> dict[str, Any]:
    """Return the signature as MLflow writes it (types of its columnar schema)."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType
    from mlflow.types import Schema as Columns

    labels = schema.target.classes
    kind = DataType.double if not labels else DataType.string if isinstance(labels[0], str) else DataType.long
    inputs = Columns([ColSpec(_type(column), column.name, required=False) for column in schema.columns])
    found: dict[str, Any] = ModelSignature(inputs, Columns([ColSpec(kind, schema.target.name)])).to_dict()
    return found


def _type(column: Column) -> Any:
    from mlflow.types import DataType

    if column.kind == "category" and isinstance(next(iter(column.categories), ""), str):
        return DataType.string
    return {"boolean": DataType.boolean, "date": DataType.string}.get(column.kind, DataType.double)
