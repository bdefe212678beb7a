"""Which code a step runs: what it imports, followed through our own modules, so that a resumed run sees every change.

Imports inside functions count, because steps load heavy libraries only where they need them. A module that loads
others by name (`importlib.import_module`) is taken to load everything in its package.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

OURS = ("components", "serving", "pipelines")
"""Followed wherever they are installed; other packages are, when they lie outside the environment's libraries."""


@dataclass(frozen=True)
class Code:
    """What a step's source leads to.

    Attributes:
        digest: Over the source and every file of ours it reaches.
        modules: Names of the modules of ours, dependencies first where the source says so.
        libraries: Everything else that is imported, in the order found.
    """

    digest: str
    modules: tuple[str, ...]
    libraries: tuple[str, ...]


class Reader:
    """Follows imports, parsing each file once however many steps lead to it."""

    def __init__(self, path: Sequence[str] | None = None) -> None:
        """Look for modules where Python would.

        Args:
            path: Instead of `sys.path`.
        """
        self._path = [Path(entry or ".") for entry in (sys.path if path is None else path)]
        self._found: dict[str, Path | None] = {}
        self._imports: dict[Path, tuple[str, ...]] = {}
        self._digests: dict[Path, str] = {}

    def read(self, source: str) -> Code:
        """Return what a component's source leads to."""
        modules: dict[str, Path] = {}
        libraries: dict[str, None] = {}
        waiting = list(reversed(_imports(source, "")))
        while waiting:
            name = waiting.pop()
            file = self._locate(name)
            if file is None:
                if not self._is_ours(name):
                    libraries.setdefault(name)
                continue
            if name in modules:
                continue
            modules[name] = file
            waiting.extend(reversed(self._names_in(name, file)))
        digest = hashlib.sha256(source.encode())
        for name in sorted(modules):
            digest.update(f"\0{name}\0{self._digest(modules[name])}".encode())
        return Code(digest.hexdigest(), tuple(modules), tuple(libraries))

    def _is_ours(self, name: str) -> bool:
        """Return whether the package of a name is ours, though the name itself may be an attribute of a module."""
        return self._locate(name.partition(".")[0]) is not None

    def _locate(self, name: str) -> Path | None:
        """Return the file of a module of ours, None for anything else."""
        if name not in self._found:
            self._found[name] = self._search(name)
        return self._found[name]

    def _search(self, name: str) -> Path | None:
        parts = name.split(".")
        for base in self._path:
            folder = base.joinpath(*parts)
            for file in (folder / "__init__.py", folder.with_suffix(".py")):
                if file.is_file():
                    foreign = {"site-packages", "dist-packages", "lib-dynload"} & set(file.parts)
                    stdlib = Path(sys.base_prefix) / "lib" in file.parents and not foreign
                    return file if parts[0] in OURS or not (foreign or stdlib) else None
        return None

    def _names_in(self, name: str, file: Path) -> tuple[str, ...]:
        if file not in self._imports:
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            names = _imports(file.read_text(), package)
            if "importlib" in names or "pkgutil" in names:
                names += tuple(
                    f"{package}.{other.stem}" for other in sorted(file.parent.glob("*.py")) if other.stem != "__init__"
                )
            parents = tuple(name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))
            self._imports[file] = parents + names
        return self._imports[file]

    def _digest(self, file: Path) -> str:
        if file not in self._digests:
            self._digests[file] = hashlib.sha256(file.read_bytes()).hexdigest()
        return self._digests[file]


def _imports(source: str, package: str) -> tuple[str, ...]:
    """Return the dotted names that a source imports at run time, `a.b` for both `a.b` and `from a import b`."""
    return tuple(dict.fromkeys(_walk(ast.parse(source), package)))


def _walk(tree: ast.AST, package: str) -> Iterator[str]:
    if isinstance(tree, ast.Import):
        for alias in tree.names:
            yield alias.name
    elif isinstance(tree, ast.ImportFrom):
        base = package.rsplit(".", tree.level - 1)[0] if tree.level > 1 else package
        module = ".".join(part for part in (base if tree.level else "", tree.module or "") if part)
        yield module
        for alias in tree.names:
            if alias.name != "*":
                yield f"{module}.{alias.name}"
    elif isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.dump(tree.test):
        for node in tree.orelse:
            yield from _walk(node, package)
        return
    for child in ast.iter_child_nodes(tree):
        yield from _walk(child, package)
