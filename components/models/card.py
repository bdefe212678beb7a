"""The model card: what a person reads before using a model, written from the bundle's own figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.models import metrics
from components.models.slices import FEWEST_ROWS, Slice, error_name, weak
from serving.schema import Column, Schema, Target, decode

if TYPE_CHECKING:
    from components.dataset import Dataset
    from components.use_cases import UseCase
    from serving.bundle import Bundle

WORDS = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "f1": "F1",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "Calibration error",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
}
"""Names of metrics for people; the others only get a capital."""
SHOWN_SLICES = 5


def word(metric: str) -> str:
    """Return the name of a metric for people."""
    return WORDS.get(metric, metric.capitalize())


def number(value: float | None) -> str:
    """Return a figure with as many digits as mean something."""
    if value is None or value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; vertical bars in cells are escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(
    bundle: Bundle, use_case: UseCase, dataset: Dataset, figures: Mapping[str, Any], golden: Mapping[str, Any]
) -> str:
    """Return the card in Markdown.

    Args:
        figures: The content of metrics.json; without `test` the card says that the test is still to come.
        golden: The content of golden.json; its first request is the example.
    """
    sections = [
        f"# {use_case.title}: {bundle.candidate}",
        use_case.description,
        "## What it answers\n\n" + _answers(bundle.schema),
        "## Data\n\n" + _data(dataset),
        "## Columns\n\n" + columns_table(bundle.schema),
        "## How good it is\n\n" + _quality(bundle.schema, figures),
        "## Where it is weaker\n\n" + _weaknesses(bundle.schema, figures),
        "## Limits\n\n" + _limits(bundle.schema),
        "## How to call it\n\n" + _call(bundle, golden),
        "## Where it comes from\n\n" + _origin(bundle, figures),
    ]
    return "\n\n".join(sections) + "\n"


def columns_table(schema: Schema) -> str:
    """Return the input columns as a Markdown table."""
    return table(
        ("Column", "Kind", "Trained on", "Meaning"),
        ((f"`{c.name}`", c.kind, _seen(c), c.description or "–") for c in schema.columns),
    )


def _seen(column: Column) -> str:
    unit = f" {column.unit}" if column.unit else ""
    if column.kind == "category":
        shown = ", ".join(map(str, column.categories[:8]))
        return shown + (f", … ({len(column.categories)} in all)" if len(column.categories) > 8 else "")
    if column.kind == "boolean":
        return "true, false"
    if column.minimum is None or column.maximum is None:
        return "–"
    return f"{decode(column, column.minimum)} to {decode(column, column.maximum)}{unit}"


def _answers(schema: Schema) -> str:
    target = schema.target
    meaning = f" ({target.description})" if target.description else ""
    if target.task == "regression":
        return f"A number for `{target.name}`{f' in {target.unit}' if target.unit else ''}{meaning}."
    classes = ", ".join(f"`{label}`" for label in target.classes)
    return f"The most probable `{target.name}` of {classes}{meaning}, and on request the probability of each."


def _data(dataset: Dataset) -> str:
    source = dataset.source
    rows = ", ".join(f"{count:,} {split}" for split, count in dataset.rows.items())
    lines = [
        f"- Source: {source.get('location') or 'given by the person who started the run'}",
        f"- Rows: {rows}; split with seed {dataset.seed}, stratified where it can be, near-duplicates kept together",
        f"- Version: `{dataset.version}`",
    ]
    lines += [f"- {name.capitalize()}: {source[name]}" for name in ("licence", "credit") if source.get(name)]
    return "\n".join([*lines, *(f"- {note}" for note in dataset.notes)])


def _quality(schema: Schema, figures: Mapping[str, Any]) -> str:
    crossed, validation, test = figures["cross_validation"], figures["validation"], figures.get("test")
    headers = ["Figure", f"Cross-validation ({len(crossed['folds'])} folds)", "Validation"]
    rows = []
    for name in metrics.names(schema.target):
        row = [word(name), f"{number(crossed['mean'][name])} ± {number(crossed['deviation'][name])}"]
        row.append(number(validation[name]))
        if test:
            figure = test["figures"][name]
            row.append(f"**{number(figure['value'])}** ({number(figure['low'])} to {number(figure['high'])})")
        rows.append(row)
    if not test:
        return table(headers, rows) + "\n\nNot yet judged on the test rows."
    headers.append(f"Test, {test['rows']:,} rows (95 % interval)")
    return table(headers, rows) + (
        "\n\nThe test rows were used once, for this table. Intervals are bootstrap percentiles of the test rows."
    )


def _weaknesses(schema: Schema, figures: Mapping[str, Any]) -> str:
    test = figures.get("test")
    if not test:
        return "Not yet judged on the test rows."
    return weaknesses(schema.target, figures["metric"], [Slice(**part) for part in test["slices"]])


def weaknesses(target: Target, metric: str, parts: Sequence[Slice]) -> str:
    """Return the slices on which a model errs more than elsewhere, the most certain first."""
    if not parts:
        return f"No slice of the test rows is large enough to tell ({FEWEST_ROWS} rows)."
    found = weak(parts)[:SHOWN_SLICES]
    if not found:
        return f"None of {len(parts)} slices of the test rows is clearly weaker than the other rows."
    error = word(error_name(target))
    told = table(
        ("Slice", "Rows", error, "Above the other rows by (95 %)", word(metric)),
        (
            (
                f"`{part.column}`: {part.name}",
                f"{part.rows:,}",
                number(part.error),
                f"{number(part.excess)} ({number(part.low)} to {number(part.high)})",
                number(part.value),
            )
            for part in found
        ),
    )
    return (
        f"{told}\n\nOf {len(parts)} slices, those whose {error} is above that of the other rows with its whole "
        "interval; about one slice in forty is by chance."
    )


def _limits(schema: Schema) -> str:
    ranges = [column for column in schema.columns if column.kind in ("number", "integer", "date")]
    lines = [
        "- It has learned from the rows above and knows nothing else: check it on rows of your own first.",
        "- A missing value is replaced as in training, and a category it never saw counts as none of the known ones; "
        "both are answered, not refused.",
    ]
    if ranges:
        lines.append(
            "- Values outside the range of the training rows are extrapolated without a warning in the answer."
        )
    if schema.target.task != "regression":
        lines.append("- Probabilities are as good as their calibration error says; they are not certainties.")
    return "\n".join(lines)


def _call(bundle: Bundle, golden: Mapping[str, Any]) -> str:
    request = golden["requests"][0]
    body = json.dumps({"instances": request["instances"][:1]}, ensure_ascii=False)
    answer = json.dumps({"predictions": request["predictions"][:1]}, ensure_ascii=False)
    return (
        f"Send this to `/v1/models/{bundle.model}:predict` of the server:\n\n```json\n{body}\n```\n\n"
        f"The answer:\n\n```json\n{answer}\n```"
    )


def slow_form(figures: Mapping[str, Any]) -> str:
    """Return a warning when a model was not folded, which costs it most of the server's speed; empty when it was.

    The factor is that of a forest of 300 trees on one core: 8.2 instead of 0.8 microseconds a row.
    """
    absent = figures.get("table_absent", "")
    return f"not compiled, ONNX Runtime answers, about ten times the time a row: {absent}" if absent else ""


def _origin(bundle: Bundle, figures: Mapping[str, Any]) -> str:
    parameters = ", ".join(f"`{name}` {value}" for name, value in figures["parameters"].items()) or "none searched"
    proof = figures["parity"]["onnx"]
    libraries = ", ".join(f"{name} {version}" for name, version in bundle.provenance.get("libraries", {}).items())
    lines = [
        f"- Candidate `{bundle.candidate}`, fitted on {figures['fitted_rows']:,} training rows; parameters found by "
        f"search: {parameters}",
        f"- The served model answered {proof['rows']:,} critical rows like the fitted pipeline: largest difference "
        f"{proof['max_difference'] or 0.0:.1e}, {proof['flips']} classes differ",
        f"- Made with {libraries}",
    ]
    if warning := slow_form(figures):
        lines.append(f"- Warning: {warning}")
    if bundle.provenance.get("code"):
        lines.append(f"- Code version `{bundle.provenance['code']}`")
    return "\n".join(lines)
