"""The OpenAPI document of a server: made from the schema of the bundle it serves, so that it is true.

V2 tensors are described for one row: JSON Schema cannot say that a tensor has as many values as its shape says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serving import __version__
from serving.options import Options
from serving.predictor import Predictor
from serving.schema import FLOAT32_MAX, Column
from serving.v2 import PREDICTION, PROBABILITIES, label_datatype

Json = dict[str, Any]
SCALAR: Json = {"type": ["string", "number", "boolean", "null"]}
ERRORS: Mapping[str, str] = {
    "400": "The request does not fit; the message starts with the path of the field",
    "404": "The message names another model or version",
    "408": "The request did not arrive in time",
    "413": "The body is too large",
    "415": "The body is compressed, and not with gzip or deflate",
    "431": "The request head is too large",
    "503": "Not ready, or too busy: try again after Retry-After",
}


def openapi(predictor: Predictor, options: Options) -> Json:
    """Return the OpenAPI 3.1 document."""
    secured = bool(options.api_keys)
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": options.model_name,
            "version": predictor.version or "unregistered",
            "summary": f"Predicts {predictor.schema.target.name}.",
            "description": f"Headrace {__version__}. Bundle {predictor.bundle.digest}.",
        },
        "paths": {**_server_paths(), **_v1_paths(options), **_v2_paths(predictor, options)},
        "components": {
            "schemas": _schemas(predictor, options),
            "responses": {code: _response(text, "Error") for code, text in ERRORS.items()}
            | {"401": _response("A key is needed", "Error"), "429": _response("Too many requests", "Error")},
            **({"securitySchemes": schemes} if secured else {}),
        },
    }


def _server_paths() -> Json:
    return {
        "/": {"get": _get("What this server is", "Status")},
        "/metrics": {"get": _get("Prometheus metrics", None, "text/plain")},
        "/inference.protoset": {
            "get": _get("descriptors of the gRPC service, for grpcurl -protoset", None, "application/octet-stream")
        },
        "/docs": {"get": _get("How to call this server", None, "text/html")},
        "/openapi.json": {"get": _get("This document", "Any")},
        "/v2": {"get": _get("Name, version and extensions of the server", "ServerMetadata")},
        "/v2/health/live": {"get": _get("Liveness", "Live")},
        "/v2/health/ready": {"get": _get("Readiness", "Ready", busy="Ready")},
        "/v2/models": {"get": _get("The models of this server", "Models")},
        "/v1/models": {"get": _get("The models of this server", "Models")},
    }


def _v1_paths(options: Options) -> Json:
    base = f"/v1/models/{options.model_name}"
    card = _get("The model card", None, "text/markdown")
    card["responses"]["200"]["content"]["text/html"] = {"schema": {"type": "string"}}
    return {
        base: {"get": _get("Readiness of the model", "ModelReady", busy="ModelReady")},
        f"{base}/schema": {"get": _get("Columns and target", "Any")},
        f"{base}/card": {"get": card},
        f"{base}:predict": {"post": _post("Predict rows", "Instances", "Predictions", options)},
        f"{base}:explain": {"post": _post("Contribution of each feature", "Explainable", "Explanations", options)},
    }


def _v2_paths(predictor: Predictor, options: Options) -> Json:
    infer = _post("Predict tensors (Open Inference Protocol)", "InferRequest", "InferResponse", options)
    infer["responses"] |= _errors("404")
    infer["responses"]["200"]["content"]["application/octet-stream"] = {"schema": {"type": "string"}}
    paths: Json = {}
    bases = [f"/v2/models/{options.model_name}"]
    if predictor.version is not None:
        bases.append(f"{bases[0]}/versions/{predictor.version}")
    for base in bases:
        paths[base] = {"get": _get("Tensors in and out", "ModelMetadata")}
        paths[f"{base}/ready"] = {"get": _get("Readiness of the model", "ModelReady", busy="ModelReady")}
        paths[f"{base}/infer"] = {"post": infer}
    return paths


def _get(summary: str, schema: str | None, content: str = "application/json", busy: str | None = None) -> Json:
    responses = {"200": _response("Done", schema, content), **_errors("408", "431")}
    if busy is not None:
        responses["503"] = _response("Not ready", busy)
    return {"summary": summary, "responses": responses}


def _post(summary: str, request: str, response: str, options: Options) -> Json:
    document: Json = {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(request)}}},
        "responses": {"200": _response("Done", response), **_errors(*(code for code in ERRORS if code != "404"))},
    }
    if options.api_keys:
        document["security"] = [{"bearer": []}, {"key": []}]
        document["responses"] |= _errors("401", "429")
    return document


def _errors(*codes: str) -> Json:
    return {code: {"$ref": f"#/components/responses/{code}"} for code in codes}


def _response(text: str, schema: str | None, content: str = "application/json") -> Json:
    described = _ref(schema) if schema is not None else {"type": "string"}
    return {"description": text, "content": {content: {"schema": described}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list(items: Json, least: int = 0, most: int | None = None) -> Json:
    return {"type": "array", "items": items, "minItems": least, **({"maxItems": most} if most is not None else {})}


def _tuple(items: list[Json]) -> Json:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def _schemas(predictor: Predictor, options: Options) -> Json:
    text: Json = {"type": "string"}
    truth: Json = {"type": "boolean"}
    return {
        "Any": {"type": "object"},
        "Error": _object({"error": text}),
        "Status": {"type": "object", "properties": {"status": {"const": "alive"}}, "required": ["status"]},
        "Live": _object({"live": truth}),
        "Ready": _object({"ready": truth}),
        "ModelReady": _object({"name": text, "ready": truth}),
        "Models": _object({"models": _list(text)}),
        "ServerMetadata": _object({"name": text, "version": text, "extensions": _list(text)}),
        "TensorMetadata": _object({"name": text, "datatype": text, "shape": _list({"type": "integer"})}),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": _list(text),
                "platform": text,
                "inputs": _list(_ref("TensorMetadata")),
                "outputs": _list(_ref("TensorMetadata")),
            }
        ),
        **_v1_schemas(predictor, options),
        **_v2_schemas(predictor, options),
    }


def _v1_schemas(predictor: Predictor, options: Options) -> Json:
    columns = predictor.schema.columns
    values = {column.name: _value(column) for column in columns}
    spare = tuple({*predictor.schema.unused, predictor.schema.target.name} - set(values))
    row = {"anyOf": [_ref("RowByName"), _ref("RowInOrder")]}
    flag: Json = {"type": "boolean"} if predictor.classes else {"const": False}
    parameters = {"type": ["object", "null"], "properties": {"probabilities": flag}, "additionalProperties": False}
    answers: Json = {"predictions": _list(_label(predictor))}
    if predictor.classes:
        answers["probabilities"] = _list(_list({"type": "number"}))
    number: Json = {"type": "number"}
    explanation: Json = {
        "method": {"type": "string"},
        "scale": {"enum": ["probability", "log-odds", "score before softmax", "prediction"]},
        "class": _label(predictor),
        "base": number,
        "score": number,
        "contributions": _object(dict.fromkeys(values, number)),
        "relative_to": {"type": "string"},
        "background": {"type": "object"},
        "standard_error": number,
    }
    return {
        "RowByName": _object({**{name: {} for name in spare}, **values}, optional=spare),
        "RowInOrder": _tuple(list(values.values())),
        "Instances": _object(
            {"instances": _list(row, 1, options.max_rows), "parameters": parameters}, optional=("parameters",)
        ),
        "Explainable": _object({"instances": _list(row, 1, 64), "parameters": parameters}, optional=("parameters",)),
        "Predictions": _object(answers, optional=("probabilities",)),
        "Explanations": _object(
            {
                "predictions": _list(_label(predictor)),
                "explanations": _list(_object(explanation, optional=("class", "standard_error"))),
            }
        ),
    }


def _v2_schemas(predictor: Predictor, options: Options) -> Json:
    text: Json = {"type": "string"}
    parameters: Json = {"type": ["object", "null"], "additionalProperties": SCALAR}
    names = [PREDICTION, PROBABILITIES] if predictor.classes else [PREDICTION]
    switch = {"type": ["object", "null"], "properties": {"binary_data": {"type": "boolean"}}}
    output = _object(
        {"name": {"enum": names}, "parameters": {**switch, "additionalProperties": SCALAR}}, optional=("parameters",)
    )
    given = {
        "name": {"enum": names},
        "shape": _list({"type": "integer"}, 1),
        "datatype": {"enum": sorted({label_datatype(predictor), "FP64"})},
        "data": _list({}),
        "parameters": parameters,
    }
    whole: Json = {"properties": {"binary_data_output": {"type": "boolean"}}}
    return {
        "InferRequest": _object(
            {
                "model_name": {"enum": [options.model_name, None]},
                "model_version": {"enum": [predictor.version, "", None] if predictor.version else ["", None]},
                "id": {"type": ["string", "null"]},
                "parameters": {**parameters, **whole},
                "inputs": _inputs(predictor),
                "outputs": {"anyOf": [*_each_once(output, names), {"type": "null"}]},
            },
            optional=("model_name", "model_version", "id", "parameters", "outputs"),
        ),
        "InferResponse": _object(
            {
                "model_name": text,
                "model_version": text,
                "id": text,
                "outputs": _list(_object(given, optional=("data", "parameters"))),
            },
            optional=("model_version", "id"),
        ),
    }


def _each_once(output: Json, names: Sequence[str]) -> list[Json]:
    """Return the lists in which an output is named once: of none or one, and of all in any order."""
    few: Json = {**_list(output), "maxItems": 1}
    if len(names) < 2:
        return [few]
    held = [{"contains": {"required": ["name"], "properties": {"name": {"const": name}}}} for name in names]
    return [few, {**_list(output), "minItems": len(names), "maxItems": len(names), "allOf": held}]


def _inputs(predictor: Predictor) -> Json:
    columns = predictor.schema.columns
    single = _tuple([_tensor({"const": column.name}, *_tensor_value(column)) for column in columns])
    numeric = all(_is_numeric(column) for column in columns)
    if len(columns) == 1 or not numeric:
        return single
    tensor = _object(
        {
            "name": {"type": "string"},
            "datatype": {"const": "FP64"},
            "shape": {"const": [1, len(columns)]},
            "data": _tuple([_number_value(column) for column in columns]),
        }
    )
    return {"anyOf": [single, _tuple([tensor])]}


def _tensor(name: Json, datatype: str, value: Json) -> Json:
    return _object({"name": name, "datatype": {"const": datatype}, "shape": {"const": [1]}, "data": _tuple([value])})


def _tensor_value(column: Column) -> tuple[str, Json]:
    """Return datatype and JSON Schema of a column's values in V2."""
    if column.kind == "boolean":
        return "BOOL", {"type": ["boolean", "null"]}
    if column.kind == "date" or (column.kind == "category" and not _is_numeric(column)):
        return "BYTES", _typed(column)
    return "FP64", _typed(column)


def _is_numeric(column: Column) -> bool:
    if column.kind == "category":
        return bool(column.categories) and not isinstance(column.categories[0], str)
    return column.kind != "date"


def _number_value(column: Column) -> Json:
    return {"enum": [0, 1, None]} if column.kind == "boolean" else _typed(column)


NUMERIC: Json = {"type": ["number", "string", "null"], "pattern": r"^([+-]?[0-9]{1,15}(\.[0-9]{0,15})?)?$"}
"""Numbers, also as text; nothing between the quotes is a missing value."""


def _value(column: Column) -> Json:
    """Return the JSON Schema of a column's values in V1."""
    described: Json = {"description": column.description} if column.description else {}
    if column.kind in ("number", "integer"):
        return {**NUMERIC, "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX, **described}
    if column.kind == "boolean":
        return {"enum": [True, False, 0, 1, "true", "false", "", None], **described}
    if column.kind == "date":
        forms = [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}, {"enum": ["", None]}]
        return {"anyOf": forms, **described}
    kind: Json = NUMERIC if _is_numeric(column) else {"type": ["string", "null"]}
    return {**kind, "examples": list(column.categories[:5]), **described}


def _typed(column: Column) -> Json:
    """Return the JSON Schema of a column's values in V2, where the datatype has been said."""
    if column.kind in ("number", "integer") or (column.kind == "category" and _is_numeric(column)):
        return {**_value(column), "type": ["number", "null"]}
    return {"enum": [True, False, 0, 1, None]} if column.kind == "boolean" else _value(column)


def _label(predictor: Predictor) -> Json:
    return {"enum": list(predictor.classes)} if predictor.classes else {"type": "number"}
