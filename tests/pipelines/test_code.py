"""What a step imports is found, through our modules and inside functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.local.code import Reader


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ours.never\n")
    (folder / "b.py").write_text("def late():\n    import pandas\n    from . import c\n    from .c import value\n")
    (folder / "c.py").write_text("value = 1\n")
    (folder / "never.py").write_text("")
    (folder / "registry.py").write_text("import importlib\n")
    return folder


def test_follows_imports_inside_functions_and_relative_ones(package: Path) -> None:
    code = Reader([str(package.parent)]).read("def f():\n    from ours.b import late\n")

    assert set(code.modules) == {"ours", "ours.b", "ours.c"}
    assert code.libraries == ("pandas",)


def test_a_change_in_a_module_that_is_not_imported_does_not_matter(package: Path) -> None:
    source = "from ours import a, b"
    before = Reader([str(package.parent)]).read(source).digest
    (package / "never.py").write_text("changed = True\n")
    same = Reader([str(package.parent)]).read(source).digest
    (package / "c.py").write_text("value = 2\n")
    changed = Reader([str(package.parent)]).read(source).digest

    assert before == same
    assert before != changed


def test_a_module_that_loads_others_by_name_stands_for_its_whole_package(package: Path) -> None:
    code = Reader([str(package.parent)]).read("import ours.registry")

    assert {"ours.a", "ours.b", "ours.c", "ours.never"} <= set(code.modules)


def test_every_step_leads_to_its_code_and_the_use_cases_it_loads() -> None:
    code = Reader().read("from components.train.step import train")

    assert {"components.train.step", "components.use_cases", "components.use_cases.heart"} <= set(code.modules)
    assert "kfp" not in {name.partition(".")[0] for name in code.libraries}
