"""Small charts as hand-written SVG: a page with a hundred of them opens at once, and every bar tells its number.

Matplotlib needs a tenth of a second and 20 kB for each of these; it draws the plots that are worth it (`plots`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

from components.reports.theme import PALETTE

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 38, 6, 8, 22
ROW = 21
HEADED = 20
"""Letters of a name that a correlation is headed by."""
Text = Callable[[float], str]


def histogram(
    edges: Sequence[float],
    stacks: Sequence[Sequence[float]],
    names: Sequence[str],
    told: Text,
    *,
    percent: bool = False,
    whole: bool = False,
) -> str:
    """Return upright bars between edges, one stack of series per bin.

    Args:
        stacks: Series -> height per bin.
        told: How a person reads an edge.
        percent: Stretch every bar to 100 %.
        whole: Each bin holds one integer, which is written below it in place of its edges.
    """
    totals = [sum(series[place] for series in stacks) for place in range(len(edges) - 1)]
    top = 1.0 if percent else _round_up(max(totals, default=0))
    height, step = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - RIGHT) / max(1, len(totals))
    parts = [_grid(top, percent)]
    for place, total in enumerate(totals):
        bottom = float(HEIGHT - BOTTOM)
        low, high = edges[place], edges[place + 1]
        between = told((low + high) / 2) if whole else f"{told(low)} to {told(high)}"
        for series, (name, heights) in enumerate(zip(names, stacks, strict=True)):
            tall = height * heights[place] / ((total or 1) if percent else top)
            bottom -= tall
            if tall > 0:
                tip = f"{between}: {_tip(name, heights[place], total)}"
                parts.append(_bar(LEFT + place * step + 0.5, bottom, step - 1, tall, series, tip))
    parts.append(_ticks(edges, told, whole))
    return _svg(WIDTH, HEIGHT, parts)


def bars(
    labels: Sequence[str], stacks: Sequence[Sequence[float]], names: Sequence[str], *, percent: bool = False
) -> str:
    """Return lying bars, one per label, each a stack of series, with its total at the end."""
    totals = [sum(series[place] for series in stacks) for place in range(len(labels))]
    most = max(totals, default=0) or 1
    left, right = _label_room(labels), 52
    width = WIDTH - left - right
    parts = []
    for place, (label, total) in enumerate(zip(labels, totals, strict=True)):
        middle, start = place * ROW + ROW / 2 + 2, float(left)
        parts.append(_text(left - 7, middle + 4, shortened(label, 15), "end", tip=label))
        for series, (name, lengths) in enumerate(zip(names, stacks, strict=True)):
            long = width * (lengths[place] / (total or 1) if percent else lengths[place] / most)
            if long > 0:
                tip = f"{label}: {_tip(name, lengths[place], total)}"
                parts.append(_bar(start, middle - 7, long, 14, series, tip))
            start += long
        parts.append(_text(start + 5, middle + 4, f"{total:,.0f}", "start"))
    return _svg(WIDTH, len(labels) * ROW + 6, parts)


def band(
    edges: Sequence[float],
    lows: Sequence[float],
    middles: Sequence[float],
    highs: Sequence[float],
    told: Text,
    up: Text,
    reach: tuple[float, float],
) -> str:
    """Return, per bin of x, the median of y as a mark and its quartiles as a pillar.

    Args:
        reach: Lowest and highest y: charts that stand side by side share it.
    """
    bottom, top = reach
    span = (top - bottom) or 1.0
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = width / max(1, len(middles))

    def level(value: float) -> float:
        return TOP + height * (1 - (value - bottom) / span)

    parts = []
    for value in round_values(bottom, bottom + span, 4):
        y = level(value)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 5, y + 4, up(value), "end"))
    for place, (low, middle, high) in enumerate(zip(lows, middles, highs, strict=True)):
        x = LEFT + place * step
        tip = (
            f"{told(edges[place])} to {told(edges[place + 1])}: median {up(middle)}, half from {up(low)} to {up(high)}"
        )
        parts.append(
            f'<g><title>{escape(tip)}</title><rect class="pillar" x="{x + step * 0.2:.1f}" y="{level(high):.1f}" '
            f'width="{step * 0.6:.1f}" height="{max(1.0, level(low) - level(high)):.1f}" rx="2"/>'
            f'<rect class="s0" x="{x + step * 0.12:.1f}" y="{level(middle) - 1.5:.1f}" width="{step * 0.76:.1f}" '
            'height="3" rx="1.5"/></g>'
        )
    parts.append(_ticks(edges, told, whole=False))
    return _svg(WIDTH, HEIGHT, parts)


def lying_band(
    labels: Sequence[str],
    lows: Sequence[float],
    middles: Sequence[float],
    highs: Sequence[float],
    up: Text,
    reach: tuple[float, float],
) -> str:
    """Return, per label, the median of y as a mark and its quartiles as a lying pillar; for `reach` see `band`."""
    bottom, span = reach[0], (reach[1] - reach[0]) or 1.0
    left = _label_room(labels)
    width = WIDTH - left - 12
    tall = len(labels) * ROW + 4
    parts = []
    for value in round_values(bottom, bottom + span, 4):
        x = left + (value - bottom) / span * width
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{tall}"/>')
        parts.append(_text(x, tall + 14, up(value), _anchor((value - bottom) / span)))
    for place, (label, low, middle, high) in enumerate(zip(labels, lows, middles, highs, strict=True)):
        y = place * ROW + ROW / 2 + 2
        start, centre, end = (left + width * (value - bottom) / span for value in (low, middle, high))
        parts.append(_text(left - 7, y + 4, shortened(label, 15), "end", tip=label))
        tip = f"{label}: median {up(middle)}, half from {up(low)} to {up(high)}"
        parts.append(
            f'<g><title>{escape(tip)}</title><rect class="pillar" x="{start:.1f}" y="{y - 7:.1f}" '
            f'width="{max(1.0, end - start):.1f}" height="14" rx="2"/>'
            f'<rect class="s0" x="{centre - 1.5:.1f}" y="{y - 8.5:.1f}" width="3" height="17" rx="1.5"/></g>'
        )
    return _svg(WIDTH, tall + 20, parts)


def heatmap(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> str:
    """Return a square of correlations from -1 (orange) to 1 (blue); numbers are written while they fit."""
    size = max(22, min(46, 760 // max(1, len(names))))
    longest = max(_width(shortened(name, HEADED)) for name in names)
    left, top = round(longest) + 14, round(longest * 0.71) + 22
    parts = []
    for row, name in enumerate(names):
        parts.append(_text(left - 8, top + row * size + size / 2 + 4, shortened(name, HEADED), "end", tip=name))
        x, y = left + row * size + size / 2 + 4, top - 8
        parts.append(_text(x, y, shortened(name, HEADED), "start", tip=name, turn=-45))
        for place, other in enumerate(names):
            value = matrix[row][place]
            known = value == value
            strength = abs(value) if known else 0.0
            tone = "s0" if value >= 0 else "s1"
            tip = f"{name} and {other}: {f'{value:.2f}' if known else 'not defined'}"
            x, y = left + place * size + 1, top + row * size + 1
            cell = f'x="{x}" y="{y}" width="{size - 2}" height="{size - 2}" rx="3"'
            parts.append(f'<rect class="empty" {cell}/><rect class="{tone}" fill-opacity="{strength:.2f}" {cell}>')
            parts.append(f"<title>{escape(tip)}</title></rect>")
            if size >= 34 and known and row != place:
                centre, base = left + place * size + size / 2, top + row * size + size / 2 + 4
                kind = "inside strong" if strength > 0.6 else "inside"
                parts.append(f'<text class="{kind}" x="{centre}" y="{base}">{round(value, 2) + 0.0:.2f}</text>')
    wide = left + len(names) * size + round(longest * 0.71)
    return _svg(wide, top + len(names) * size + 8, parts, natural=True)


def legend(names: Sequence[str]) -> str:
    """Return the names of the series beside their colours."""
    items = "".join(
        f'<span><i style="background:{colour(i)}"></i>{escape(name)}</span>' for i, name in enumerate(names)
    )
    return f'<div class="legend">{items}</div>'


def colour(series: int) -> str:
    """Return the colour of a series."""
    return PALETTE[series % len(PALETTE)]


def shortened(text: str, most: int) -> str:
    """Return text cut to a length."""
    return text if len(text) <= most else text[: most - 1] + "…"


CSS = (
    "".join(f".s{place}{{fill:{tone}}}" for place, tone in enumerate(PALETTE))
    + ".rule{stroke:var(--rule);stroke-width:.7}.pillar{fill:#3b7dd8;fill-opacity:.28}.empty{fill:var(--ground)}"
    "figure svg .tick{fill:var(--muted);font-size:11px}figure svg .inside{font-size:10.5px;text-anchor:middle}"
    "figure svg .strong{fill:#fff}rect:hover{filter:brightness(1.12)}"
    ".legend{display:flex;flex-wrap:wrap;gap:.3rem 1rem;margin:0 0 .7rem;font-size:.86rem}"
    ".legend span{display:inline-flex;align-items:center;gap:.4rem}"
    ".legend i{width:.8rem;height:.8rem;border-radius:3px}"
    "figure h3{font-size:.93rem;margin:0;overflow-wrap:anywhere}figure h3 small{font-weight:400;color:var(--muted)}"
    "figure .sub{color:var(--muted);font-size:.8rem;margin:0 0 .45rem;max-width:none}"
    "figure.wide{width:fit-content;max-width:100%}figure.wide svg{max-width:100%}figure.half svg{max-width:520px}"
)


def _grid(top: float, percent: bool) -> str:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
        lines.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(_text(LEFT - 5, y + 4, f"{share:.0%}" if percent else compact(top * share), "end"))
    return "".join(lines)


def compact(number: float) -> str:
    """Return a number in at most five characters or so: 950, 1.2k, 3.4M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"


def _ticks(edges: Sequence[float], told: Text, whole: bool) -> str:
    """Return the text below an axis: first, middle and last edge, or the integer of each bin while they fit."""
    width, last = WIDTH - LEFT - RIGHT, len(edges) - 1
    if whole:
        step = max(1, -(-last // 12))
        centres = [
            (LEFT + width * (place + 0.5) / last, (edges[place] + edges[place + 1]) / 2) for place in range(last)
        ]
        return "".join(_text(x, HEIGHT - 6, told(value), "middle") for x, value in centres[::step])
    if last > 1 and _even(edges):
        low, span = edges[0], edges[-1] - edges[0]
        places = [(value, (value - low) / span) for value in round_values(low, edges[-1])]
        return "".join(_text(LEFT + width * part, HEIGHT - 6, told(value), _anchor(part)) for value, part in places)
    shown = ((0, "start"), (round(last / 2), "middle"), (last, "end")) if last > 1 else ((0, "start"), (last, "end"))
    return "".join(
        _text(LEFT + width * place / last, HEIGHT - 6, told(edges[place]), anchor) for place, anchor in shown
    )


def _even(edges: Sequence[float]) -> bool:
    steps = [high - low for low, high in pairwise(edges)]
    return max(steps) - min(steps) <= 1e-6 * max(steps)


def _anchor(share: float) -> str:
    return "start" if share < 0.04 else "end" if share > 0.96 else "middle"


def round_values(low: float, high: float, most: int = 5) -> list[float]:
    """Return up to `most` values between two that are multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next((factor * power for factor in (1, 2, 5) if (high - low) / (factor * power) <= most), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [(first + place) * step for place in range(math.floor((high - first * step) / step + 1e-9) + 1)]


def _round_up(number: float) -> float:
    """Return the next number whose half is easy to read: 1 to 6, 8 or 10 times a power of ten."""
    if number <= 2:
        return 2.0
    power = 10.0 ** math.floor(math.log10(number))
    return next(factor * power for factor in (1, 2, 3, 4, 5, 6, 8, 10) if number <= factor * power)


def _label_room(labels: Sequence[str]) -> int:
    """Return the width that the longest label needs, cut at 15 letters."""
    return 14 + round(max(20.0, *(_width(shortened(label, 15)) for label in labels)))


def _width(text: str) -> float:
    """Return a bound of the width of a text of 11 px, of which capitals and others are wider than small letters."""
    return sum(6.6 if letter.islower() or letter in " .,-'" else 8.2 for letter in text)


def _tip(name: str, value: float, total: float) -> str:
    share = f" ({value / total:.0%})" if total else ""
    return f"{name} {value:,.0f}{share}" if name else f"{value:,.0f}"


def _bar(x: float, y: float, width: float, height: float, series: int, tip: str) -> str:
    return (
        f'<rect class="s{series % len(PALETTE)}" x="{x:.1f}" y="{y:.1f}" width="{max(0.6, width):.1f}" '
        f'height="{max(0.6, height):.1f}"><title>{escape(tip)}</title></rect>'
    )


def _text(x: float, y: float, text: str, anchor: str, *, tip: str = "", turn: int = 0) -> str:
    hint = f"<title>{escape(tip)}</title>" if tip and tip != text else ""
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{hint}{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], *, natural: bool = False) -> str:
    wide = f' style="width:{width:.0f}px"' if natural else ""
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img"{wide}>{"".join(parts)}</svg>'
