"""Create, read, change and delete objects, as the API server does it: versions, generations, graceful ends, finalizers."""

import base64
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from saleops.services.kube_api.admission import admit, complain
from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    is_deleted,
    mapping,
    meta,
    name_of,
    namespace_of,
    sequence,
    text,
    uid_of,
    whole,
)
from saleops.services.kube_api.kinds import (
    DEFINITIONS,
    NAMESPACES,
    NODES,
    PODS,
    Kind,
    Kinds,
    defined_by,
)
from saleops.services.kube_api.ownership import remember_update
from saleops.services.kube_api.refusals import (
    KubeError,
    already_exists,
    bad_request,
    conflict,
    forbidden_by,
    not_found,
    success,
)
from saleops.services.kube_api.selectors import Test
from saleops.services.kube_api.store import Store

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
KEPT_META = ("uid", "creationTimestamp", "name", "namespace", "selfLink", "generateName")


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and how. A ``dry_run`` computes the outcome and keeps nothing."""

    manager: str = "unknown"
    dry_run: bool = False
    user: str = ""


def rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time_ms(value: Any) -> int | None:
    try:
        return round(datetime.fromisoformat(text(value)).timestamp() * 1000)
    except ValueError:
        return None


class Objects:
    def __init__(self, store: Store, kinds: Kinds, now_ms: Callable[[], int]) -> None:
        self.store = store
        self.kinds = kinds
        self.now_ms = now_ms

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        found = self.store.find(kind, namespace, name)
        if found is None:
            raise not_found(kind.plural, kind.group, name)
        return found

    def page(
        self, kind: Kind, namespace: str | None, test: Test, *, limit: int = 0, after: str = ""
    ) -> tuple[list[Document], dict[str, Any]]:
        """A page of a list, and the list's metadata."""
        revision, start = self._place(after) if after else (self.store.revision, None)
        chosen = [
            one
            for one in self.store.each(kind, namespace)
            if (start is None or (namespace_of(one), name_of(one)) > start) and test(one)
        ]
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if limit and len(chosen) > limit:
            last = chosen[limit - 1]
            place = msgspec.json.encode([revision, namespace_of(last), name_of(last)])
            metadata["continue"] = base64.urlsafe_b64encode(place).decode()
            metadata["remainingItemCount"] = len(chosen) - limit
            chosen = chosen[:limit]
        return chosen, metadata

    def _place(self, token: str) -> tuple[int, tuple[str, str]]:
        try:
            revision, namespace, name = msgspec.json.decode(
                base64.urlsafe_b64decode(token.encode()), type=tuple[int, str, str]
            )
        except (ValueError, msgspec.MsgspecError):
            raise bad_request("continue key is not valid") from None
        if revision < self.store.oldest:
            raise KubeError(
                410,
                "The provided continue parameter is too old to display a consistent list result. "
                "You must start a new list without the continue parameter.",
            )
        return revision, (namespace, name)

    # -- create ----------------------------------------------------------------------------------------------

    def create(
        self,
        kind: Kind,
        namespace: str,
        document: Document,
        writer: Writer,
        *,
        fields: list[Document] | None = None,
    ) -> Document:
        """``document`` becomes ours. ``fields`` are its managedFields, where an apply has made them already.

        Raises KubeError 409 where the name is taken.
        """
        metadata = meta(document)
        if not text(metadata.get("name")) and text(metadata.get("generateName")):
            suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
            metadata["name"] = text(metadata["generateName"])[:58] + suffix
        name = text(metadata.get("name"))
        if kind.namespaced:
            metadata["namespace"] = namespace
            self._check_namespace(kind, namespace, name)
        else:
            metadata.pop("namespace", None)
        if metadata.get("resourceVersion"):
            raise KubeError(
                500, "resourceVersion should not be set on objects to be created", reason=""
            )
        admit(kind, document, None, now=rfc3339(self.now_ms()), store=self.store)
        complain(kind, document, None)
        if self.store.find(kind, namespace if kind.namespaced else "", name) is not None:
            raise already_exists(kind.plural, kind.group, name)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = rfc3339(self.now_ms())
        for gone in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(gone, None)
        if "spec" in document and kind is not NODES:
            metadata["generation"] = 1
        if "status" in kind.subresources and kind not in (PODS, NODES):
            document.pop("status", None)
            admit(kind, document, None, now=rfc3339(self.now_ms()), store=self.store)
        if fields is None:
            remember_update(kind, None, document, writer.manager, now=rfc3339(self.now_ms()))
        else:
            metadata["managedFields"] = fields
        if writer.dry_run:
            return document
        stored = self.store.put(kind, document)
        new = defined_by(stored) if kind is DEFINITIONS else None
        if new is not None and self.kinds.of(new.group, new.kind) is None:
            self.kinds.add(new)
        return stored

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        if not namespace:
            raise bad_request("an empty namespace may not be set during creation")
        found = self.store.find(NAMESPACES, "", namespace)
        if found is None:
            raise not_found("namespaces", "", namespace)
        if is_deleted(found):
            raise forbidden_by(
                kind.plural,
                kind.group,
                name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )

    # -- change ----------------------------------------------------------------------------------------------

    def update(
        self,
        kind: Kind,
        old: Document,
        new: Document,
        writer: Writer,
        *,
        subresource: str = "",
        remember: bool = True,
    ) -> Document:
        """``old`` becomes ``new``, which becomes ours; what callers may not change stays. A change of nothing is none."""
        name = name_of(old)
        metadata, before = meta(new), mapping(old.get("metadata"))
        given = text(metadata.get("resourceVersion"))
        if given and given != before["resourceVersion"]:
            raise conflict(kind.plural, kind.group, name)
        given = text(metadata.get("uid"))
        if given and given != before["uid"]:
            raise conflict(
                kind.plural,
                kind.group,
                name,
                f"Precondition failed: UID in precondition: {given}, UID in object meta: {before['uid']}",
            )
        if text(metadata.get("name")) not in ("", name):
            raise bad_request(
                f"the name of the object ({text(metadata['name'])[:253]}) does not match the name on the URL ({name})"
            )
        self._keep(kind, old, new, subresource)
        if not subresource or subresource == "scale":
            admit(kind, new, old, now=rfc3339(self.now_ms()), store=self.store)
            complain(kind, new, old)
        if new.get("spec") != old.get("spec") and kind is not NODES:
            metadata["generation"] = whole(before.get("generation")) + 1
        if remember:
            remember_update(
                kind, old, new, writer.manager, now=rfc3339(self.now_ms()), subresource=subresource
            )
        if _same(old, new):
            return old
        if writer.dry_run:
            return new
        stored = self.store.put(kind, new)
        graceful = kind is PODS and whole(at(stored, "metadata", "deletionGracePeriodSeconds")) > 0
        held = graceful or sequence(at(stored, "metadata", "finalizers"))
        if is_deleted(stored) and not held:
            return self.store.remove(kind, stored)
        return stored

    def _keep(self, kind: Kind, old: Document, new: Document, subresource: str) -> None:
        metadata, before = meta(new), mapping(old.get("metadata"))
        for name in (
            *KEPT_META,
            "resourceVersion",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ):
            if name in before:
                metadata[name] = before[name]
            else:
                metadata.pop(name, None)
        if subresource in ("", "scale"):
            if "status" in kind.subresources:
                _take_over(new, old, "status")
        elif subresource == "status":
            for name in set(old) | set(new):
                if name not in ("status", "metadata"):
                    _take_over(new, old, name)
            kept = copied(before)
            kept["managedFields"] = metadata.get("managedFields", before.get("managedFields"))
            for name in ("labels", "annotations", "finalizers") if kind in (NODES, PODS) else ():
                if name in metadata:
                    kept[name] = metadata[name]
            if kept["managedFields"] is None:
                del kept["managedFields"]
            new["metadata"] = kept
        new["apiVersion"], new["kind"] = kind.api_version(), kind.kind

    # -- delete ----------------------------------------------------------------------------------------------

    def delete(
        self, kind: Kind, old: Document, options: Document, writer: Writer
    ) -> tuple[Document, bool]:
        """The object on its way out, or the Status of one that is gone; and whether it is gone."""
        wanted = mapping(options.get("preconditions"))
        metadata = mapping(old.get("metadata"))
        for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            given = wanted.get(field)
            if given is not None and given != metadata.get(field):
                raise conflict(
                    kind.plural,
                    kind.group,
                    name_of(old),
                    f"Precondition failed: {label} in precondition: {given}, "
                    f"{label} in object meta: {metadata.get(field)}",
                )
        grace_s = self._grace_s(kind, old, options)
        finalizers = list(sequence(metadata.get("finalizers")))
        policy = options.get("propagationPolicy")
        if options.get("orphanDependents") is True:
            policy = "Orphan"
        if policy == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        if policy == "Orphan" and "orphan" not in finalizers:
            finalizers.append("orphan")
        gone = {
            "name": name_of(old),
            "group": kind.group,
            "kind": kind.plural,
            "uid": uid_of(old),
        }
        if not grace_s and not finalizers and kind is not NAMESPACES:
            if not writer.dry_run:
                self.store.remove(kind, old)
            return success({key: value for key, value in gone.items() if value}), True
        new = copied(old)
        ends_ms = self.now_ms() + grace_s * 1000
        already = read_time_ms(metadata.get("deletionTimestamp"))
        if already is None or (kind is PODS and ends_ms < already):
            new["metadata"]["deletionTimestamp"] = rfc3339(ends_ms)
            new["metadata"]["deletionGracePeriodSeconds"] = grace_s
            if already is None and "generation" in metadata:
                new["metadata"]["generation"] = whole(metadata.get("generation")) + 1
        if finalizers:
            new["metadata"]["finalizers"] = finalizers
        if kind is NAMESPACES:
            new["status"] = {**mapping(new.get("status")), "phase": "Terminating"}
        if writer.dry_run or _same(old, new):
            return new, False
        return self.store.put(kind, new), False

    def _grace_s(self, kind: Kind, old: Document, options: Document) -> int:
        if kind is not PODS:
            return 0
        if not text(at(old, "spec", "nodeName")) or at(old, "status", "phase") in (
            "Succeeded",
            "Failed",
        ):
            return 0
        given = options.get("gracePeriodSeconds")
        if given is not None:
            if not isinstance(given, int) or isinstance(given, bool) or given < 0:
                raise bad_request("gracePeriodSeconds must be a non-negative whole number")
            return given
        return whole(at(old, "spec", "terminationGracePeriodSeconds"), 30)


def _take_over(new: Document, old: Document, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def _same(old: Document, new: Document) -> bool:
    """Apart from who manages which field since when, and the revision."""
    if {key: one for key, one in old.items() if key != "metadata"} != {
        key: one for key, one in new.items() if key != "metadata"
    }:
        return False
    skip = ("managedFields", "resourceVersion", "generation")
    before, after = mapping(old.get("metadata")), mapping(new.get("metadata"))
    if {key: one for key, one in before.items() if key not in skip} != {
        key: one for key, one in after.items() if key not in skip
    }:
        return False
    return _owners(before) == _owners(after)


def _owners(metadata: Document) -> list[Any]:
    return [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in map(mapping, sequence(metadata.get("managedFields")))
    ]
