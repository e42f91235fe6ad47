"""A watch that outlives its connections: it goes on where it broke, and begins anew where the API has forgotten that place.

list ("restarted", then "added" for each) -> watch from the list's revision -> events
connection lost, server's time over -> watch again from the last revision seen
410 Gone -> list again
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from saleops.adapters.kube_documents import read_node, read_pod, read_workload, version_of
from saleops.adapters.lightkube_client import KubeClient
from saleops.adapters.lightkube_paths import DEPLOYMENTS, NODES, PODS, STATEFUL_SETS, Place
from saleops.domain.cluster import Change, ChangeType
from saleops.errors import ClusterError

AGAIN_S = 0.5
_READ: dict[str, tuple[Place, Callable[[Mapping[str, Any]], Any]]] = {
    "pods": (PODS, read_pod),
    "nodes": (NODES, read_node),
    "deployments": (DEPLOYMENTS, read_workload),
    "statefulsets": (STATEFUL_SETS, read_workload),
}
_TYPES: dict[str, ChangeType] = {"ADDED": "added", "MODIFIED": "modified", "DELETED": "deleted"}


def watched(
    client: KubeClient,
    what: str,
    *,
    namespace: str | None,
    labels: str,
    fields: str,
    since: str | None,
    for_s: float,
) -> Iterator[Change]:
    """See ``ports.cluster.Cluster.watch``."""
    place, read = _READ[what]
    until = time.monotonic() + for_s
    version = since
    failures = 0
    while (left_s := until - time.monotonic()) > 0 or version is None:
        if version is None:
            documents, version = place.listed(client, namespace, labels, fields)
            yield Change("restarted", None, version)
            for document in documents:
                yield Change("added", read(document), version)
            continue
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": max(round(left_s), 1),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        try:
            with client.stream(
                f"watching {what}", place.path(namespace), params, for_s=left_s
            ) as events:
                for event in events:
                    failures = 0
                    document = _object(event, what)
                    version = version_of(document) or version
                    type = _TYPES.get(event["type"])
                    if type is not None:
                        full = {"apiVersion": place.api_version, "kind": place.kind, **document}
                        yield Change(type, read(full), version)
                    if time.monotonic() >= until:
                        return
        except ClusterError as error:
            if error.status == 410 or error.reason in ("Expired", "Gone"):
                version = None
                continue
            failures += 1
            wait_s = max(AGAIN_S * 2 ** min(failures, 5), error.retry_after_s or 0.0)
            if not error.retryable or time.monotonic() + wait_s > until:
                raise
            time.sleep(wait_s)


def _object(event: Any, what: str) -> Mapping[str, Any]:
    """The object of an event. Raises ClusterError for an event that is an error."""
    document = event.get("object") if isinstance(event, dict) else None
    if not isinstance(document, dict):
        raise ClusterError(f"watching {what}: the stream broke off within an event", kind="unknown")
    if event.get("type") == "ERROR":
        code = document.get("code")
        gone = code == 410
        raise ClusterError(
            f"watching {what}: {str(document.get('message'))[:300]}",
            kind="failed" if gone else "unknown",
            reason=str(document.get("reason") or ""),
            status=code if isinstance(code, int) else 0,
        )
    return document
