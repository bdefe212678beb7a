"""The chart: closed values, scenarios with goldens, security, and refusals that say what to do."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql_parser import parse

CHART = Path(__file__).resolve().parents[2] / "helm" / "headrace"
GOLDENS = Path(__file__).parent / "goldens"
SCENARIOS = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))


def pods(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the pod specs of all workloads and test pods."""
    found = [(item["metadata"]["name"], item["spec"]) for item in objects if item["kind"] == "Pod"]
    workloads = [item for item in objects if item["kind"] in ("Deployment", "StatefulSet", "CronJob")]
    for item in workloads:
        spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
        found.append((item["metadata"]["name"], spec["template"]["spec"]))
    return found


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def test_lint_finds_nothing(helm):
    result = helm("lint", "--strict", CHART)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_renders_its_golden(scenario, render):
    objects = render(scenario)
    for item in objects:
        if item["kind"] == "Secret":
            item["data"] = dict.fromkeys(item["data"], "Z2VuZXJhdGVk")
    found = yaml.safe_dump_all(objects, sort_keys=True, width=120)
    golden = GOLDENS / f"{scenario}.yaml"
    if os.environ.get("HEADRACE_UPDATE_GOLDENS"):
        golden.write_text(found)

    assert golden.read_text() == found, "review the difference, then run HEADRACE_UPDATE_GOLDENS=1 pytest tests/helm"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_passes_the_schemas_of_kubernetes(scenario, render, shared):
    import crds
    import kubernetes_validate

    known = crds.load(shared / "crds")
    for item in render(scenario):
        if item["kind"] == "ClientTrafficPolicy":  # no schema of Envoy Gateway's is at hand
            continue
        if (item["apiVersion"], item["kind"]) in known:
            assert crds.errors(shared / "crds", item) == [], item["metadata"]["name"]
        else:
            kubernetes_validate.validate(item, "1.31", strict=True)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_passes_pod_security_restricted(scenario, render):
    for name, spec in pods(render(scenario)):
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        for container in containers(spec):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert {"cpu", "memory"} <= set(container["resources"]["limits"]), name


def test_every_long_running_container_has_its_probes(render):
    servers = [item for item in render() if item["kind"] in ("Deployment", "StatefulSet")]
    for name, spec in pods(servers):
        for container in spec["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name


def test_no_credential_is_in_a_configmap_or_an_environment_value(render):
    objects = render()

    for item in objects:
        if item["kind"] == "ConfigMap":
            assert not re.search(r"(?m)^(AWS_SECRET|AWS_ACCESS_KEY|password)", "\n".join(item["data"])), item
    for name, spec in pods(objects):
        for container in containers(spec):
            for variable in container.get("env", []):
                secret = any(word in variable["name"] for word in ("PASSWORD", "SECRET", "ACCESS_KEY"))
                assert "value" not in variable or not secret, (name, variable)


def test_an_existing_secret_is_never_written(render):
    assert not [item for item in render("external") if item["kind"] == "Secret"]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("objectStore.enabeld=false", "objectStore"),
        ("mlflow.ingress.hosts=x", "ingress"),
        ("typo=1", "typo"),
        ("monitoring.interval=soon", "interval"),
        ("images.serving.digest=latest", "digest"),
    ],
)
def test_an_unknown_or_mistyped_value_is_refused(value, path, render):
    with pytest.raises(RuntimeError, match=path):
        render("default", value)


def test_every_value_is_in_the_schema_with_a_description():
    def check(schema: dict[str, Any], values: Any, where: str) -> None:
        assert schema.get("description"), where
        if isinstance(values, dict) and schema.get("type") == "object" and "properties" in schema:
            assert schema["additionalProperties"] is False, where
            for key, value in values.items():
                check(schema["properties"][key], value, f"{where}.{key}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    check(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "values")


@pytest.mark.parametrize(
    ("values", "missing", "remedy"),
    [
        ([], "serving.kserve.io", "Install KServe 0.21"),
        ([], "argoproj.io", "Install KFP 2.17"),
        (["monitoring.enabled=true"], "monitoring.coreos.com", "monitoring.enabled=false"),
        (["objectStore.endpoint=https://s3.example.com"], "", "objectStore.enabled=false"),
        (["objectStore.enabled=false"], "", "create the Secrets headrace-s3"),
        (["database.enabled=false"], "", "needs database.host"),
        (["mlflow.ingress.enabled=true"], "", "needs mlflow.ingress.host"),
        (["mlflow.route.enabled=true"], "", "mlflow.route.gateway.name"),
    ],
)
def test_a_missing_prerequisite_or_a_contradiction_fails_with_its_remedy(values, missing, remedy, render):
    with pytest.raises(RuntimeError, match=re.escape(remedy)):
        render("default", *values, without=missing or "-")


def test_steps_find_what_they_read_from_the_environment(render):
    from pipelines import training

    objects = {(item["kind"], item["metadata"]["name"]): item for item in render()}

    assert set(objects["ConfigMap", "headrace"]["data"]) == set(training.CONFIG_KEYS)
    assert set(objects["Secret", "headrace-s3"]["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_the_role_allows_what_a_release_calls_and_no_more(render):
    from components.releases import kube

    role = next(item for item in render() if item["kind"] == "Role" and item["metadata"]["name"] == "headrace-release")
    allowed = {(group, name) for rule in role["rules"] for group in rule["apiGroups"] for name in rule["resources"]}

    assert allowed == {(item.group, item.plural) for item in kube.RESOURCES.values()} | {("", "pods/log")}
    assert "*" not in str(role["rules"])


def test_every_network_policy_selects_our_pods_only(render):
    for item in render():
        if item["kind"] == "NetworkPolicy":
            assert item["spec"]["podSelector"], item["metadata"]["name"]


def expressions(item: Any) -> list[str]:
    if isinstance(item, dict):
        own = [item["expr"]] if isinstance(item.get("expr"), str) else []
        return own + [text for value in item.values() for text in expressions(value)]
    return [text for value in item for text in expressions(value)] if isinstance(item, list) else []


@pytest.mark.parametrize("name", ["model.json", "models.json"])
def test_every_expression_of_a_dashboard_parses(name, render):
    maps = [item for item in render("production") if item["kind"] == "ConfigMap" and name in item.get("data", {})]
    found = expressions(json.loads(maps[0]["data"][name]))

    assert len(found) >= 6
    for expression in found:
        parse(expression.replace("$__rate_interval", "5m"))


def test_dashboards_ask_only_for_series_that_exist():
    text = "".join(path.read_text() for path in (CHART / "files").rglob("*") if path.suffix in (".json", ".yaml"))
    served = Path(CHART.parents[1] / "serving" / "metrics.py").read_text()
    asked = set(re.findall(r"\b(headrace_\w+|request_\w+_seconds|process_\w+)(?=_bucket|[{\[\)])", text))

    for series in asked:
        name = re.sub(r"_bucket$", "", series)
        assert name in served or re.sub(r"request_\w+_seconds", "request_{stage}_seconds", name) in served, series


def test_the_notes_can_be_pasted(helm):
    result = helm("install", "headrace", CHART, "--dry-run=client", "--namespace", "kubeflow",
                  "--set", "requirements.kserve=false,requirements.pipelines=false")  # fmt: skip

    notes = result.stdout.split("NOTES:")[1]
    assert "kubectl --namespace kubeflow port-forward service/headrace-mlflow 5000" in notes
    assert "helm --namespace kubeflow test headrace" in notes


def test_callers_keep_their_request_ids_only_where_that_was_asked_for(render):
    asked = [item for item in render("gateway") if item["kind"] == "ClientTrafficPolicy"]

    assert [item for item in render() if item["kind"] == "ClientTrafficPolicy"] == []
    (policy,) = asked
    assert policy["metadata"]["namespace"] == "kserve"
    assert policy["spec"]["targetRefs"][0]["name"] == "kserve-ingress-gateway"
    assert policy["spec"]["headers"] == {"requestID": "PreserveOrGenerate"}
