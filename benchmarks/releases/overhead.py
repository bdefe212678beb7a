"""What a release costs besides waiting for pods: a rolling one, where pods are ready at once."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import urllib3

from components.releases import plans
from components.releases.cluster import roll_out
from components.releases.kube import Kube, Pace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "cluster"))


def measure(releases: int = 5) -> tuple[float, float]:
    """Return the median seconds and API calls of a release, after the first, on the tests' emulator."""
    from apiserver import ApiServer
    from controller import KServe
    from standins import GOLDEN, StandIns

    api, workload = ApiServer(), StandIns()
    controller = KServe(api, workload)
    pool = urllib3.PoolManager()

    def request(method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: Any) -> Any:
        return pool.request(method, api.url + path, body=body, headers=headers, timeout=timeout, retries=False)

    seconds, calls = [], []
    try:
        for version in map(str, range(1, releases + 2)):
            target = plans.stamp("local", "heart", version, f"s3://models/heart/{version}", {}, "rolling")
            target = replace(target, plan=replace(target.plan, gateway=workload.gateway))
            began, before = time.monotonic(), len(api.requests)
            released = roll_out(Kube(request, "default", pace=Pace()), target, GOLDEN, "local")
            if not released.verified:
                raise RuntimeError(f"version {version} was not released: {released.reasons}")
            seconds.append(time.monotonic() - began)
            calls.append(len(api.requests) - before)
    finally:
        controller.close()
        workload.close()
        api.close()
    return statistics.median(seconds[1:]), statistics.median(calls[1:])
