"""The page of one candidate: how it was chosen, how good it is on rows held out, what matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.models import insight, metrics, score
from components.models.card import number, word
from components.reports import model_plots
from components.reports.pages import Card, Written, cards, figure, grid, page, table, text
from serving import native
from serving.bundle import TABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from components.dataset import Dataset
    from components.models.assembly import Fitted
    from components.models.score import Scorer
    from serving.bundle import Bundle

SHOWN_COLUMNS = 6
"""Columns whose influence is drawn."""
CAPTIONS = {
    "roc": "How many true cases are found for how many false alarms; the number is the area.",
    "precision_recall": "How many alarms are right, by how many true cases are found; the number is the area.",
    "confusion": "Rows by true and predicted class; the shade is the share of the true class.",
    "calibration": "On the dotted line, what the model calls 70 % happens 7 times in 10. Larger dots are more rows.",
    "scores": "Far apart is good: sure where it is right.",
    "prediction": "On the dotted line the prediction is exact.",
    "residuals": "A band that widens or bends shows where the model errs.",
    "residual_histogram": "Centred on zero, the model is not biased.",
    "learning_curve": "Still rising at the right: more rows would help. A wide gap: the model memorizes. "
    "Of a large table, one fold is drawn.",
    "thresholds": "More recall costs precision; the dotted line is where the server says yes.",
    "importance": "Each column shuffled in turn on the validation rows.",
}


def draw(fitted: Fitted, dataset: Dataset, bundle: Bundle, seed: int) -> dict[str, Figure]:
    """Return all plots of a candidate by name; curves come from cross-validation, so no row judged its own model."""
    scorer = _quickest(fitted, bundle)
    schema, metric = dataset.schema, fitted.search.metric
    X, y = dataset.load("train")
    held, scores = fitted.search.best.held_out, fitted.search.best.scores
    watched, truth = dataset.load("validation")
    curve = insight.learning_curve(fitted.pipeline, schema, X, y, metric, seed)
    matter = insight.importance(scorer, schema, watched, truth, metric, seed)
    telling = [one.column for one in matter if one.mean > 0][:SHOWN_COLUMNS]
    along = insight.dependences(scorer, schema, X, telling, seed)
    return {
        **model_plots.answers(schema, y[held], scores),
        **({"dependence": model_plots.dependence(schema, along)} if along else {}),
        "importance": model_plots.importances(matter, metric),
        "learning_curve": model_plots.learning(curve, metric),
    }


def _quickest(fitted: Fitted, bundle: Bundle) -> Scorer:
    """Return what answers thousands of questions soonest: the folded model, proved equal, where there is one."""
    folded = bundle.path(TABLE)
    if folded is None or not native.available():
        return score.fitted(fitted.pipeline)
    return score.table(folded.read_bytes())


def write(fitted: Fitted, dataset: Dataset, bundle: Bundle, plots: dict[str, Figure]) -> str:
    """Return the page as HTML."""
    figures = bundle.json("metrics.json")
    sections = [
        ("", cards(_cards(fitted, figures))),
        ("On rows held out", _scores(dataset, figures)),
        ("Plots", grid(figure(plot, CAPTIONS[name]) for name, plot in plots.items() if name != "dependence")),
        ("What changes the answer", _dependence(fitted, dataset, plots)),
        ("Search", _search(fitted)),
        ("The served model is the fitted model", _parity(figures, classes=bool(dataset.schema.target.classes))),
    ]
    title = f"{fitted.use_case.title}: {fitted.candidate}"
    shown = [(heading, body) for heading, body in sections if body]
    return page(title, f"{fitted.use_case.description} Data set {dataset.version[:12]}.", shown)


def _dependence(fitted: Fitted, dataset: Dataset, plots: dict[str, Figure]) -> str:
    if "dependence" not in plots:
        return ""
    target = dataset.schema.target
    what = (
        f"probability of {target.classes[metrics.positive_index(target)]}"
        if target.task == "binary"
        else f"probability of the most frequent {target.name}"
        if target.classes
        else target.name
    )
    told = (
        f"The mean {what} of {insight.ASKED} training rows while one column has each value and the others stay as they "
        "are (partial dependence), for the columns that matter most; a flat line does not matter alone."
    )
    return figure(plots["dependence"], told)


def out(candidate: str, reason: str) -> str:
    """Return the page of a candidate that could not be fitted or converted."""
    sections = [
        ("It is out", text(reason)),
        ("What now", text("The run went on without it. The log of this step has the trace.")),
    ]
    return page(candidate, "This candidate is out.", sections)


def cell(value: float | None) -> float | int | None:
    """Return a figure for a table: large ones without decimals."""
    return round(value) if value is not None and 1_000 <= abs(value) < float("inf") else value


def _cards(fitted: Fitted, figures: dict[str, Any]) -> list[Card]:
    best, metric = fitted.search.best, fitted.search.metric
    proof = figures["parity"]["onnx"]
    return [
        Card(f"{word(metric)}, cross-validated", number(best.mean(metric)), f"± {number(best.deviation(metric))}"),
        Card(f"{word(metric)}, validation", number(figures["validation"][metric])),
        Card(
            "Settings",
            _settings(best.parameters),
            f"of {len(fitted.search.trials)} tried, {len(best.folds)} folds each",
        ),
        Card(
            "Served model",
            "same answers" if proof["proven"] else "differs",
            f"as the fitted one, on {proof['rows']:,} critical rows",
            "good" if proof["proven"] else "bad",
        ),
        Card(
            "Served by",
            "C" if "table" in figures["parity"] and "table_absent" not in figures else "ONNX Runtime",
            "single rows",
        ),
    ]


def _settings(parameters: Mapping[str, Any]) -> str:
    """Return the chosen setting in a few words."""
    words = [f"{name.rpartition('__')[2]} {_shown(value)}" for name, value in parameters.items()]
    return ", ".join(words) or "its defaults"


def _scores(dataset: Dataset, figures: dict[str, Any]) -> str:
    names = metrics.names(dataset.schema.target)
    crossed = figures["cross_validation"]
    folds = [f"Fold {number}" for number in range(1, len(crossed["folds"]) + 1)]
    return table(
        ("Figure", "Mean", "± SD", *folds, "Validation"),
        (
            (
                word(name),
                Written.of(crossed["mean"][name]),
                Written.of(crossed["deviation"][name]),
                *(Written.of(fold[name]) for fold in crossed["folds"]),
                Written.of(figures["validation"][name]),
            )
            for name in names
        ),
        f"Cross-validation on {crossed['rows']:,} training rows; {dataset.rows['validation']:,} validation rows.",
    )


def _search(fitted: Fitted) -> str:
    metric = fitted.search.metric
    trials = sorted(fitted.search.trials, key=lambda t: -metrics.goodness(metric, t.mean(metric)))
    names = sorted({name for trial in trials for name in trial.parameters})
    if not names:
        return text("This candidate has no search space: it was fitted once, with its defaults.")
    return table(
        (*(name.removeprefix("model__") for name in names), "Rows", word(metric), "± SD", ""),
        (
            (
                *(_shown(trial.parameters.get(name)) for name in names),
                len(trial.held_out),
                Written.of(trial.mean(metric)),
                Written.of(trial.deviation(metric)),
                "chosen" if trial is fitted.search.best else "",
            )
            for trial in trials
        ),
    )


def _parity(figures: dict[str, Any], *, classes: bool) -> str:
    rows = [
        (
            name.upper() if name == "onnx" else name,
            proof["rows"],
            proof["max_difference"],
            proof["flips"],
            proof["proven"],
        )
        for name, proof in figures["parity"].items()
    ]
    absent = figures.get("table_absent")
    told = text(f"No compiled table: {absent}. The server runs the ONNX graph instead.") if absent else ""
    asked = (
        "Asked: training values, midpoints, tree thresholds and their neighbours, missing values, unseen categories."
    )
    differ = "Classes that differ" if classes else "Values that differ"
    return table(("Form", "Rows", "Largest difference", differ, "Equal"), rows, asked) + told


def _shown(value: Any) -> str:
    return ", ".join(f"{part:g}" for part in value) if isinstance(value, tuple | list) else str(value)
