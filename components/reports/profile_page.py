"""The page of `profile`: what is in the data, column by column, and what has to do with the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from components.dataset import Dataset, encode_frame, encode_target
from components.reports import pages, svg
from components.reports.alerts import alerts, moments
from components.reports.theme import PALETTE
from components.tables import relations
from components.tables.checks import Facts
from components.tables.statistics import Numbers, Values
from components.tables.wording import is_year, share
from serving.schema import Column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from components.use_cases import UseCase

SAMPLE_ROWS = 50_000
MOST_CHARTS = 48
MOST_RELATIONS = 12
MOST_CORRELATED = 20
MOST_CLASSES_DRAWN = len(PALETTE)
MOST_BARS = 10


@dataclass(frozen=True)
class Sample:
    """Training rows that the charts are drawn from.

    Attributes:
        groups: Class of each row, or its tenth of a regression target.
        series: Names of the classes drawn as colours; one nameless series for regression or too many classes.
        strength: Column -> association with the target, strongest first.
    """

    frame: pd.DataFrame
    matrix: NDArray[np.float64]
    target: NDArray[Any]
    groups: NDArray[np.int64]
    series: tuple[str, ...]
    strength: Mapping[str, float]

    @property
    def colours(self) -> NDArray[np.int64]:
        """Return the series of each row."""
        return self.groups if len(self.series) > 1 else np.zeros(len(self.groups), dtype=np.int64)


def sample_of(dataset: Dataset) -> Sample:
    """Return at most 50,000 training rows, spread evenly, and what they tell about the target."""
    frame = dataset.sample("train", SAMPLE_ROWS)
    schema = dataset.schema
    matrix, target = encode_frame(schema, frame), encode_target(schema, frame)
    groups = relations.target_groups(schema, target)
    classes = schema.target.classes
    strength = {
        column.name: relations.association(relations.binned(column, matrix[:, place], equal_rows=True), groups)
        for place, column in enumerate(schema.columns)
    }
    return Sample(
        frame=frame,
        matrix=matrix,
        target=target,
        groups=groups,
        series=tuple(map(str, classes)) if 0 < len(classes) <= MOST_CLASSES_DRAWN else ("",),
        strength=dict(sorted(strength.items(), key=lambda item: -item[1])),
    )


def document(dataset: Dataset, facts: Facts, case: UseCase) -> str:
    """Return the HTML page of a data set."""
    sample = sample_of(dataset)
    sections = [
        ("", f"<style>{svg.CSS}</style>{_overview(dataset, facts)}"),
        ("To know first", pages.bullets(alerts(dataset, facts, sample.matrix, sample.target, sample.strength))),
        ("Target", _target(dataset, facts, sample)),
        ("Columns", _columns(dataset, facts, sample)),
        ("What goes with the target", _related(dataset, sample)),
        ("Correlation", _correlation(dataset, sample)),
        ("Missing values", _missing(dataset, facts)),
        ("All columns in numbers", _numbers(dataset, facts, sample)),
        ("Some rows", _rows(dataset)),
        ("Where the data is from", _source(dataset)),
    ]
    title = case.title if case.columns else f"{dataset.model}: {dataset.schema.target.name}"
    return pages.page(
        title, case.description, [(heading, body) for heading, body in sections if body not in ("", "<ul></ul>")]
    )


def _overview(dataset: Dataset, facts: Facts) -> str:
    kinds = [column.kind for column in dataset.schema.columns]
    held = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    cells = facts.rows * max(1, len(facts.columns))
    gaps = sum(one.missing for one in facts.columns.values())
    rows = dataset.rows
    target = dataset.schema.target
    return pages.cards(
        [
            pages.Card(
                "Rows",
                f"{facts.rows:,}",
                f"{rows['train']:,} train, {rows['validation']:,} validation, {rows['test']:,} test",
            ),
            pages.Card("Columns", f"{len(kinds)}", held),
            pages.Card("Target", target.name, f"{target.task}{f', in {target.unit}' if target.unit else ''}"),
            pages.Card(
                "Missing values", share(gaps / cells), f"{gaps:,} of {cells:,} cells", "warn" if gaps else "good"
            ),
            pages.Card(
                "Repeated rows",
                f"{facts.duplicates:,}",
                "equal in every column",
                "warn" if facts.duplicates else "good",
            ),
            pages.Card("Version", dataset.version[:8], "the hash of the data"),
        ]
    )


def _target(dataset: Dataset, facts: Facts, sample: Sample) -> str:
    target = dataset.schema.target
    if isinstance(facts.target, Values):
        labels = [label for label in target.classes if label in facts.target.counts][:30]
        stacks = [
            [facts.target.counts[label] if place == row else 0 for row, label in enumerate(labels)]
            for place in range(len(labels))
        ]
        chart = svg.bars([str(label) for label in labels], stacks, [""] * len(labels))
        rarest = min(facts.target.counts.values()) / facts.target.rows
        told = f"{len(target.classes)} classes; the rarest is {share(rarest)} of the rows"
        if target.positive is not None:
            told += f"; the score is the probability of {target.positive}"
        told = f"{target.description}. {told}." if target.description else f"{told}."
        return _figure(target.name, "rows per class, of all rows", chart, told, size="half")
    column = Column(target.name, "number", target.unit)
    cut = relations.binned(column, sample.target, equal_rows=False, bins=40)
    assert cut is not None
    low, quarter, half, three, high = facts.target.quantiles
    told = f"From {low:,.6g} to {high:,.6g}, median {half:,.6g}; half of the values are between "
    told += f"{quarter:,.6g} and {three:,.6g}."
    stacks = relations.counts(cut, np.zeros(len(sample.target), dtype=np.int64), 1)
    chart = svg.histogram(cut.edges, stacks, ("",), _reader(column))
    told = f"{target.description}. {told}" if target.description else told
    return _figure(target.name, target.unit, chart, told, size="half")


def _columns(dataset: Dataset, facts: Facts, sample: Sample) -> str:
    """Return a chart per column; of very many, those with most to do with the target."""
    names = set(list(sample.strength)[:MOST_CHARTS])
    charts = []
    for place, column in enumerate(dataset.schema.columns):
        if column.name in names:
            charts.append(_distribution(column, facts.columns[column.name], sample, place))
    told = f"Training rows{_sampled(dataset)}"
    if len(names) < len(dataset.schema.columns):
        told += f"; the {MOST_CHARTS} of {len(dataset.schema.columns)} columns that have most to do with the target"
    coloured = f", coloured by {dataset.schema.target.name}" if len(sample.series) > 1 else ""
    key = svg.legend(sample.series) if len(sample.series) > 1 else ""
    return pages.text(f"{told}{coloured}.") + key + pages.grid(charts)


def _sampled(dataset: Dataset) -> str:
    return f", {SAMPLE_ROWS:,} of them drawn evenly" if dataset.rows["train"] > SAMPLE_ROWS else ""


def _distribution(column: Column, found: Numbers | Values, sample: Sample, place: int) -> str:
    cut = relations.binned(column, sample.matrix[:, place], equal_rows=False, bins=24)
    gaps = f"{share(found.missing_share)} missing" if found.missing else ""
    sub = ", ".join(part for part in (column.kind, column.unit, gaps) if part)
    if cut is None:
        return _figure(column.name, sub, "", "No value in the training rows.")
    stacks = relations.counts(cut, sample.colours, len(sample.series))
    if cut.labels:
        labels, stacks = _top(cut.labels, stacks)
        return _figure(column.name, sub, svg.bars(labels, stacks, sample.series), column.description)
    whole = column.kind == "integer" and cut.edges[1] - cut.edges[0] == 1
    if beyond := int((cut.codes < 0).sum() - np.isnan(sample.matrix[:, place]).sum()):
        sub += f"; {share(beyond / len(cut.codes))} of the rows are beyond this range"
    chart = svg.histogram(cut.edges, stacks, sample.series, _reader(column), whole=whole)
    return _figure(column.name, sub, chart, column.description)


def _top(labels: Sequence[str], stacks: list[list[int]]) -> tuple[list[str], list[list[int]]]:
    """Return the ten most frequent bars, the others added up in one more."""
    totals = [sum(series[place] for series in stacks) for place in range(len(labels))]
    if len(labels) <= MOST_BARS:
        return list(labels), stacks
    order = sorted(range(len(labels)), key=lambda place: -totals[place])
    first, rest = order[:MOST_BARS], order[MOST_BARS:]
    drawn = [[series[place] for place in first] + [sum(series[place] for place in rest)] for series in stacks]
    return [labels[place] for place in first] + [f"{len(rest)} others"], drawn


def _related(dataset: Dataset, sample: Sample) -> str:
    """Return a chart of the target along each of the columns that have most to do with it."""
    places = {column.name: place for place, column in enumerate(dataset.schema.columns)}
    drawn: list[tuple[Column, relations.Binned, float]] = []
    for name, strength in list(sample.strength.items())[:MOST_RELATIONS]:
        column = dataset.schema.columns[places[name]]
        cut = relations.binned(column, sample.matrix[:, places[name]], equal_rows=True)
        if cut is not None and strength > 0:
            drawn.append((column, cut, strength))
    reach = _reach(dataset, [cut for _, cut, _ in drawn], sample)
    charts = [
        _figure(column.name, f"association {strength:.2f}", _relation(column, cut, sample, reach), "")
        for column, cut, strength in drawn
    ]
    if not charts:
        return pages.text("No column alone has to do with the target; together they may.")
    how = (
        "The share of each class"
        if dataset.schema.target.classes
        else f"Median and middle half of {dataset.schema.target.name}"
    )
    told = (
        f"{how} along each column, strongest first. Association is Cramér's V between tenths of the column and the "
        "target: 0 is none, 1 is complete."
    )
    key = svg.legend(sample.series) if len(sample.series) > 1 else ""
    return pages.text(told) + key + pages.grid(charts)


def _reach(dataset: Dataset, cuts: Sequence[relations.Binned], sample: Sample) -> tuple[float, float]:
    """Return the lowest and highest quartile of the target in any bin: the scale that all charts share."""
    if dataset.schema.target.classes:
        return 0.0, 1.0
    found = [
        np.quantile(sample.target[cut.codes == place], (0.25, 0.75))
        for cut in cuts
        for place in range(min(cut.number, 30))
        if (cut.codes == place).any()
    ]
    return (float(np.min(found)), float(np.max(found))) if found else (0.0, 1.0)


def _relation(column: Column, cut: relations.Binned, sample: Sample, reach: tuple[float, float]) -> str:
    if len(sample.series) > 1:
        stacks = relations.counts(cut, sample.colours, len(sample.series))
        if cut.labels:
            labels, stacks = _top(cut.labels, stacks) if column.kind == "category" else (list(cut.labels), stacks)
            return svg.bars(labels, stacks, sample.series, percent=True)
        return svg.histogram(cut.edges, stacks, sample.series, _reader(column), percent=True)
    bins = [place for place in range(cut.number) if (cut.codes == place).any()][:30]
    parts = [np.quantile(sample.target[cut.codes == place], (0.25, 0.5, 0.75)) for place in bins]
    lows, middles, highs = ([float(part[level]) for part in parts] for level in range(3))
    if cut.labels:
        order = sorted(range(len(bins)), key=lambda place: -middles[place])[: MOST_BARS + 2]
        lows, middles, highs = ([level[place] for place in order] for level in (lows, middles, highs))
        return svg.lying_band([cut.labels[bins[place]] for place in order], lows, middles, highs, svg.compact, reach)
    edges = [cut.edges[place] for place in bins] + [cut.edges[bins[-1] + 1]]
    return svg.band(edges, lows, middles, highs, _reader(column), svg.compact, reach)


def _correlation(dataset: Dataset, sample: Sample) -> str:
    names, matrix = relations.correlations(dataset.schema, sample.matrix, sample.target)
    if len(names) < 3:
        return ""
    strong = [name for name in sample.strength if name in names][:MOST_CORRELATED]
    kept = [place for place, name in enumerate(names) if name in strong or place == len(names) - 1]
    chart = svg.heatmap([names[place] for place in kept], matrix[np.ix_(kept, kept)].tolist())
    told = (
        "Rank correlation (Spearman) of the columns that have an order: blue rises together, orange against each other."
    )
    if len(kept) < len(names):
        told += f" The {len(kept)} of {len(names)} columns that have most to do with the target."
    return f'{pages.text(told)}<figure class="wide">{chart}</figure>'


def _missing(dataset: Dataset, facts: Facts) -> str:
    gaps = {name: found.missing for name, found in facts.columns.items() if found.missing}
    if not gaps:
        return pages.text("No value is missing.")
    ordered = sorted(gaps.items(), key=lambda item: -item[1])[:30]
    rows = [(name, missing, share(missing / facts.rows), _gauge(missing / facts.rows)) for name, missing in ordered]
    body = "".join(
        f"<tr><td>{escape(name)}</td><td class=number>{missing:,}</td><td class=number>{part}</td><td>{drawn}</td></tr>"
        for name, missing, part, drawn in rows
    )
    head = "<tr><th>Column</th><th class=number>Missing</th><th class=number>Share</th><th style='width:60%'></th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _gauge(part: float) -> str:
    return (
        '<svg viewBox="0 0 100 4" preserveAspectRatio="none" style="width:100%;height:.6rem;vertical-align:middle">'
        f'<rect class="empty" width="100" height="4"/><rect class="s1" width="{100 * part:.2f}" height="4"/></svg>'
    )


def _numbers(dataset: Dataset, facts: Facts, sample: Sample) -> str:
    rows = []
    for place, column in enumerate(dataset.schema.columns):
        found = facts.columns[column.name]
        told = _reader(column)
        if isinstance(found, Numbers):
            low, quarter, half, three, high = map(told, found.quantiles)
            skew, zeros, outliers = moments(sample.matrix[:, place])
            dated = column.kind == "date"
            shape = ("", "", "", "") if dated else (told(found.deviation), f"{skew:.1f}", share(zeros), share(outliers))
            spread: tuple[str, ...] = (low, quarter, half, told(found.mean), three, high, *shape)
        else:
            spread = ("", "", str(next(iter(found.counts), "")), *[""] * 7)
        rows.append(
            (
                column.name,
                column.kind,
                column.unit,
                share(found.missing_share),
                found.distinct,
                *spread,
                round(sample.strength[column.name], 2),
            )
        )
    spread_heads = ("Least", "25 %", "Median or mode", "Mean", "75 %", "Most", "± SD", "Skew", "Zeros", "Outliers")
    heads = ("Column", "Kind", "Unit", "Missing", "Distinct", *spread_heads, "Association")
    told_all = "All rows; skew, zeros, outliers (beyond 1.5 interquartile ranges) and association are of training rows."
    return pages.table(heads, rows, told_all)


def _rows(dataset: Dataset) -> str:
    frame = dataset.sample("train", 8)
    names = [*dataset.schema.names[:MOST_CHARTS], dataset.schema.target.name]
    dates = {column.name for column in dataset.schema.columns if column.kind == "date"}

    def cell(name: str, value: Any) -> Any:
        if value is None or value != value:
            return None
        if name in dates:
            return str(value).removesuffix(" 00:00:00")
        return value.item() if hasattr(value, "item") else value

    rows = [[cell(name, row[name]) for name in names] for row in frame.to_dict("records")]
    return pages.table(names, rows)


def _source(dataset: Dataset) -> str:
    source = dataset.source
    facts = [f"{source['location']} ({source['bytes']:,} bytes, sha256 {source['sha256']})"]
    facts += [f"{word.capitalize()}: {source[word]}" for word in ("licence", "credit") if source.get(word)]
    facts.append(f"Data set version {dataset.version}, split with seed {dataset.seed}")
    notes = pages.text("What cleaning did:") + pages.bullets(dataset.notes) if dataset.notes else ""
    return notes + pages.bullets(facts)


def _figure(name: str, sub: str, chart: str, caption: str, size: str = "") -> str:
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = f' class="{size}"' if size else ""
    chart = chart.replace('role="img"', f'role="img" aria-label="{escape(name)}"', 1)
    return f'<figure{kind}><h3>{escape(name)}</h3><p class="sub">{escape(sub)}</p>{chart}{told}</figure>'


def _reader(column: Column) -> svg.Text:
    """Return how a person reads the numbers of a column."""
    if column.kind == "date":
        return lambda days: str((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)).date())
    if column.kind == "integer" and is_year(column):
        return lambda number: f"{number:.0f}"
    if column.kind == "integer":
        return lambda number: f"{number:,.0f}" if abs(number) < 1e5 else svg.compact(number)
    return lambda number: f"{number + 0.0:,.3g}" if abs(number) < 1e3 else svg.compact(number)
