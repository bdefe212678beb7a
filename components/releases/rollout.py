"""One release of one version, in an order in which dying anywhere leaves the champion serving and a re-run finishes.

    dark       pods of the new version start beside the champion, without traffic; they must answer the golden requests
    shares     canary only: 5, 25, 50 % of the traffic, each judged
    handover   all of the traffic while the champion's pods still wait, then the new version is the stable predictor;
               it must answer the golden requests again

Everything is one object, the InferenceService, and every change of it is one server-side apply. Until `promoted` the
stable predictor is the champion; what was applied for it is in the record, so going back applies exactly that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import urllib3

from components.releases import Release, ReleaseError, addresses, goldens, record
from components.releases.canary import Bench, judge_step
from components.releases.handover import applied, bundle, fit, hand_over, has_routes, tidy
from components.releases.kube import AUTOSCALER, SERVICE, Kube
from components.releases.lease import Lease, LeaseLost
from components.releases.plans import DIGEST, RUN, VERSION, Plan, Target, canary_entry, deployment
from components.releases.prometheus import PrometheusError, query
from components.releases.restore import restore
from components.releases.wait import NotReady, until_ready

log = logging.getLogger(__name__)


class Rejected(ReleaseError):
    """The new version is not good enough; the message says why."""


class Rollout:
    """The release of a stamped manifest, under a held lease."""

    def __init__(
        self, kube: Kube, lease: Lease, target: Target, golden: Mapping[str, Any], environment: str, example: str
    ) -> None:
        """Read what happened before; nothing is changed yet."""
        self._kube, self._lease, self._target, self._golden = kube, lease, target, golden
        self._environment, self._example = environment, example
        self._record = record.read(kube, target.model)
        self._plan = target.plan

    def run(self) -> Release:
        """Release, and return what became of it.

        Raises:
            ReleaseError: It could not be tried, or the cluster failed while going back; the champion serves either way.
        """
        live = self._kube.get(SERVICE, self._target.model)
        self._plan = self._usable_plan(live is not None)
        if live is None:
            return self._carefully(self._start, None)
        serving = self._serving(live)
        splits = has_routes(self._kube, self._target.model)
        self._target = self._target.under(fit(self._target.service, serving, splits=splits))
        if self._is_target(live["spec"]["predictor"]) and not live["spec"].get("canary"):
            changed = self._record.unfinished is None and serving != self._target.service
            return self._carefully(self._update, serving) if changed else self._finish(serving)
        if live["spec"].get("canary") or bundle(live["spec"]["predictor"]) != bundle(serving["spec"]["predictor"]):
            log.info("undoing what an unfinished release or a trial left", extra={"model": self._target.model})
            serving = restore(self._kube, self._lease, self._target.model, serving, self._plan.timeout) or serving
            self._target = self._target.under(fit(self._target.service, serving, splits=splits))
            if self._is_target(serving["spec"]["predictor"]):  # a version cannot be a canary beside itself
                return self._carefully(self._update, serving)
        return self._carefully(self._replace, serving)

    def _usable_plan(self, exists: bool) -> Plan:
        """Return the plan, with the addresses that were found and the strategy that this cluster can do."""
        plan = self._target.plan
        if plan.strategy == "rolling" or not exists:
            return addresses.reachable(self._kube, self._target.model, plan)
        plan = addresses.found(self._kube, self._target.model, plan)
        if not plan.gateway:
            raise ReleaseError(
                f"environment {self._environment} has no gateway that could split traffic: "
                "set `gateway` in its plan, or release with the strategy rolling"
            )
        try:
            query(plan.prometheus, "vector(1)")
        except PrometheusError as error:
            if plan.fallback == "refuse":
                raise ReleaseError(
                    f"a canary cannot be judged: {error}; or release with the strategy rolling"
                ) from error
            log.warning("no Prometheus: rolling instead of canary", extra={"reason": str(error)})
            return replace(plan, strategy="rolling")
        return plan

    def _serving(self, live: dict[str, Any]) -> dict[str, Any]:
        """Return the InferenceService of the champion, as it was applied."""
        known = self._record.serving
        if known and self._record.unfinished:
            return known
        if known and bundle(known["spec"]["predictor"]) == bundle(live["spec"]["predictor"]):
            return known
        if VERSION not in (live["spec"]["predictor"].get("annotations") or {}):
            raise ReleaseError(
                f"the InferenceService {self._target.model} exists and was not released by Headrace: "
                "delete it, or release under another model name"
            )
        return applied(live)

    def _is_target(self, predictor: dict[str, Any]) -> bool:
        return bundle(predictor) == bundle(self._target.predictor)

    def _carefully(self, steps: Any, serving: dict[str, Any] | None) -> Release:
        """Run the steps; whatever goes wrong, even our own end, the champion is put back first."""
        self._begin(serving)
        try:
            steps(serving)
        except LeaseLost:
            raise  # another release decides now
        except (Rejected, NotReady) as error:
            self._go_back(serving, str(error))
            return self._outcome(False, (str(error),))
        except BaseException as error:
            self._go_back(serving, f"the release stopped: {error or type(error).__name__}")
            raise
        return self._done()

    def _begin(self, serving: dict[str, Any] | None) -> None:
        entry = record.Entry(
            version=self._target.version,
            digest=self._target.predictor["annotations"].get(DIGEST, ""),
            environment=self._environment,
            strategy=self._plan.strategy,
            outcome=record.STARTED,
            reason="",
            run=self._target.predictor["annotations"].get(RUN, ""),
            by=self._lease.holder,
            time=record.now(),
        )
        self._record = record.begin(self._kube, replace(self._record, serving=serving), entry)

    def _start(self, _: dict[str, Any] | None) -> None:
        """Release the first version: there is no champion that could be hurt."""
        self._apply(self._target.service)
        self._await(self._target.predictor)
        self._prove(deployment(self._target.model, self._target.predictor))

    def _replace(self, serving: dict[str, Any] | None) -> None:
        assert serving is not None
        name = self._shift(serving, 0)
        self._prove(name)
        if self._plan.strategy == "canary":
            for percent in self._plan.steps:
                self._shift(serving, percent)
                self._judge(serving, percent, name)
        prove = self._prove_endpoint if self._plan.gateway else lambda: None
        hand_over(self._kube, self._lease, self._target.service, self._plan.timeout, prove)
        self._prove(deployment(self._target.model, self._target.predictor))

    def _update(self, _: dict[str, Any] | None) -> None:
        """Apply a manifest that changed for the version that serves: resources, replicas, probes."""
        self._apply(self._target.service)
        time.sleep(self._kube.pace.settle)  # the Deployment may still look as it did before
        self._await(self._target.predictor)
        self._prove(deployment(self._target.model, self._target.predictor))

    def _finish(self, serving: dict[str, Any]) -> Release:
        """Verify a version that serves already: a release that died late, or one asked for twice."""
        unfinished = self._record.unfinished
        if unfinished is None:
            self._await(self._target.predictor)
            trouble = self._disagreement(deployment(self._target.model, self._target.predictor))
            return self._outcome(not trouble, (trouble or "it serves already and answers its golden requests",))
        before = None if self._is_target(serving["spec"]["predictor"]) else serving
        try:
            self._await(self._target.predictor)
            self._prove(deployment(self._target.model, self._target.predictor))
        except (Rejected, NotReady) as error:
            self._go_back(before, str(error))
            return self._outcome(False, (str(error),))
        tidy(self._kube, self._target.model)  # whoever handed over may have died before
        return self._done()

    def _done(self) -> Release:
        for item in self._target.extras:
            self._kube.apply(item)
        if AUTOSCALER.kind not in {item["kind"] for item in self._target.extras}:
            self._kube.delete(AUTOSCALER, self._target.model)  # of the environment that served before
        checked = f"{len(self._golden['requests'])} golden requests answered as at training"
        self._record = record.end(self._kube, self._record, record.RELEASED, checked, self._target.service)
        return self._outcome(True, (checked,))

    def _go_back(self, serving: dict[str, Any] | None, reason: str) -> None:
        """Put the champion back and make sure that nothing of the new version is left."""
        log.warning("going back", extra={"model": self._target.model, "reason": reason})
        serving = restore(self._kube, self._lease, self._target.model, serving, self._plan.timeout)
        self._record = record.end(self._kube, self._record, record.ROLLED_BACK, reason, serving)

    def _apply(self, service: dict[str, Any]) -> dict[str, Any]:
        """Apply, after proving that we are still the only ones."""
        self._lease.renew(now=True)
        return self._kube.apply(service)

    def _shift(self, serving: dict[str, Any], percent: int) -> str:
        """Give the new version a share of the traffic, wait until its pods can take it, and return their Service."""
        entry = canary_entry(self._target.predictor, percent, serving["spec"]["predictor"])
        self._apply({**serving, "spec": {**serving["spec"], "canary": [entry]}})
        self._await(entry["predictor"])
        return deployment(self._target.model, entry["predictor"])

    def _await(self, predictor: dict[str, Any]) -> None:
        version = predictor["annotations"][VERSION]
        name = deployment(self._target.model, predictor)
        until_ready(self._kube, self._lease, self._target.model, name, version, self._plan.timeout)

    def _judge(self, serving: dict[str, Any], percent: int, name: str) -> None:
        bench = Bench(
            plan=self._plan,
            model=self._target.model,
            namespace=self._kube.namespace,
            champion=serving["spec"]["predictor"]["annotations"][VERSION].removeprefix("v"),
            version=self._target.version,
            prove=lambda: self._disagreement(name),
            reach=self._unreachable,
            alive=self._lease.renew,
        )
        verdict = judge_step(bench, percent)
        if verdict.decision != "better":
            raise Rejected(f"at {percent} % of the traffic: {verdict.reason}")

    def _disagreement(self, host: str) -> str:
        return self._compare(lambda path, body: self._kube.ask(host, path, body), self._golden)

    def _compare(self, ask: goldens.Ask, golden: Mapping[str, Any]) -> str:
        return goldens.disagreement(ask, self._target.model, golden, self._kube.pace.retry)

    def _prove(self, host: str) -> None:
        if trouble := self._disagreement(host):
            raise Rejected(trouble)

    def _prove_endpoint(self) -> None:
        """Every golden request must come back right through the gateway, which may take a moment to follow."""
        trouble = ""
        for _ in range(5):
            trouble = self._compare(self._ask_endpoint, self._golden)
            time.sleep(self._kube.pace.settle)
            if not trouble:
                return
        raise Rejected(f"at the endpoint: {trouble}")

    def _unreachable(self) -> str:
        """Return why the endpoint does not answer one golden request; whichever version answers is fine."""
        request = self._golden["requests"][:1]
        only = [{"instances": item["instances"]} for item in request]
        trouble = self._compare(self._ask_endpoint, {"requests": only})
        return f"at the endpoint: {trouble}" if trouble else ""

    def _ask_endpoint(self, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Host": urlsplit(self._url()).netloc}
        try:
            response = urllib3.request(
                "POST", self._plan.gateway + path, body=body, headers=headers, timeout=10.0, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            return 0, str(error).encode()
        return response.status, response.data

    def _url(self) -> str:
        live = self._kube.get(SERVICE, self._target.model) or {}
        return str(live.get("status", {}).get("url", ""))

    def _outcome(self, verified: bool, reasons: tuple[str, ...]) -> Release:
        url = self._url()
        gateway = self._plan.gateway or addresses.reachable(self._kube, self._target.model, self._target.plan).gateway
        base, host = (gateway, f" -H 'Host: {urlsplit(url).netloc}'") if gateway else (url, "")
        curl = f"curl -s{host} -H 'Content-Type: application/json' -d '{self._example}' "
        curl += f"{base}/v1/models/{self._target.model}:predict"
        return Release(self._target.model, self._target.version, self._environment, url, verified, reasons, curl)
