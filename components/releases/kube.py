"""What we know about talking to a Kubernetes API server: paths, retries, and errors that say what to do.

It takes the connection (certificates, tokens, exec plugins) from the `kubernetes` client and speaks plain REST over it,
because server-side apply, strict field validation and bounded retries are what a release needs and little else.
Waiting polls instead of watching, so there is no watch that could drop.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from components.releases import ReleaseError

MANAGER = "headrace"
EVERYWHERE = "*"
"""In place of a namespace: all of them."""
RETRIED = (429, 500, 502, 503, 504)
TIMEOUT = urllib3.Timeout(connect=5.0, read=15.0)
LONGEST_PAUSE_SECONDS = 5.0
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

log = logging.getLogger(__name__)


class KubeError(ReleaseError):
    """The API server refused, or could not be reached; the message names verb, resource and remedy."""


class NotFound(KubeError):
    """The object does not exist."""


class Unserved(KubeError):
    """This cluster has no such type of objects."""


class Conflict(KubeError):
    """Somebody else changed or created the object first."""


@dataclass(frozen=True)
class Resource:
    """A resource type and where the API server serves it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str, name: str = "") -> str:
        """Return the URL path of one object, or of the collection, in one namespace or EVERYWHERE."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if namespace != EVERYWHERE else ""
        return f"{root}{place}/{self.plural}" + (f"/{name}" if name else "")


SERVICE = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
EVENT = Resource("", "v1", "events", "Event")
POD = Resource("", "v1", "pods", "Pod")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
AUTOSCALER = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_SERVICE = Resource("", "v1", "services", "Service")
GATEWAY = Resource("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
ROUTE = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
RESOURCES = {
    (resource.api_version, resource.kind): resource
    for resource in (SERVICE, CONFIG_MAP, EVENT, POD, DEPLOYMENT, LEASE, AUTOSCALER, BUDGET, ROUTE)
}


@dataclass(frozen=True)
class Pace:
    """How patient a release is, in seconds; tests are in a hurry.

    Attributes:
        give_up: How long a pod may show a reason that rarely heals (image pull, crash loop) before waiting ends.
        settle: How long gateways may take to follow a change of shares.
        lease: How long a silent holder of the lease keeps it, plus `skew` for clocks that differ.
    """

    poll: float = 1.0
    retry: float = 0.5
    retry_limit: float = 30.0
    give_up: float = 60.0
    settle: float = 2.0
    lease: float = 60.0
    skew: float = 5.0
    lease_wait: float = 120.0


class Kube:
    """One namespace of one cluster."""

    def __init__(
        self,
        request: Callable[..., urllib3.BaseHTTPResponse],
        namespace: str,
        *,
        inside: bool = False,
        pace: Pace | None = None,
    ) -> None:
        """Keep the connection.

        Args:
            request: Performs one authenticated request: (method, path, body, headers, timeout).
            inside: Whether this process runs in the cluster, where Services have names.
        """
        self._request = request
        self.namespace = namespace
        self.inside = inside
        self.pace = pace or Pace()

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
        """Return an object, None when it does not exist; of this namespace unless another is named."""
        try:
            return self.call("GET", resource, name, namespace=namespace)
        except NotFound:
            return None

    def list(self, resource: Resource, selector: str = "", namespace: str = "") -> list[dict[str, Any]]:
        """Return the objects that a label selector matches; of this namespace unless another is named."""
        query = {"labelSelector": selector} if selector else {}
        items = self.call("GET", resource, "", query=query, namespace=namespace)["items"]
        return list(items)

    def apply(self, item: dict[str, Any]) -> dict[str, Any]:
        """Server-side apply an object as our field manager; unknown fields are errors, our fields are ours."""
        resource = RESOURCES[item["apiVersion"], item["kind"]]
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        body = json.dumps(item).encode()
        deadline = time.monotonic() + self.pace.retry_limit
        while True:
            try:
                return self.call(
                    "PATCH",
                    resource,
                    item["metadata"]["name"],
                    body=body,
                    content_type="application/apply-patch+yaml",
                    query=query,
                )
            except Conflict:  # with force, only a write in between can conflict
                if time.monotonic() > deadline:
                    raise
                time.sleep(self.pace.retry)

    def create(self, resource: Resource, item: dict[str, Any]) -> dict[str, Any]:
        """Create an object.

        Raises:
            Conflict: It exists.
        """
        return self.call("POST", resource, "", body=json.dumps(item).encode())

    def update(self, resource: Resource, item: dict[str, Any]) -> dict[str, Any]:
        """Replace an object that has not changed since it was read.

        Raises:
            Conflict: It has.
        """
        return self.call("PUT", resource, item["metadata"]["name"], body=json.dumps(item).encode())

    def delete(self, resource: Resource, name: str) -> None:
        """Delete an object; one that is not there is fine."""
        try:
            self.call("DELETE", resource, name)
        except NotFound:
            return

    def log(self, pod: str, container: str) -> str:
        """Return what a running container has logged, as far as its node has kept it.

        Raises:
            KubeError: The API server refuses, or does not answer.
        """
        path = f"{POD.path(self.namespace, pod)}/log?{urlencode({'container': container})}"
        try:
            response = self._request("GET", path, None, {}, TIMEOUT)
        except urllib3.exceptions.HTTPError as error:
            raise KubeError(f"could not get the log of {pod}: the API server did not answer ({error})") from error
        if response.status != 200:
            _result(response, f"get {POD} {pod}/log", POD, self.namespace)
        return response.data.decode(errors="replace")

    def last_words(self, pod: str, container: str) -> str:
        """Return the last line a crashed container logged, empty when there is none to be had."""
        path = POD.path(self.namespace, pod) + "/log"
        query = urlencode({"container": container, "tailLines": 5, "previous": "true"})
        response = self._request("GET", f"{path}?{query}", None, {}, TIMEOUT)
        lines = response.data.decode(errors="replace").strip().splitlines() if response.status == 200 else []
        return lines[-1][:300] if lines else ""

    def ask(self, host: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Ask a Service of the namespace over HTTP: by its name inside the cluster, through the API server elsewhere.

        Returns:
            Status and body; status 0 when nothing answered, the body then says why.
        """
        headers = {"Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        try:
            if self.inside:
                url = f"http://{host}.{self.namespace}{path}"
                response = urllib3.request(method, url, body=body, headers=headers, timeout=TIMEOUT, retries=False)
            else:
                proxy = f"/api/v1/namespaces/{self.namespace}/services/{host}:80/proxy{path}"
                response = self._request(method, proxy, body, headers, TIMEOUT)
        except urllib3.exceptions.HTTPError as error:
            return 0, str(error).encode()
        return response.status, response.data

    def call(
        self,
        method: str,
        resource: Resource,
        name: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
        namespace: str = "",
    ) -> dict[str, Any]:
        """Perform a request, again and again within the retry limit while the server is busy or away.

        Raises:
            NotFound, Unserved, Conflict: As named.
            KubeError: Anything else, with verb, resource and remedy.
        """
        place = namespace or self.namespace
        path = resource.path(place, name) + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        deadline, pause = time.monotonic() + self.pace.retry_limit, self.pace.retry
        what = f"{_verb(method, name)} {resource} {name}".rstrip()
        while True:
            try:
                response = self._request(method, path, body, headers, TIMEOUT)
            except urllib3.exceptions.HTTPError as error:
                problem, wanted = f"the API server did not answer ({error})", 0.0
            else:
                if response.status not in RETRIED:
                    return _result(response, what, resource, place)
                problem, wanted = f"the API server answers {response.status}", _retry_after(response)
            if time.monotonic() + max(pause, wanted) > deadline:
                raise KubeError(f"could not {what}: {problem} for {self.pace.retry_limit:.0f} s; try again later")
            log.info("retrying", extra={"request": what, "problem": problem})
            time.sleep(max(pause, wanted))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def connect(pace: Pace | None = None) -> Kube:
    """Return the namespace that this process runs in, or that the kubeconfig's context names.

    Raises:
        KubeError: There is neither.
    """
    from kubernetes import client, config

    inside = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    configuration = client.Configuration()
    configuration.retries = False
    try:
        if inside:
            config.load_incluster_config(client_configuration=configuration)
            namespace = OWN_NAMESPACE.read_text().strip()
        else:
            file = os.environ.get("KUBECONFIG")  # the client reads it once, when it is imported
            config.load_kube_config(config_file=file, client_configuration=configuration)
            namespace = config.list_kube_config_contexts(config_file=file)[1]["context"].get("namespace", "default")
    except (config.ConfigException, OSError) as error:
        raise KubeError(f"no cluster is known ({error}): set KUBECONFIG, or run inside the cluster") from error
    pool = client.ApiClient(configuration).rest_client.pool_manager

    def request(
        method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        token = configuration.get_api_key_with_prefix("authorization")
        known = {**headers, "Authorization": token} if token else headers
        return pool.request(  # type: ignore[no-any-return]
            method, configuration.host + path, body=body, headers=known, timeout=timeout, retries=False
        )

    return Kube(request, namespace, inside=inside, pace=pace)


def _verb(method: str, name: str) -> str:
    if method == "GET":
        return "get" if name else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_PAUSE_SECONDS) if text.isdecimal() else 0.0


def _result(response: urllib3.BaseHTTPResponse, what: str, resource: Resource, namespace: str) -> dict[str, Any]:
    try:
        content = json.loads(response.data)
    except ValueError:
        content = {"message": response.data.decode(errors="replace").strip()[:300]}
    if 200 <= response.status < 300:
        return dict(content)
    message = str(content.get("message", ""))
    if response.status == 404:
        if content.get("reason") == "NotFound" and (content.get("details") or {}).get("name"):
            raise NotFound(f"could not {what}: {message}")
        raise Unserved(f"could not {what}: the cluster does not know {resource}; {_installs(resource)}")
    if response.status == 409:
        raise Conflict(f"could not {what}: {message}")
    if message.startswith("admission webhook"):
        raise KubeError(f"could not {what}: {message}")
    if response.status in (401, 403) and "quota" not in message:
        verb = what.split(" ", 1)[0]
        role = "ClusterRole of the chart's `discovery`" if namespace == EVERYWHERE else "Role headrace-release"
        where = "all namespaces" if namespace == EVERYWHERE else f"namespace {namespace}"
        raise KubeError(
            f"not allowed to {verb} {resource} in {where}: bind the {role} to the "
            f"ServiceAccount of this run ({message})"
        )
    if "unknown field" in message and "canary" in message:
        raise KubeError(f"could not {what}: this KServe has no spec.canary; upgrade KServe to 0.21")
    raise KubeError(f"could not {what}: {message or response.status}")


def _installs(resource: Resource) -> str:
    remedies = {SERVICE: "install KServe 0.21", ROUTE: "install the Gateway API and let KServe use it"}
    return remedies.get(resource, "is this a Kubernetes 1.29 or newer?")
