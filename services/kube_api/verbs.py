"""What a request does to the objects: from the verb, the query and the body to a document."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saleops.services.kube_api.discovery import AUTHORIZATION
from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    mapping,
    meta,
    name_of,
    namespace_of,
    sequence,
    text,
    whole,
)
from saleops.services.kube_api.eviction import evict
from saleops.services.kube_api.kinds import NAMESPACES, PODS, Kind
from saleops.services.kube_api.list_keys import list_rules
from saleops.services.kube_api.merging import json_patched, merged
from saleops.services.kube_api.objects import Writer, rfc3339
from saleops.services.kube_api.ownership import applied
from saleops.services.kube_api.refusals import (
    KubeError,
    bad_request,
    conflict,
    invalid,
    not_found,
    success,
)
from saleops.services.kube_api.selectors import Test, field_test, label_test, selector_in
from saleops.services.kube_api.strategic import strategic_merged
from saleops.services.kube_api.users import User
from saleops.services.kube_api.versions import shown_as, stored_from
from saleops.services.kube_api.watching import Watch
from saleops.services.kube_api.wire import Answer, Request, answer

if TYPE_CHECKING:
    from saleops.services.kube_api.core import KubeApi

APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
WATCH_S = 300.0
_NEEDED = "Required value: is required for apply patch"
_REVIEWS = {
    "selfsubjectaccessreviews": "SelfSubjectAccessReview",
    "selfsubjectrulesreviews": "SelfSubjectRulesReview",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. ``namespace`` is None for all of them, and for what has none."""

    kind: Kind
    version: str
    namespace: str | None
    name: str
    subresource: str
    verb: str

    @property
    def resource(self) -> str:
        """ "pods/eviction", as roles spell it."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


class Verbs:
    def __init__(self, api: "KubeApi") -> None:
        self._api = api
        self._objects = api.objects

    def act(self, target: Target, request: Request, user: User) -> Answer:
        if target.kind.group == AUTHORIZATION:
            return self._review(request, user)
        asked = request.asked()
        writer = self._writer(request, asked, user)
        match target.verb:
            case "get":
                return self._get(target)
            case "list":
                return self._list(target, asked)
            case "watch":
                return self._watch(target, asked)
            case "create":
                return self._create(target, request, writer)
            case "update":
                return self._update(target, request, writer)
            case "patch":
                return self._patch(target, request, asked, writer)
            case "delete":
                return self._delete(target, request, asked, writer)
            case _:
                return self._delete_all(target, request, asked, writer)

    def _writer(self, request: Request, asked: dict[str, str], user: User) -> Writer:
        dry_run = asked.get("dryRun", "")
        if dry_run not in ("", "All"):
            raise invalid("PatchOptions", "meta.k8s.io", "", [("dryRun", f"Unsupported value: {dry_run[:40]!r}")])  # fmt: skip
        agent = request.header("user-agent").partition("/")[0].split(" ")[0]
        return Writer(asked.get("fieldManager") or agent or "unknown", dry_run == "All", user.name)

    # -- reading ---------------------------------------------------------------------------------------------

    def _live(self, target: Target) -> Document:
        return self._objects.get(target.kind, target.namespace or "", target.name)

    def _shown(self, target: Target, document: Document) -> Document:
        return shown_as(target.kind, target.version, document)

    def _get(self, target: Target) -> Answer:
        live = self._live(target)
        if target.subresource == "scale":
            return answer(200, scale_of(live))
        if target.subresource not in ("", "status"):
            raise KubeError(405, "the server does not allow this method on the requested resource")
        return answer(200, self._shown(target, live))

    def _test(self, target: Target, asked: dict[str, str]) -> Test:
        tests: list[Test] = []
        if query := asked.get("labelSelector"):
            tests.append(label_test(query))
        if query := asked.get("fieldSelector"):
            tests.append(field_test(target.kind, query))
        if target.name:
            tests.append(lambda one: name_of(one) == target.name)
        return lambda one: all(test(one) for test in tests)

    def _list(self, target: Target, asked: dict[str, str]) -> Answer:
        limit = asked.get("limit", "0") or "0"
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10):
            raise bad_request(f"unable to parse limit {limit[:40]!r}")
        items, metadata = self._objects.page(
            target.kind,
            target.namespace,
            self._test(target, asked),
            limit=int(limit),
            after=asked.get("continue", ""),
        )
        return answer(
            200,
            {
                "kind": f"{target.kind.kind}List",
                "apiVersion": target.kind.api_version(target.version),
                "metadata": metadata,
                "items": [self._shown(target, one) for one in items],
            },
        )

    def _watch(self, target: Target, asked: dict[str, str]) -> Answer:
        timeout = asked.get("timeoutSeconds", "")
        watch = Watch(
            self._api.store,
            target.kind,
            namespace=target.namespace,
            test=self._test(target, asked),
            shown=lambda one: self._shown(target, one),
            api_version=target.kind.api_version(target.version),
            for_s=float(timeout) if timeout.isdigit() and int(timeout) else WATCH_S,
            bookmarks=asked.get("allowWatchBookmarks", "").lower() in ("true", "1"),
            bookmark_s=self._api.settings.bookmark_s,
        )
        watch.start(
            asked.get("resourceVersion", ""),
            send_initial=asked.get("sendInitialEvents", "").lower() == "true",
        )
        return Answer(200, headers=(("content-type", "application/json"),), watch=watch)

    # -- writing ---------------------------------------------------------------------------------------------

    def _document(self, target: Target, request: Request) -> Document:
        document = request.document()
        if not isinstance(document, dict):
            raise bad_request("the body is no object")
        said = text(document.get("apiVersion"))
        kind = target.kind
        expected = {"scale": "Scale", "eviction": "Eviction", "binding": "Binding"}.get(
            target.subresource, kind.kind
        )
        if text(document.get("kind")) not in ("", expected):
            raise bad_request(
                f"the object provided is unrecognized: expected kind {expected}, got {text(document['kind'])[:60]}"
            )
        if not target.subresource and said not in ("", kind.api_version(target.version)):
            raise bad_request(
                f"the API version in the data ({said[:80]}) does not match the expected API version "
                f"({kind.api_version(target.version)})"
            )
        if not isinstance(document.get("metadata", {}), dict):
            raise bad_request("metadata is no object")
        return document

    def _create(self, target: Target, request: Request, writer: Writer) -> Answer:
        document = self._document(target, request)
        if target.subresource == "eviction":
            return answer(201, evict(self._objects, self._live(target), document, writer))
        if target.subresource == "binding":
            return answer(201, self._bind(target, document, writer))
        if target.subresource or target.name:
            raise KubeError(405, "the server does not allow this method on the requested resource")
        namespace = target.namespace or ""
        given = namespace_of(document)
        if target.kind.namespaced and given not in ("", namespace):
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request ({given[:60]})"
            )
        document = stored_from(target.kind, target.version, document, None)
        made = self._objects.create(target.kind, namespace, document, writer)
        return answer(201, self._shown(target, made))

    def _bind(self, target: Target, binding: Document, writer: Writer) -> Document:
        pod = self._live(target)
        node = text(at(binding, "target", "name"))
        if text(at(pod, "spec", "nodeName")):
            raise conflict(
                "pods/binding", "", target.name, f"pod {target.name} is already assigned to a node"
            )
        new = copied(pod)
        new["spec"]["nodeName"] = node
        self._objects.update(PODS, pod, new, writer)
        return success()

    def _update(self, target: Target, request: Request, writer: Writer) -> Answer:
        document = self._document(target, request)
        live = self._live(target)
        if target.subresource == "scale":
            return answer(200, self._rescale(target, live, document, writer))
        if target.subresource == "finalize" and target.kind is NAMESPACES:
            raise KubeError(405, "namespaces are finalized by this API itself")
        document = stored_from(target.kind, target.version, document, live)
        meta(document)
        if not target.subresource and "status" not in document and "status" in live:
            document["status"] = copied(live["status"])
        changed = self._objects.update(
            target.kind, live, document, writer, subresource=target.subresource
        )
        return answer(200, self._shown(target, changed))

    def _rescale(self, target: Target, live: Document, scale: Document, writer: Writer) -> Document:
        replicas = at(scale, "spec", "replicas")
        if replicas is None:
            replicas = 0
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            raise invalid(
                "Scale",
                "autoscaling",
                target.name,
                [("spec.replicas", f"Invalid value: {str(replicas)[:40]}: must be greater than or equal to 0")],
            )  # fmt: skip
        new = copied(live)
        if target.kind.custom and not isinstance(new.get("spec"), dict):
            new["spec"] = {}
        new["spec"]["replicas"] = replicas
        for name in ("resourceVersion", "uid"):
            if given := text(at(scale, "metadata", name)):
                new["metadata"][name] = given
        return scale_of(self._objects.update(target.kind, live, new, writer, subresource="scale"))

    def _patch(
        self, target: Target, request: Request, asked: dict[str, str], writer: Writer
    ) -> Answer:
        if request.content_type in APPLY:
            return self._apply(target, request, asked, writer)
        live = self._live(target)
        patch = request.document()
        shown = scale_of(live) if target.subresource == "scale" else self._shown(target, live)
        base = copied(shown)
        kind = target.kind
        match request.content_type:
            case "application/merge-patch+json":
                new = merged(base, patch)
            case "application/json-patch+json":
                new = json_patched(base, patch)
            case "application/strategic-merge-patch+json":
                if kind.custom:
                    raise KubeError(
                        415,
                        "the body of the request was in an unknown format - accepted media types include: "
                        f"{JSON_PATCH}, {MERGE}, application/apply-patch+yaml",
                    )
                new = strategic_merged(base, patch, list_rules(kind.group, kind.kind))
            case other:
                raise KubeError(
                    415,
                    f"the body of the request was in an unknown format ({other[:60]}) - accepted media types include: "
                    f"{JSON_PATCH}, {MERGE}, {STRATEGIC}, application/apply-patch+yaml",
                )
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise bad_request("the patch leaves no object")
        if target.subresource == "scale":
            return answer(200, self._rescale(target, live, new, writer))
        new = stored_from(kind, target.version, new, live)
        changed = self._objects.update(kind, live, new, writer, subresource=target.subresource)
        return answer(200, self._shown(target, changed))

    def _apply(
        self, target: Target, request: Request, asked: dict[str, str], writer: Writer
    ) -> Answer:
        if not asked.get("fieldManager"):
            raise invalid("PatchOptions", "meta.k8s.io", "", [("fieldManager", _NEEDED)])  # fmt: skip
        config = self._document(target, request)
        if not text(config.get("apiVersion")) or not text(config.get("kind")):
            raise bad_request("invalid object type: an apply names apiVersion and kind")
        kind, name = target.kind, target.name
        if name_of(config) not in ("", name):
            raise bad_request(
                f"the name of the object ({name_of(config)[:253]}) does not match the name on the URL ({name})"
            )
        if sequence(at(config, "metadata", "managedFields")):
            raise bad_request("metadata.managedFields must be nil")
        if target.subresource == "scale":
            raise KubeError(415, "apply to the deployment itself, not to its scale")
        live = self._api.store.find(kind, target.namespace or "", name)
        config = stored_from(kind, target.version, config, None)
        config.setdefault("metadata", {})["name"] = name
        now = rfc3339(self._objects.now_ms())
        force = asked.get("force", "").lower() == "true"
        if live is None:
            if at(config, "metadata", "uid"):
                raise conflict(kind.plural, kind.group, name)
            if target.subresource:
                raise not_found(kind.plural, kind.group, name)
            new = applied(kind, None, config, writer.manager, force=force, now=now)
            fields = meta(new)["managedFields"]
            made = self._objects.create(kind, target.namespace or "", new, writer, fields=fields)
            return answer(201, self._shown(target, made))
        new = applied(
            kind, live, config, writer.manager, force=force, now=now, subresource=target.subresource
        )
        changed = self._objects.update(
            kind, live, new, writer, subresource=target.subresource, remember=False
        )
        return answer(200, self._shown(target, changed))

    # -- deleting --------------------------------------------------------------------------------------------

    def _options(self, request: Request, asked: dict[str, str]) -> Document:
        options = request.document() if request.body else {}
        if not isinstance(options, dict):
            raise bad_request("delete options are an object")
        for name in ("gracePeriodSeconds", "propagationPolicy"):
            if name in asked:
                value: Any = asked[name]
                options[name] = int(value) if value.lstrip("-").isdigit() else value
        return options

    def _delete(
        self, target: Target, request: Request, asked: dict[str, str], writer: Writer
    ) -> Answer:
        options = self._options(request, asked)
        if sequence(options.get("dryRun")) == ["All"]:
            writer = Writer(writer.manager, True, writer.user)
        left, _ = self._objects.delete(target.kind, self._live(target), options, writer)
        return answer(200, left)

    def _delete_all(
        self, target: Target, request: Request, asked: dict[str, str], writer: Writer
    ) -> Answer:
        options = self._options(request, asked)
        if sequence(options.get("dryRun")) == ["All"]:
            writer = Writer(writer.manager, True, writer.user)
        items, metadata = self._objects.page(
            target.kind, target.namespace, self._test(target, asked)
        )
        for one in items:
            self._objects.delete(target.kind, one, dict(options), writer)
        return answer(
            200,
            {
                "kind": f"{target.kind.kind}List",
                "apiVersion": target.kind.api_version(target.version),
                "metadata": metadata,
                "items": [self._shown(target, one) for one in items],
            },
        )

    # -- access reviews --------------------------------------------------------------------------------------

    def review_target(
        self, group: str, version: str, rest: list[str], request: Request
    ) -> Target | None:
        """Reviews are created, answered and forgotten; anybody who is somebody may ask."""
        if group != AUTHORIZATION or version != "v1" or len(rest) != 1 or rest[0] not in _REVIEWS:
            return None
        if request.method != "POST":
            raise KubeError(405, "the server does not allow this method on the requested resource")
        kind = Kind(group, ("v1",), rest[0], _REVIEWS[rest[0]], False)
        return Target(kind, version, None, "", "", "create")

    def _review(self, request: Request, user: User) -> Answer:
        document = request.document()
        if not isinstance(document, dict):
            raise bad_request("the body is no object")
        asked = mapping(at(document, "spec", "resourceAttributes"))
        resource = text(asked.get("resource"))
        if sub := text(asked.get("subresource")):
            resource = f"{resource}/{sub}"
        allowed = user.may(
            text(asked.get("verb")),
            text(asked.get("group")),
            resource,
            namespace=text(asked.get("namespace")),
            name=text(asked.get("name")),
        )
        status: Document = {"allowed": allowed}
        if allowed:
            status["reason"] = "RBAC: allowed by the grants of this API double"
        return answer(
            201,
            {
                "kind": "SelfSubjectAccessReview",
                "apiVersion": f"{AUTHORIZATION}/v1",
                "metadata": {"creationTimestamp": None},
                "spec": document.get("spec", {}),
                "status": status,
            },
        )


def scale_of(workload: Document) -> Document:
    """The scale subresource of ``workload``, as autoscaling/v1 spells it."""
    metadata = mapping(workload.get("metadata"))
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": whole(at(workload, "spec", "replicas"))},
        "status": {
            "replicas": whole(at(workload, "status", "replicas")),
            "selector": str(selector_in(at(workload, "spec", "selector"))),
        },
    }
