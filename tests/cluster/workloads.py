"""A stand-in for Kubernetes' own controllers: Deployments and StatefulSets become ready, their volumes bound.

No container is started. What becomes of KServe's Deployments says `controller`, which runs real servers. A Deployment
whose image lacks the driver of its database URL never becomes ready: `missing_driver` looks into the image's lock.
"""

from __future__ import annotations

import re
from pathlib import Path

from apiserver import ApiServer
from controller import OWNER
from loop import Loop
from resources import Object
from sqlalchemy import make_url

LOCKS = Path(__file__).resolve().parents[2] / "locks"
URL = re.compile(r"(postgresql|mysql)(\+\w+)?://")


class Workloads:
    """Reconciles until closed."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._loop = Loop(api, self._look, 0.2)

    def close(self) -> None:
        """Stop reconciling."""
        self._loop.close()

    def _look(self) -> None:
        for item in self._api.list("deployments"):
            if OWNER not in (item["metadata"].get("labels") or {}):
                self._api.set_status("deployments", item["metadata"]["name"], _state(item))
        for item in self._api.list("statefulsets"):
            self._claim(item)
            revision = f"{item['metadata']['name']}-{item['metadata']['generation']}"
            revisions = {"currentRevision": revision, "updateRevision": revision}
            counted = {"currentReplicas": item["spec"].get("replicas", 1)}
            self._api.set_status("statefulsets", item["metadata"]["name"], _status(item) | revisions | counted)

    def _claim(self, item: Object) -> None:
        """Make the volume claims of a StatefulSet; they go with it when its policy says so."""
        policy = item["spec"].get("persistentVolumeClaimRetentionPolicy", {}).get("whenDeleted", "Retain")
        metadata = item["metadata"]
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": metadata["name"], "uid": metadata["uid"]}
        for template in item["spec"].get("volumeClaimTemplates", []):
            name = f"{template['metadata']['name']}-{metadata['name']}-0"
            known = self._api.get("persistentvolumeclaims", name) or {"metadata": {"name": name}}
            labels = {**item["spec"]["selector"]["matchLabels"]}
            owners = [owner] if policy == "Delete" else []
            claimed = {**known["metadata"], "labels": labels, "ownerReferences": owners}
            claim = {"metadata": claimed, "spec": template["spec"], "status": {"phase": "Bound"}}
            with self._api.changed:  # the StatefulSet may have been deleted meanwhile
                if self._api.state.find("statefulsets", self._api.namespace, metadata["name"]) is not None:
                    self._api.put("persistentvolumeclaims", claim)


def missing_driver(template: Object) -> str:
    """Return the database driver that a pod's variables ask for and its image does not have, empty when all is there.

    The image of MLflow holds what locks/tracking.txt names (components/Dockerfile), and nothing else.
    """
    locked = set(re.findall(r"^([\w.-]+)==", (LOCKS / "tracking.txt").read_text(), re.M))
    for container in (*template["spec"].get("initContainers", []), *template["spec"]["containers"]):
        for variable in container.get("env", []):
            if URL.match(variable.get("value", "")) and (driver := _driver(variable["value"])) not in locked:
                return driver
    return ""


def _driver(url: str) -> str:
    """Return the distribution that SQLAlchemy opens a URL with; the variables in it are not known here."""
    return make_url(re.sub(r"\$\(\w+\)", "x", url)).get_driver_name()


def _state(item: Object) -> Object:
    if driver := missing_driver(item["spec"]["template"]):
        counts = {"observedGeneration": item["metadata"]["generation"], "replicas": 1, "updatedReplicas": 1}
        crashed = {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}
        return {**counts, "conditions": [{**crashed, "message": f"ModuleNotFoundError: No module named '{driver}'"}]}
    return _status(item) | _available()


def _status(item: Object) -> Object:
    replicas = item["spec"].get("replicas", 1)
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {"observedGeneration": item["metadata"]["generation"], **dict.fromkeys(names, replicas)}


def _available() -> Object:
    progressing = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
    return {"conditions": [available, progressing]}
