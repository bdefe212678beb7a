"""The pages a person opens, opened in a real browser: they draw, fit narrow screens, and ask nobody for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from components.dataset import Dataset
from components.profile.step import profile
from serving.bundle import Bundle

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=2000",
]  # fmt: skip
PROBE = (
    "<script>addEventListener('load', () => {"
    "const wide = document.documentElement.scrollWidth > innerWidth + 1;"
    "const seen = [...document.querySelectorAll('svg, img')].filter(e => e.getBoundingClientRect().height > 20);"
    "document.title = `wide=${wide} drawn=${seen.length}`;"
    "});</script>"
)


def opened(page: Path, width: int) -> tuple[bool, int]:
    """Return whether the page is wider than the window, and how many pictures it draws."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium: apt-get install chromium")
    probed = page.with_name(f"probed-{width}.html")
    probed.write_text(page.read_text() + PROBE)
    command = [browser, *FLAGS, f"--user-data-dir={page.parent / 'browser'}", f"--window-size={width},900"]
    done = subprocess.run([*command, "--dump-dom", probed.as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>wide=(true|false) drawn=(\d+)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    return found[1] == "true", int(found[2])


@pytest.fixture(scope="module")
def profile_page(heart: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("profile") / "page.html"
    profile(heart.folder, page)
    return page


@pytest.mark.parametrize("width", [1280, 600])
def test_the_profile_draws_every_column_and_fits_the_window(profile_page: Path, width: int) -> None:
    wide, drawn = opened(profile_page, width)

    assert not wide
    assert drawn >= 13


@pytest.mark.parametrize("width", [1280, 600])
def test_the_training_page_draws_its_plots(trained: tuple[Bundle, Path, float], width: int) -> None:
    wide, drawn = opened(trained[1], width)

    assert not wide
    assert drawn >= 6


def test_the_profile_asks_nobody_for_anything(profile_page: Path) -> None:
    fetched = re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)([^"']+)""", profile_page.read_text())

    assert [address for address in fetched if not address.startswith("https://doi.org")] == []
