"""A stand-in for Kubernetes' own controllers: Deployments and StatefulSets become ready, their volumes bound.

No container is started. What becomes of KServe's Deployments says `controller`, which runs real servers.
"""

from __future__ import annotations

import threading

from apiserver import ApiServer
from controller import OWNER
from resources import Object


class Workloads:
    """Reconciles until closed."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reconciling."""
        self._closed = True
        self._thread.join(10)

    def _run(self) -> None:
        while not self._closed:
            for item in self._api.list("deployments"):
                if OWNER not in (item["metadata"].get("labels") or {}):
                    self._api.set_status("deployments", item["metadata"]["name"], _status(item) | _available())
            for item in self._api.list("statefulsets"):
                self._claim(item)
                revision = f"{item['metadata']['name']}-{item['metadata']['generation']}"
                revisions = {"currentRevision": revision, "updateRevision": revision}
                counted = {"currentReplicas": item["spec"].get("replicas", 1)}
                self._api.set_status("statefulsets", item["metadata"]["name"], _status(item) | revisions | counted)
            with self._api.changed:
                self._api.changed.wait(0.2)

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


def _status(item: Object) -> Object:
    replicas = item["spec"].get("replicas", 1)
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {"observedGeneration": item["metadata"]["generation"], **dict.fromkeys(names, replicas)}


def _available() -> Object:
    progressing = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
    return {"conditions": [available, progressing]}
