"""The profile is one self-contained, well-formed page, whatever the data is like, and stays small."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.ingest.step import ingest
from components.profile.step import profile

EMPTY = {"meta", "img", "br", "line", "input"}


class Page(HTMLParser):
    """Collects text and checks that every element is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Page, int]]:
    monkeypatch.setenv("HEADRACE_DATASETS_BUCKET", "")

    def drawn(frame: pd.DataFrame | str, overrides: str = "{}") -> tuple[Page, int]:
        if isinstance(frame, str):
            ingest(tmp_path / "data", frame)
        else:
            frame.to_csv(tmp_path / "t.csv", index=False)
            ingest(tmp_path / "data", "csv", str(tmp_path / "t.csv"), "y", overrides)
        profile(tmp_path / "data", tmp_path / "page.html")
        return Page(tmp_path / "page.html"), (tmp_path / "page.html").stat().st_size

    return drawn


def some(rows: int = 300, **columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {"x": random.normal(size=rows), "k": random.choice(["a", "b", "c"], rows), "y": random.choice(["u", "v"], rows)}
    ).assign(**columns)


@pytest.mark.parametrize("name", ["heart", "iris"])
def test_a_use_case_becomes_one_self_contained_page(name: str, draw: Callable[..., tuple[Page, int]]) -> None:
    page, size = draw(name)

    assert all(link.startswith("#") for link in page.links)
    for heading in ("Target", "Columns", "What goes with the target", "Correlation", "Missing values", "Some rows"):
        assert heading in page.text
    assert size < 250_000


def test_the_same_data_draws_the_same_page(draw: Callable[..., tuple[Page, int]], tmp_path: Path) -> None:
    draw("iris")
    first = (tmp_path / "page.html").read_bytes()

    profile(tmp_path / "data", tmp_path / "again.html")

    assert (tmp_path / "again.html").read_bytes() == first


def test_a_regression_shows_the_median_along_each_column(draw: Callable[..., tuple[Page, int]]) -> None:
    x = np.random.default_rng(1).normal(size=300)
    page, _ = draw(some(x=x, y=x + np.random.default_rng(2).normal(size=300)))

    assert "Median and middle half of y along each column" in page.text


def test_names_and_values_cannot_break_the_page(draw: Callable[..., tuple[Page, int]]) -> None:
    page, _ = draw(some(**{"<script>alert('x')</script> & co": ["<b>", "&amp;", '"'] * 100}))

    assert "<script>alert('x')</script> & co" in page.text
    assert "script" not in page.open


def test_dates_gaps_and_extremes_are_drawn(draw: Callable[..., tuple[Page, int]]) -> None:
    random = np.random.default_rng(1)
    page, _ = draw(
        some(
            rows=1000,
            day=pd.Timestamp("2019-05-01") + pd.to_timedelta(random.integers(0, 800, 1000), unit="D"),
            gaps=np.where(random.random(1000) < 0.4, np.nan, random.normal(size=1000)),
            heavy=np.where(np.arange(1000) % 400 == 7, 1e6, random.normal(size=1000)),
            flag=random.choice(["true", "false"], 1000),
        )
    )

    assert "2019-05-" in page.text
    assert "of the rows are beyond this range" in page.text
    assert "missing" in page.text


def test_more_than_a_hundred_columns_stay_a_small_page(draw: Callable[..., tuple[Page, int]]) -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(500, 150)), columns=[f"column {n}" for n in range(150)])
    frame["y"] = np.where(frame["column 7"] + random.normal(size=500) > 0, "u", "v")

    page, size = draw(frame)

    assert "the 48 of 150 columns that have most to do with the target" in page.text
    assert size < 1_000_000


def test_many_classes_are_drawn_in_one_colour(draw: Callable[..., tuple[Page, int]]) -> None:
    page, _ = draw(some(y=[f"class {n % 12:02}" for n in range(300)]))

    assert "12 classes" in page.text
    assert "coloured by" not in page.text
