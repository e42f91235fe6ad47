"""Watches: a line of JSON per event, from a revision on, until the time is over or the caller goes.

A watch without a revision (or from "0") begins with everything there is. With selectors an object that comes to meet them is
ADDED and one that no longer does is DELETED, whatever it was to others. Bookmarks tell an idle watcher how far the world is.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from saleops.services.kube_api.documents import Document
from saleops.services.kube_api.kinds import Kind
from saleops.services.kube_api.refusals import KubeError
from saleops.services.kube_api.selectors import Test
from saleops.services.kube_api.store import Event, Store

BOOKMARK_S = 5.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
Shown = Callable[[Document], Document]


class Watch:
    """The lines of one watch. Filled by the store's writer, emptied by whoever serves the caller."""

    def __init__(
        self,
        store: Store,
        kind: Kind,
        *,
        namespace: str | None,
        test: Test,
        shown: Shown,
        api_version: str,
        for_s: float,
        bookmarks: bool,
        bookmark_s: float = BOOKMARK_S,
    ) -> None:
        self._store = store
        self._kind = kind
        self._namespace = namespace
        self._test = test
        self._shown = shown
        self._api_version = api_version
        self._lines: deque[bytes] = deque()
        self._bookmark_s = bookmark_s if bookmarks else 0.0
        self._ends_at = time.monotonic() + for_s
        self._spoke_at = time.monotonic()
        self._ready = threading.Condition()
        self.closed = False
        self.on_lines: Callable[[], None] | None = None

    def start(self, since: str, *, send_initial: bool = False) -> None:
        """Fill in what came after ``since``. A revision that is forgotten becomes an ERROR event, as on the wire."""
        revision = int(since) if since.isdigit() else 0
        if revision == 0 or send_initial:
            for document in self._store.each(self._kind, self._namespace):
                if self._test(document):
                    self._say("ADDED", document)
            if send_initial:
                self._bookmark(end=True)
        elif revision < self._store.oldest:
            self.fail(
                KubeError(410, f"too old resource version: {revision} ({self._store.oldest})")
            )
            return
        else:
            for event in self._store.since(revision):
                self.hear(event)
        self._store.listeners.append(self.hear)

    def hear(self, event: Event) -> None:
        if event.kind.key != self._kind.key or self.closed:
            return
        document = event.object
        if self._namespace not in (None, document["metadata"].get("namespace", "")):
            return
        fits = self._test(document)
        fitted = event.before is not None and self._test(event.before)
        if event.type == "DELETED":
            if fitted:
                self._say("DELETED", document)
        elif fits:
            self._say("MODIFIED" if fitted else "ADDED", document)
        elif fitted and event.before is not None:
            last = {
                **event.before,
                "metadata": {
                    **event.before["metadata"],
                    "resourceVersion": document["metadata"]["resourceVersion"],
                },
            }
            self._say("DELETED", last)

    def fail(self, error: KubeError) -> None:
        self._put({"type": "ERROR", "object": error.status()})
        self.close()

    def close(self) -> None:
        self.closed = True
        if self.hear in self._store.listeners:
            self._store.listeners.remove(self.hear)
        self._wake()

    def take(self) -> list[bytes]:
        """What is to be sent now; ends the watch when its time is over, and adds a bookmark where it was silent for long."""
        now = time.monotonic()
        if not self.closed and now >= self._ends_at:
            self.close()
        elif self._bookmark_s and not self._lines and now - self._spoke_at >= self._bookmark_s:
            self._bookmark()
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        if lines:
            self._spoke_at = now
        return lines

    def wait_s(self) -> float:
        """How long nothing needs doing unless the store speaks."""
        now = time.monotonic()
        until = self._ends_at
        if self._bookmark_s:
            until = min(until, self._spoke_at + self._bookmark_s)
        return max(until - now, 0.0)

    def wait(self, seconds: float) -> None:
        """For a caller in a thread of its own: until there are lines, the end, or ``seconds`` later."""
        with self._ready:
            if not self._lines and not self.closed:
                self._ready.wait(seconds)

    def _say(self, type: str, document: Document) -> None:
        self._put({"type": type, "object": self._shown(document)})

    def _bookmark(self, *, end: bool = False) -> None:
        metadata: dict[str, Any] = {
            "resourceVersion": str(self._store.revision),
            "creationTimestamp": None,
        }
        if end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        self._put(
            {
                "type": "BOOKMARK",
                "object": {
                    "kind": self._kind.kind,
                    "apiVersion": self._api_version,
                    "metadata": metadata,
                },
            }
        )

    def _put(self, event: dict[str, Any]) -> None:
        self._lines.append(msgspec.json.encode(event) + b"\n")
        self._wake()

    def _wake(self) -> None:
        with self._ready:
            self._ready.notify_all()
        if self.on_lines is not None:
            self.on_lines()
