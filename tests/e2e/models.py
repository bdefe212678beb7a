"""Versions of a small real model, made and registered by the suite as the pipeline's register step does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flowers

from components import registry
from components.settings import Settings
from serving import bundle as bundles

MODEL = flowers.MODEL


class Models:
    """What was registered.

    Attributes:
        settings: Where.
        goldens: (model, version) -> golden requests.
    """

    settings: Settings

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, 0
        self._run = f"e2e-{int(time.time())}"
        self.goldens: dict[tuple[str, str], dict[str, Any]] = {}

    def publish(
        self,
        model: str = MODEL,
        *,
        seed: int = 1,
        edges: tuple[float, float] = (3, 5),
        spoil: Callable[[dict[str, Any]], None] | None = None,
    ) -> str:
        """Register one more version of a model and return its number.

        Args:
            edges: Where it tells flowers apart.
            spoil: Changes the golden requests, so that the version fails them.
        """
        self._made += 1
        folder = flowers.build(self._folder, str(self._made), seed, edges)
        bundle = bundles.load(folder)
        golden = bundle.json(bundles.GOLDEN)
        if spoil is not None:
            spoil(golden)
            (folder / bundles.GOLDEN).write_text(json.dumps(golden))
        run = f"{self._run}-{self._made}"
        found = registry.publish(self.settings, replace(bundle, model=model, use_case=model), run)
        self.goldens[model, found.number] = golden
        return found.number

    def rows(self, version: str, model: str = MODEL) -> list[dict[str, float]]:
        """Return the rows of a version's golden requests."""
        return [row for request in self.goldens[model, version]["requests"] for row in request["instances"]]

    def predictions(self, version: str, model: str = MODEL) -> list[int]:
        """Return what the version said at training to `rows`."""
        return [value for request in self.goldens[model, version]["requests"] for value in request["predictions"]]
