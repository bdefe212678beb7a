"""Versions of a small real model, made and registered by the suite as the pipeline's register step does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flowers

from components import registry, tracking
from components.settings import Settings
from components.store import Store, parse
from serving import bundle as bundles

MODEL = flowers.MODEL


class Models:
    """What was registered.

    Attributes:
        settings: Where.
    """

    settings: Settings

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, 0
        self._run = f"e2e-{int(time.time())}"
        self._goldens: dict[tuple[str, str], dict[str, Any]] = {}

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
        of_its_own = {
            **bundle.provenance,
            "dataset": f"data-of-{run}",
        }  # else no new version
        named = replace(bundle, model=model, use_case=model, provenance=of_its_own)
        found = registry.publish(self.settings, named, run)
        self._goldens[model, found.number] = golden
        return found.number

    def golden(self, version: str, model: str = MODEL) -> dict[str, Any]:
        """Return the golden requests of a version; one that an earlier run made is asked from the registry."""
        if (model, version) not in self._goldens:
            uri = next(item.uri for item in tracking.versions(self.settings, model) if str(item.number) == version)
            self._goldens[model, version] = json.loads(Store(self.settings).get(parse(uri) / bundles.GOLDEN))
        return self._goldens[model, version]

    def rows(self, version: str, model: str = MODEL) -> list[dict[str, float]]:
        """Return the rows of a version's golden requests."""
        return [row for request in self.golden(version, model)["requests"] for row in request["instances"]]

    def predictions(self, version: str, model: str = MODEL) -> list[int]:
        """Return what the version said at training to `rows`."""
        return [value for request in self.golden(version, model)["requests"] for value in request["predictions"]]
