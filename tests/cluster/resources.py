"""The types of objects an API server serves, core and by CRD, and how paths and clients name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>status|log|proxy)(?P<rest>/.*)?)?$"
)


@dataclass(frozen=True)
class Kind:
    """A type of objects."""

    group: str
    version: str
    plural: str
    kind: str
    short: str = ""
    namespaced: bool = True
    defined: bool = False
    """By a CRD; clients then patch it in other ways."""

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path below which its group and version is served."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"


CORE = """
v1 namespaces Namespace ns -
v1 nodes Node no -
v1 configmaps ConfigMap cm
v1 secrets Secret
v1 services Service svc
v1 serviceaccounts ServiceAccount sa
v1 events Event ev
v1 pods Pod po
v1 persistentvolumeclaims PersistentVolumeClaim pvc
v1 resourcequotas ResourceQuota quota
apps/v1 deployments Deployment deploy
apps/v1 replicasets ReplicaSet rs
apps/v1 statefulsets StatefulSet sts
apps/v1 daemonsets DaemonSet ds
batch/v1 jobs Job
batch/v1 cronjobs CronJob cj
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler hpa
networking.k8s.io/v1 ingresses Ingress ing
networking.k8s.io/v1 networkpolicies NetworkPolicy netpol
rbac.authorization.k8s.io/v1 roles Role
rbac.authorization.k8s.io/v1 rolebindings RoleBinding
rbac.authorization.k8s.io/v1 clusterroles ClusterRole -
rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding -
policy/v1 poddisruptionbudgets PodDisruptionBudget pdb
coordination.k8s.io/v1 leases Lease
apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition crd -
"""
INSTALLED = """
serving.kserve.io/v1beta1 inferenceservices InferenceService isvc
serving.kserve.io/v1alpha1 servingruntimes ServingRuntime
gateway.networking.k8s.io/v1 gateways Gateway gtw
gateway.networking.k8s.io/v1 httproutes HTTPRoute
gateway.envoyproxy.io/v1alpha1 clienttrafficpolicies ClientTrafficPolicy
argoproj.io/v1alpha1 workflows Workflow wf
kubeflow.org/v1beta1 scheduledworkflows ScheduledWorkflow swf
monitoring.coreos.com/v1 podmonitors PodMonitor pmon
monitoring.coreos.com/v1 prometheusrules PrometheusRule promrule
"""
"""What the prerequisites install, for machines without their CRDs."""


def known(text: str, *, defined: bool) -> Iterator[Kind]:
    """Yield the types of a table: apiVersion, plural, kind, short name, and `-` for those without a namespace."""
    for line in text.strip().splitlines():
        api_version, plural, kind, *rest = line.split()
        group, _, version = api_version.rpartition("/")
        short = next((word for word in rest if word != "-"), "")
        yield Kind(group, version, plural, kind, short, "-" not in rest, defined)


def of_definition(definition: Object) -> Iterator[Kind]:
    """Yield the types that a CustomResourceDefinition defines, one per served version."""
    spec = definition["spec"]
    names, namespaced = spec["names"], spec["scope"] == "Namespaced"
    for version in spec["versions"]:
        if version.get("served", True):
            short = next(iter(names.get("shortNames", [])), "")
            yield Kind(spec["group"], version["name"], names["plural"], names["kind"], short, namespaced, True)


def selected(item: Object, labels: str, fields: str) -> bool:
    """Return whether an object matches a label selector and a field selector."""
    found = item["metadata"].get("labels") or {}
    return all(_labelled(found, term) for term in _terms(labels)) and all(
        _fits(item, term) for term in fields.split(",") if term
    )


def _terms(selector: str) -> list[str]:
    """Split at commas outside of parentheses."""
    return [term.strip() for term in re.split(r",(?![^(]*\))", selector) if term.strip()]


def _labelled(labels: dict[str, str], term: str) -> bool:
    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", term):
        listed = labels.get(match[1]) in [word.strip() for word in match[3].split(",")]
        return listed == (match[2] == "in")
    if match := re.fullmatch(r"([^=!\s]+)\s*(!=|==?)\s*(\S*)", term):
        return (labels.get(match[1]) == match[3]) == (match[2] != "!=")
    return (term.lstrip("!") in labels) != term.startswith("!")


def _fits(item: Object, term: str) -> bool:
    match = re.fullmatch(r"([\w.]+)(!=|==?)(.*)", term)
    assert match, term
    value: Any = item
    for key in match[1].split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return (str(value or "") == match[3]) == (match[2] != "!=")
