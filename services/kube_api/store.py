"""What the cluster holds, one revision counter over all of it, and the recent past for watches.

A stored document is never changed in place: every write puts a new one, so whoever read the old one may keep it. The past is a
bounded list of events; who asks for what came after an event that is no longer in it hears 410 Gone and lists anew.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from saleops.services.kube_api.documents import Document, name_of, namespace_of
from saleops.services.kube_api.kinds import Kind

PAST_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Event:
    """``before`` is the object as it was: a selector that it met and no longer meets makes this a DELETED for that watch."""

    revision: int
    type: str  # ADDED, MODIFIED, DELETED
    kind: Kind
    object: Document
    before: Document | None


class Store:
    def __init__(self, *, past_max: int = PAST_MAX) -> None:
        self.revision = 1
        self._held: dict[str, dict[tuple[str, str], Document]] = {}
        self._past: deque[Event] = deque(maxlen=past_max)
        self.oldest = 1  # what came after this revision is still known
        self.listeners: list[Callable[[Event], None]] = []

    def find(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self._held.get(kind.key, {}).get((namespace, name))

    def each(self, kind: Kind, namespace: str | None = None) -> list[Document]:
        """In the order of namespace and name."""
        held = self._held.get(kind.key, {})
        return [
            document
            for (where, _), document in sorted(held.items())
            if namespace is None or where == namespace
        ]

    def put(self, kind: Kind, document: Document) -> Document:
        """Store ``document``, which becomes the store's, under the next revision."""
        held = self._held.setdefault(kind.key, {})
        key = (namespace_of(document), name_of(document))
        before = held.get(key)
        self.revision += 1
        document["metadata"]["resourceVersion"] = str(self.revision)
        held[key] = document
        self._say("ADDED" if before is None else "MODIFIED", kind, document, before)
        return document

    def remove(self, kind: Kind, document: Document) -> Document:
        held = self._held.get(kind.key, {})
        before = held.pop((namespace_of(document), name_of(document)))
        self.revision += 1
        last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.revision)}}
        self._say("DELETED", kind, last, before)
        return last

    def _say(self, type: str, kind: Kind, document: Document, before: Document | None) -> None:
        event = Event(self.revision, type, kind, document, before)
        if len(self._past) == self._past.maxlen:
            self.oldest = self._past[0].revision
        self._past.append(event)
        for listener in list(self.listeners):
            listener(event)

    def since(self, revision: int) -> Iterator[Event]:
        """What came after ``revision``, oldest first."""
        return (event for event in list(self._past) if event.revision > revision)

    def forget_past(self) -> None:
        """As etcd's compaction does: every watch from an older revision is told 410."""
        self._past.clear()
        self.oldest = self.revision

    def clear(self) -> None:
        for kind_key in list(self._held):
            del self._held[kind_key]
        self.revision += 1
        self.forget_past()
