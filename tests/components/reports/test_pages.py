"""Pages are self-contained and escape what they are given; plots follow the theme of the reader."""

from __future__ import annotations

import re

import numpy as np

from components.reports import pages, plots
from components.reports.pages import Card


def test_a_page_is_one_file_that_asks_for_nothing() -> None:
    document = pages.page("Title", "Sub", [("", pages.cards([Card("Rows", "3")])), ("A", "a"), ("B", "b")])

    assert document.startswith("<!DOCTYPE html>")
    assert re.findall(r'(?:src|href)="([^"]+)"', document) == ["#section-1", "#section-2"]
    assert "prefers-color-scheme:dark" in document
    assert "url(" not in document


def test_text_is_escaped_everywhere() -> None:
    evil = "<i>&"
    parts = [
        pages.page(evil, evil, []),
        pages.cards([Card(evil, evil, evil)]),
        pages.table([evil], [[evil]], caption=evil),
        pages.text(evil),
        pages.bullets([evil]),
    ]

    assert all("&lt;i&gt;&amp;" in part and evil not in part for part in parts)


def test_numbers_in_tables_are_aligned_and_readable() -> None:
    table = pages.table(["name", "value"], [["a", 1234567], ["b", 0.123456], ["c", None], ["d", 250000.5], ["e", True]])

    assert "<th class=number>value</th>" in table
    for text in ("1,234,567", "0.1235", "–", "250,000", "yes"):
        assert f">{text}</td>" in table


def test_a_plot_becomes_inline_svg_in_the_colours_of_the_theme() -> None:
    fig, axes = plots.chart()
    axes.plot([0, 1], [0, 1], label="line")
    axes.set_title("A title")
    axes.legend()

    drawn = pages.figure(fig, "What it shows <here>")

    assert drawn.startswith("<figure><svg")
    assert "var(--rule)" in drawn
    assert "A title" in drawn
    assert "<metadata>" not in drawn
    assert "<figcaption>What it shows &lt;here&gt;</figcaption>" in drawn


def test_the_same_plot_is_drawn_as_the_same_bytes() -> None:
    def drawn() -> str:
        fig, axes = plots.chart()
        axes.hist([1, 2, 2, 3])
        return pages.figure(fig)

    assert drawn() == drawn()


def test_a_plot_of_very_many_points_is_embedded_as_an_image() -> None:
    fig, axes = plots.chart()
    random = np.random.default_rng(1)
    axes.scatter(random.normal(size=20_000), random.normal(size=20_000))

    drawn = pages.figure(fig)

    assert 'src="data:image/png;base64,' in drawn
    assert len(drawn) < 400_000
