"""One look for every page: a self-contained HTML document with inline CSS and inline plots, light and dark.

A page is `page(title, subtitle, [(heading, body), ...])`; bodies are joined from `cards`, `table`, `figure`, `text`.
Whatever comes from data is escaped here, never by the caller.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from components.reports.theme import CSS, THEMED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_SVG = 400_000
"""Bytes; a plot with more shapes than this is embedded as PNG, so that pages stay quick to open."""
Tone = Literal["", "good", "warn", "bad"]


@dataclass(frozen=True)
class Card:
    """One number a person looks for first."""

    label: str
    value: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Written:
    """A number as text, for tables whose numbers should have equal decimals."""

    text: str

    @classmethod
    def of(cls, value: float | None, decimals: int = 3) -> Written | None:
        """Return a figure with fixed decimals, without them from 100 on; None where there is none."""
        if value is None or value != value:
            return None
        return cls(f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{decimals}f}")


def page(title: str, subtitle: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return a whole HTML document.

    Args:
        sections: (heading, HTML body); an empty heading draws the body without one (the cards at the top).
    """
    headings = [(f"section-{number}", heading) for number, (heading, _) in enumerate(sections) if heading]
    links = "".join(f'<a href="#{anchor}">{escape(heading)}</a>' for anchor, heading in headings)
    bodies = "".join(
        f'<section id="section-{number}">{f"<h2>{escape(heading)}</h2>" if heading else ""}{body}</section>'
        for number, (heading, body) in enumerate(sections)
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>"
        f"{f'<nav>{links}</nav>' if len(headings) > 1 else ''}</header><main>{bodies}</main></body></html>\n"
    )


def cards(items: Iterable[Card]) -> str:
    """Return a row of large numbers."""
    drawn = "".join(
        f'<div class="card {card.tone}"><span>{escape(card.label)}</span>'
        f"<b{' class=long' if len(card.value) > 11 else ''}>{escape(card.value)}</b>"
        f"{f'<small>{escape(card.note)}</small>' if card.note else ''}</div>"
        for card in items
    )
    return f'<div class="cards">{drawn}</div>'


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """Return a table; numbers are right-aligned, None is a dash, and it scrolls sideways where it does not fit."""
    lines = [list(row) for row in rows]
    head = "".join(_head(header, [row[place] for row in lines]) for place, header in enumerate(headers))
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in lines)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def text(*paragraphs: str) -> str:
    """Return paragraphs of plain text."""
    return "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)


def bullets(items: Iterable[str]) -> str:
    """Return a list of sentences."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def links(items: Iterable[tuple[str, str, str]]) -> str:
    """Return a list of links: (address, text, note)."""
    drawn = "".join(
        f'<li><a href="{escape(address)}">{escape(words)}</a>{f" — {escape(note)}" if note else ""}</li>'
        for address, words, note in items
    )
    return f"<ul>{drawn}</ul>" if drawn else ""


def preformatted(words: str) -> str:
    """Return lines as they stand, such as a command to paste."""
    return f"<pre>{escape(words)}</pre>"


def grid(parts: Iterable[str]) -> str:
    """Return HTML parts side by side, as many per row as fit."""
    return f'<div class="grid">{"".join(parts)}</div>'


def figure(fig: Figure, caption: str = "") -> str:
    """Return a matplotlib figure as inline SVG (PNG when the SVG would be large), its colours following the theme."""
    _dress(fig)
    label = escape(", ".join(axes.get_title(loc="left") for axes in fig.axes if axes.get_title(loc="left")))
    drawn = _svg(fig).replace('role="img"', f'role="img" aria-label="{label}"', 1)
    if len(drawn) > LARGEST_SVG:
        drawn = _png(fig).replace('alt=""', f'alt="{label}"', 1)
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{drawn}{told}</figure>"


def _head(header: str, values: Sequence[Any]) -> str:
    """Return a heading that stands over its column: to the right when the column holds numbers."""
    numeric = any(isinstance(value, int | float | Written) and not isinstance(value, bool) for value in values)
    return f"<th{' class=number' if numeric else ''}>{escape(header)}</th>"


def _cell(value: Any) -> str:
    if value is None:
        return '<td class="none">–</td>'
    if isinstance(value, Written):
        return f'<td class="number">{value.text}</td>'
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:,.4g}</td>' if abs(value) < 1e5 else f'<td class="number">{value:,.0f}</td>'
    return f"<td>{escape(str(value))}</td>"


def _dress(fig: Figure) -> None:
    """Apply what matplotlib decides when something is added, not when the figure is made."""
    fig.patch.set_alpha(0.0)
    for axes in fig.axes:
        title = axes.get_title()
        if title:
            axes.set_title("")
            axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
        if (legend := axes.get_legend()) is not None:
            legend.set_frame_on(False)


def _svg(fig: Figure) -> str:
    """Return the `<svg>` element alone: no prolog, no ids that would repeat between plots, themed colours."""
    import matplotlib

    stream = BytesIO()
    absent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "headrace"}):
        fig.savefig(stream, format="svg", metadata=absent)
    drawn = stream.getvalue().decode()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)
    drawn = re.sub(r'width="([\d.]+)pt" height="([\d.]+)pt"', 'role="img"', drawn, count=1)
    drawn = re.sub(r"\n\s*", " ", drawn)
    for colour, variable in THEMED.items():
        drawn = drawn.replace(colour, f"var(--{variable})")
    return drawn


def _png(fig: Figure) -> str:
    stream = BytesIO()
    fig.savefig(stream, format="png", dpi=144, facecolor="white", metadata={"Software": None})
    return f'<img class="raster" alt="" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
