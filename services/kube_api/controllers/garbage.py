"""What goes with what: dependents of an owner that is gone, and everything in a namespace that is told to end."""

from saleops.services.kube_api.controllers.cluster_view import Controller
from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    is_deleted,
    mapping,
    name_of,
    sequence,
    text,
    uid_of,
)
from saleops.services.kube_api.kinds import (
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    Kind,
)

_OWNERS = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, SERVICES)
_OWNED = (REPLICA_SETS, PODS, ENDPOINT_SLICES)


class Garbage(Controller):
    looks_at = frozenset({one.key for one in (*_OWNERS, *_OWNED)})

    def reconcile(self) -> None:
        owners = {uid_of(one): (kind, one) for kind in _OWNERS for one in self.view.each(kind)}
        owned: dict[str, list[tuple[Kind, Document]]] = {}
        for kind in _OWNED:
            for one in self.view.each(kind):
                for reference in map(mapping, sequence(at(one, "metadata", "ownerReferences"))):
                    owned.setdefault(text(reference.get("uid")), []).append((kind, one))
        for uid, dependents in owned.items():
            if uid not in owners:
                for kind, one in dependents:
                    if self._ours(one, uid):
                        self.view.delete(kind, one)
        for uid, (kind, owner) in owners.items():
            if is_deleted(owner):
                self._finish(kind, owner, owned.get(uid, []))

    def _ours(self, one: Document, uid: str) -> bool:
        """Whether the owner that is gone was of a kind that we keep: of others we know nothing."""
        known = {kind.kind for kind in _OWNERS}
        return not is_deleted(one) and any(
            reference.get("uid") == uid and reference.get("kind") in known
            for reference in map(mapping, sequence(at(one, "metadata", "ownerReferences")))
        )

    def _finish(self, kind: Kind, owner: Document, dependents: list[tuple[Kind, Document]]) -> None:
        finalizers = sequence(at(owner, "metadata", "finalizers"))
        if "orphan" in finalizers:
            for its_kind, one in dependents:
                live = self.view.current(its_kind, one)
                if live is None:
                    continue
                new = copied(live)
                new["metadata"]["ownerReferences"] = [
                    reference
                    for reference in new["metadata"]["ownerReferences"]
                    if reference.get("uid") != uid_of(owner)
                ]
                self.view.store.put(its_kind, new)
            self._drop(kind, owner, "orphan")
        elif "foregroundDeletion" in finalizers:
            for its_kind, one in dependents:
                if not is_deleted(one):
                    policy = "Foreground" if its_kind is REPLICA_SETS else None
                    self.view.delete(its_kind, one, propagationPolicy=policy)
            if not dependents:
                self._drop(kind, owner, "foregroundDeletion")

    def _drop(self, kind: Kind, owner: Document, finalizer: str) -> None:
        def dropped(new: Document) -> None:
            left = [one for one in new["metadata"]["finalizers"] if one != finalizer]
            new["metadata"]["finalizers"] = left

        self.view.change(kind, owner, dropped)


class Namespaces(Controller):
    """A namespace that is told to end takes all it holds along, and goes when it is empty."""

    looks_at = frozenset({"namespaces", "pods", "events"})

    def reconcile(self) -> None:
        for namespace in self.view.each(NAMESPACES):
            if not is_deleted(namespace):
                continue
            name, held = name_of(namespace), 0
            for kind in self.view.objects.kinds.each():
                if not kind.namespaced:
                    continue
                for one in self.view.each(kind, name):
                    if not is_deleted(one):
                        self.view.delete(kind, one)
                held += len(self.view.each(kind, name))
            if not held:
                self.view.store.remove(NAMESPACES, namespace)
