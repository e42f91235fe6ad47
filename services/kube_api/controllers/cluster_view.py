"""What controllers see of the cluster, and how they write to it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    mapping,
    name_of,
    namespace_of,
    owner_of,
    sequence,
    uid_of,
    whole,
)
from saleops.services.kube_api.kinds import EVENTS, PODS, Kind
from saleops.services.kube_api.objects import Objects, Writer, rfc3339
from saleops.services.kube_api.settings import Settings
from saleops.services.kube_api.timeline import Timeline

MANAGER = Writer("kube-controller-manager")


class Controller(ABC):
    looks_at: ClassVar[frozenset[str]]

    def __init__(self, view: "ClusterView") -> None:
        self.view = view

    @abstractmethod
    def reconcile(self) -> None: ...

    def forget(self) -> None:
        """The cluster was emptied."""
        return


class ClusterView:
    def __init__(self, objects: Objects, timeline: Timeline, settings: Settings) -> None:
        self.objects = objects
        self.store = objects.store
        self.timeline = timeline
        self.settings = settings

    @property
    def now(self) -> str:
        return rfc3339(self.timeline.now_ms)

    def each(self, kind: Kind, namespace: str | None = None) -> list[Document]:
        return self.store.each(kind, namespace)

    def current(self, kind: Kind, document: Document) -> Document | None:
        """The object as it is by now; None where it is gone, or another one has its name."""
        found = self.store.find(kind, namespace_of(document), name_of(document))
        return found if found is not None and uid_of(found) == uid_of(document) else None

    def owned_pods(self, owner: Document) -> list[Document]:
        uid = uid_of(owner)
        return [
            pod
            for pod in self.each(PODS, namespace_of(owner))
            if (its := owner_of(pod)) is not None and its.get("uid") == uid
        ]

    def put_status(self, kind: Kind, old: Document, status: Document) -> None:
        """``status`` replaces the status; writes nothing where it says the same."""
        live = self.current(kind, old)
        if live is None or live.get("status") == status:
            return
        new = {**live, "metadata": dict(live["metadata"]), "status": status}
        self.store.put(kind, new)

    def change(
        self, kind: Kind, old: Document, act: Callable[[Document], None], *, sub: str = ""
    ) -> None:
        """Change a copy of the object as it is now with ``act`` and store it."""
        live = self.current(kind, old)
        if live is None:
            return
        new = copied(live)
        act(new)
        self.objects.update(kind, live, new, MANAGER, subresource=sub)

    def create(self, kind: Kind, namespace: str, document: Document) -> Document:
        return self.objects.create(kind, namespace, document, MANAGER, fields=[])

    def delete(self, kind: Kind, document: Document, **options: Any) -> None:
        live = self.current(kind, document)
        if live is not None:
            self.objects.delete(kind, live, options, MANAGER)

    def say(
        self, kind: Kind, about: Document, reason: str, message: str, *, warning: bool, source: str
    ) -> None:
        """An event about an object; the same one again raises its count."""
        namespace = namespace_of(about) or "default"
        for one in self.each(EVENTS, namespace):
            if (
                at(one, "involvedObject", "uid") == uid_of(about)
                and one.get("reason") == reason
                and one.get("message") == message
            ):
                new = {**one, "metadata": dict(one["metadata"])}
                new |= {"count": whole(one.get("count"), 1) + 1, "lastTimestamp": self.now}
                self.store.put(EVENTS, new)
                return
        self.create(
            EVENTS,
            namespace,
            {
                "metadata": {"generateName": f"{name_of(about)[:40]}."},
                "involvedObject": {
                    "kind": kind.kind,
                    "apiVersion": kind.api_version(),
                    "namespace": namespace_of(about),
                    "name": name_of(about),
                    "uid": uid_of(about),
                },
                "reason": reason,
                "message": message,
                "type": "Warning" if warning else "Normal",
                "source": {"component": source},
                "reportingComponent": source,
                "firstTimestamp": self.now,
                "lastTimestamp": self.now,
                "count": 1,
            },
        )


def reference_to(kind: Kind, owner: Document) -> Document:
    return {
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod_from(template: Any, owner_kind: Kind, owner: Document) -> Document:
    """The pod that ``owner``'s template describes, without a name."""
    described = mapping(at(template, "metadata"))
    return {
        "metadata": {
            "labels": dict(mapping(described.get("labels"))),
            "annotations": dict(mapping(described.get("annotations"))),
            "ownerReferences": [reference_to(owner_kind, owner)],
        },
        "spec": copied(mapping(at(template, "spec"))),
    }


def with_condition(
    conditions: Any, type: str, status: str, reason: str, message: str, now: str
) -> list[Document]:
    """``conditions`` with one set; its transition time changes only when its status does."""
    listed = [dict(one) for one in map(mapping, sequence(conditions))]
    found = next((one for one in listed if one.get("type") == type), None)
    if found is None:
        found = {"type": type}
        listed.append(found)
    if found.get("status") != status:
        found["lastTransitionTime"] = now
    found |= {"status": status}
    for name, value in (("reason", reason), ("message", message)):
        if value:
            found[name] = value
        else:
            found.pop(name, None)
    return listed


def condition(document: Document, type: str) -> Document:
    for one in map(mapping, sequence(at(document, "status", "conditions"))):
        if one.get("type") == type:
            return one
    return {}


def without_zeros(status: Document) -> Document:
    """As the API leaves out counts of nothing."""
    return {name: one for name, one in status.items() if one != 0}
