"""Deployments: a ReplicaSet per template, and the way from one to the next within maxSurge and maxUnavailable."""

import hashlib

import msgspec

from saleops.services.kube_api.controllers.cluster_view import (
    Controller,
    reference_to,
    with_condition,
    without_zeros,
)
from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    is_deleted,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    owner_of,
    sequence,
    uid_of,
    whole,
)
from saleops.services.kube_api.eviction import share
from saleops.services.kube_api.kinds import DEPLOYMENTS, REPLICA_SETS

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


class Deployments(Controller):
    looks_at = frozenset({"deployments.apps", "replicasets.apps"})

    def reconcile(self) -> None:
        for one in self.view.each(DEPLOYMENTS):
            if not is_deleted(one):
                self._reconcile(one)

    def _reconcile(self, one: Document) -> None:
        wanted = whole(at(one, "spec", "replicas"), 1)
        sets = [
            held
            for held in self.view.each(REPLICA_SETS, namespace_of(one))
            if (owner := owner_of(held)) is not None and owner.get("uid") == uid_of(one)
        ]
        digest = _digest(at(one, "spec", "template"))
        current = next((held for held in sets if labels_of(held).get(HASH_LABEL) == digest), None)
        old = [held for held in sets if held is not current]
        paused = at(one, "spec", "paused") is True
        if at(one, "spec", "strategy", "type") == "Recreate":
            self._recreate(one, current, old, digest, wanted, paused=paused)
        else:
            self._roll(one, current, old, digest, wanted, paused=paused)
        self._report(one, digest, wanted)

    def _recreate(
        self,
        one: Document,
        current: Document | None,
        old: list[Document],
        digest: str,
        wanted: int,
        *,
        paused: bool,
    ) -> None:
        if not paused:
            for held in old:
                self._scale(held, 0)
            if any(self.view.owned_pods(held) for held in old):
                return
            current = current or self._make(one, digest, 0)
        if current is not None:
            self._scale(current, wanted)

    def _roll(
        self,
        one: Document,
        current: Document | None,
        old: list[Document],
        digest: str,
        wanted: int,
        *,
        paused: bool,
    ) -> None:
        if current is None and not paused:
            current = self._make(one, digest, 0 if any(map(_size, old)) else wanted)
        if current is None:
            return
        if not any(map(_size, old)):
            self._scale(current, wanted)
            return
        if paused:
            return
        rolling = mapping(at(one, "spec", "strategy", "rollingUpdate"))
        surge = share(rolling.get("maxSurge", "25%"), wanted, up=True)
        missing = share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
        if not surge and not missing:
            missing = 1
        total = _size(current) + sum(map(_size, old))
        room = wanted + surge - total
        if room > 0 or _size(current) > wanted:
            self._scale(current, min(wanted, _size(current) + max(room, 0)))
        current = self.view.current(REPLICA_SETS, current) or current
        total = _size(current) + sum(map(_size, old))
        may_go = total - (wanted - missing) - (_size(current) - _available(current))
        for held in sorted(old, key=name_of):  # the sick ones first
            sick = min(_size(held) - _available(held), max(may_go, 0))
            if sick > 0:
                self._scale(held, _size(held) - sick)
                may_go -= sick
        free = _available(current) + sum(map(_available, old)) - (wanted - missing)
        for held in sorted(old, key=name_of):
            held = self.view.current(REPLICA_SETS, held) or held
            gone = min(_size(held), max(free, 0))
            if gone > 0:
                self._scale(held, _size(held) - gone)
                free -= gone

    def _make(self, one: Document, digest: str, replicas: int) -> Document:
        template = copied(mapping(at(one, "spec", "template")))
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[HASH_LABEL] = digest
        selector = copied(mapping(at(one, "spec", "selector")))
        selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
        revision = 1 + max(
            (
                int(found)
                for held in self.view.each(REPLICA_SETS, namespace_of(one))
                if (owner := owner_of(held)) is not None
                and owner.get("uid") == uid_of(one)
                and (found := str(at(held, "metadata", "annotations", REVISION))).isdigit()
            ),
            default=0,
        )
        return self.view.create(
            REPLICA_SETS,
            namespace_of(one),
            {
                "metadata": {
                    "name": f"{name_of(one)}-{digest}",
                    "labels": dict(labels),
                    "annotations": {REVISION: str(revision)},
                    "ownerReferences": [reference_to(DEPLOYMENTS, one)],
                },
                "spec": {"replicas": replicas, "selector": selector, "template": template},
            },
        )

    def _scale(self, held: Document, replicas: int) -> None:
        if _size(held) == replicas:
            return

        def scaled(new: Document) -> None:
            new["spec"]["replicas"] = replicas

        self.view.change(REPLICA_SETS, held, scaled)

    def _report(self, one: Document, digest: str, wanted: int) -> None:
        sets = [
            held
            for held in self.view.each(REPLICA_SETS, namespace_of(one))
            if (owner := owner_of(held)) is not None and owner.get("uid") == uid_of(one)
        ]
        count = sum(whole(at(held, "status", "replicas")) for held in sets)
        updated = sum(
            whole(at(held, "status", "replicas"))
            for held in sets
            if labels_of(held).get(HASH_LABEL) == digest
        )
        ready = sum(whole(at(held, "status", "readyReplicas")) for held in sets)
        missing = share(
            at(one, "spec", "strategy", "rollingUpdate", "maxUnavailable"), wanted, up=False
        )
        enough = ready >= wanted - missing
        done = updated == count == ready == wanted
        now = self.view.now
        conditions = with_condition(
            sequence(at(one, "status", "conditions")),
            "Available",
            "True" if enough else "False",
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "Deployment has minimum availability."
            if enough
            else "Deployment does not have minimum availability.",
            now,
        )
        name = f"{name_of(one)}-{digest}"
        conditions = with_condition(
            conditions,
            "Progressing",
            "True",
            "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
            f'ReplicaSet "{name}" has successfully progressed.'
            if done
            else f'ReplicaSet "{name}" is progressing.',
            now,
        )
        self.view.put_status(
            DEPLOYMENTS,
            one,
            {
                **without_zeros(
                    {
                        "observedGeneration": whole(at(one, "metadata", "generation")),
                        "replicas": count,
                        "updatedReplicas": updated,
                        "readyReplicas": ready,
                        "availableReplicas": ready,
                        "unavailableReplicas": max(wanted - ready, 0),
                    }
                ),
                "conditions": conditions,
            },
        )


def _size(held: Document) -> int:
    return whole(at(held, "spec", "replicas"))


def _available(held: Document) -> int:
    return whole(at(held, "status", "availableReplicas"))


def _digest(template: object) -> str:
    text = msgspec.json.encode(template, order="deterministic")
    return hashlib.sha256(text).hexdigest()[:10]
