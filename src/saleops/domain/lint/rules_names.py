"""Rules for names that lead nowhere: a Service without pods, an Ingress without its Service, an HPA without its workload, a kind
that no API server knows.

Who says that something is missing has to be sure: a release from which nothing of the sort was read says nothing about it, a
patch stands for what it patches, and what an operator may make is a warning.
"""

from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.kubernetes_kinds import (
    ALL_KINDS,
    KINDS,
    USUAL,
    group_of,
    may_make_objects,
    near,
)
from saleops.domain.lint.plain_values import scalar, table, tables, text, whole
from saleops.domain.lint.releases import releases_of
from saleops.domain.lint.rules import Hit, rule

_SCALED = {
    "Deployment": ("apps", "extensions", ""),
    "StatefulSet": ("apps", ""),
    "ReplicaSet": ("apps", "extensions", ""),
    "ReplicationController": ("",),
}
"""Built-in kinds that an HPA scales, with the groups that mean them; "" also where no group is written."""

_SET_BY_CONTROLLERS = (
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "pod-template-hash",
    "controller-revision-hash",
    "rollouts-pod-template-hash",
    "job-name",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
)


@rule(
    "SVC001",
    "error",
    "A Service that selects no pod",
    why="A Service whose selector matches no pod has no endpoints: every request to it fails, and nothing says so on apply.",
    fix="Write the labels of the pod template (spec.template.metadata.labels) into the selector.",
    source="kubernetes.io docs, debug Services; kube-linter dangling-service",
    bad="selector: {app: order}  # the template says app: order-service",
    good="selector: {app: order-service}",
)
def selects_no_pod(fleet: Fleet) -> Iterator[Hit]:
    estate, releases = estate_of(fleet), releases_of(fleet)
    for service in _of(fleet, "Service", ""):
        asked = table(service.at("spec", "selector"))
        if not asked or text(service.at("spec", "type")) == "ExternalName":
            continue
        if not all(isinstance(one, str) for pair in asked.items() for one in pair):
            continue  # the API server refuses it
        if set(asked) <= set(_SET_BY_CONTROLLERS):
            continue
        asked = {key: value for key, value in asked.items() if key not in _SET_BY_CONTROLLERS}
        if any(
            asked.items() <= one.labels.items() and releases.may_meet(service, one.document)
            for one in estate.pods
        ):
            continue
        beside = _whole_workloads(fleet, service)
        if not beside:
            continue
        closest = max(beside, key=lambda one: len(asked.items() & one.labels.items()))
        # Some programs label their pods while they run, such as the one that leads.
        labelled = any(
            asked.items() & one.labels.items()
            and all(asked[key] == one.labels.get(key, asked[key]) for key in asked)
            for one in beside
        )
        made = _made_by_operators(fleet, service)
        # A folder may hold examples that have nothing to do with each other.
        sure = any(
            one.document.file == service.file
            or one.name == service.name
            or asked.items() & one.labels.items()
            or near(one.name, frozenset((service.name,)))
            for one in beside
        )
        yield Hit(
            service,
            ("spec", "selector"),
            f"{service.name} selects {_shown(asked)}, which matches none of the {len(beside)} workload(s) of its release",
            why=f"The Service has no endpoints: every request to {service.name} is refused or answered 503. The closest is "
            f"{closest.kind} {closest.name} with {_shown(closest.labels) or 'no labels'}."
            + (f" Unless what {made} makes has these labels." if made else ""),
            severity=None if sure and not made and not labelled else "warning",
        )


@rule(
    "SVC002",
    "error",
    "An Ingress that leads to a Service that is not there",
    why="The load balancer answers 503 on a path whose Service does not exist.",
    fix="Write the name of a Service of the Ingress's own namespace, or deploy that Service along with it.",
    source="kubernetes.io docs, Ingress; kube-linter dangling-ingress",
    bad="service: {name: order, port: {number: 80}}  # the Service is order-service",
    good="service: {name: order-service, port: {number: 80}}",
)
def leads_to_no_service(fleet: Fleet) -> Iterator[Hit]:
    releases = releases_of(fleet)
    services = list(fleet.of_kind("Service"))  # Knative's make one of the same name
    for ingress in _ingresses(fleet):
        annotations = table(ingress.at("metadata", "annotations"))
        for path, name, port in _backends(ingress):
            answered = any(
                isinstance(key, str) and key.endswith(f"/actions.{name}") for key in annotations
            )
            if not name or port == "use-annotation" or answered:
                continue
            if any(one.name == name and releases.may_meet(ingress, one) for one in services):
                continue
            here = sorted({one.name for one in services if releases.meet(ingress, one)} - {""})
            if not here and not _whole_workloads(fleet, ingress):
                continue
            made = _made_by_operators(fleet, ingress)
            meant = near(name, frozenset(here))
            yield Hit(
                ingress,
                path,
                f"{ingress.name} leads to Service {name}, which is not in its release"
                + (f": did you mean {meant}?" if meant else ""),
                why="Requests to this path are answered 503: its release has "
                + (f"{len(here)} Service(s), {', '.join(here[:5])}" if here else "no Service")
                + (f"; unless {made} makes one." if made else "."),
                severity=None if meant and not made else "warning",  # else it may live elsewhere
            )


@rule(
    "SVC003",
    "error",
    "An Ingress path that does not begin with a slash",
    why="With pathType Exact or Prefix the API server refuses a path that is not absolute: the Ingress is not applied at all.",
    fix="Begin the path with a slash.",
    source="kubernetes.io reference, Ingress v1, HTTPIngressPath",
    bad="{path: api/orders, pathType: Prefix}",
    good="{path: /api/orders, pathType: Prefix}",
)
def absolute_paths(fleet: Fleet) -> Iterator[Hit]:
    for ingress in _ingresses(fleet):
        for path, one in _paths(ingress):
            if one.get("pathType") not in ("Exact", "Prefix"):
                continue
            written = one.get("path")
            if not isinstance(written, str | None) or (written or "").startswith("/"):
                continue
            said = (
                f"path {written[:80]!r} does not begin with /" if written else "a path is missing"
            )
            yield Hit(
                ingress,
                (*path, "path") if "path" in one else path,
                f"{ingress.name}: {said}, and pathType is {one['pathType']}",
            )


@rule(
    "HPA001",
    "error",
    "An HPA whose minimum is above its maximum",
    why="The API server refuses it: on a new cluster there is no HPA at all, on an old one the bounds of yesterday stay.",
    fix="Set maxReplicas to the pods of the sale's peak, and minReplicas to no more than that.",
    source="kubernetes.io reference, HorizontalPodAutoscaler v2",
    bad="minReplicas: 20, maxReplicas: 10",
    good="minReplicas: 10, maxReplicas: 100",
)
def bounds_in_order(fleet: Fleet) -> Iterator[Hit]:
    for hpa in _of(fleet, "HorizontalPodAutoscaler", "autoscaling"):
        low, high = whole(hpa.at("spec", "minReplicas")), whole(hpa.at("spec", "maxReplicas"))
        if low is not None and high is not None and low > high:
            yield Hit(
                hpa,
                ("spec", "minReplicas"),
                f"{hpa.name}: minReplicas {low} is above maxReplicas {high}",
                why=f"The API server refuses the HPA: neither {low} nor {high} pods are kept, and nothing scales with the load.",
            )


@rule(
    "HPA002",
    "error",
    "An HPA for a workload that is not there",
    why="The HPA finds nothing to scale and says so only in its own status: the pods stay as many as they are in the sale.",
    fix="Write kind and name of the workload as it is deployed.",
    source="kubernetes.io docs, horizontal pod autoscaling; kube-linter dangling-horizontalpodautoscaler",
    bad="scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order}  # it is order-service",
    good="scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order-service}",
)
def scales_nothing(fleet: Fleet) -> Iterator[Hit]:
    estate, releases = estate_of(fleet), releases_of(fleet)
    for hpa in _of(fleet, "HorizontalPodAutoscaler", "autoscaling"):
        target = table(hpa.at("spec", "scaleTargetRef"))
        kind, name = text(target.get("kind")), text(target.get("name"))
        group = text(target.get("apiVersion")).rpartition("/")[0]
        if not name or group not in _SCALED.get(kind, ()):
            continue
        if any(
            (one.kind, one.name) == (kind, name) and releases.may_meet(hpa, one.document)
            for one in estate.pods
        ):
            continue
        beside = [one for one in _whole_workloads(fleet, hpa) if one.long_running]
        if not beside:
            continue
        made = _made_by_operators(fleet, hpa)
        meant = near(name, frozenset(one.name for one in beside if one.kind == kind))
        yield Hit(
            hpa,
            ("spec", "scaleTargetRef"),
            f"{hpa.name} scales {kind} {name}, which is not in its release"
            + (f": did you mean {meant}?" if meant else ""),
            why=f"Nothing grows with the load: of the {len(beside)} workload(s) of its release none is a {kind} {name}"
            + (f", unless {made} makes it." if made else "."),
            severity="warning" if made else None,
        )


@rule(
    "KND001",
    "warning",
    "A kind that no API server knows",
    why="The API server answers that it has no match for the kind, and the object is not applied; other rules pass over it.",
    fix="Write kind and apiVersion as the API server spells them (kubectl api-resources).",
    source="kubernetes.io reference, API groups; apiextensions.k8s.io: a custom group has a dot",
    bad="{apiVersion: app/v1, kind: Deploymnt}",
    good="{apiVersion: apps/v1, kind: Deployment}",
)
def known_kinds(fleet: Fleet) -> Iterator[Hit]:
    for document in fleet.of_format("kubernetes"):
        group, kind = group_of(document), document.kind.removesuffix("List") or document.kind
        if not isinstance(document.at("apiVersion"), str) or kind in KINDS.get(group, ()):
            continue
        if kind in ALL_KINDS:
            # Custom groups have kinds of the same name: Knative's Service, Kruise's StatefulSet.
            homes = frozenset(one for one in KINDS if kind in KINDS[one])
            if "." in group and group not in KINDS and not near(group, homes):
                continue
            usual = USUAL.get(kind, "")
            yield Hit(
                document,
                ("apiVersion",),
                f"there is no {kind} in {scalar(document.at('apiVersion'))[:80]}"
                + (f": did you mean {usual}?" if usual else ""),
            )
        elif (group in KINDS or "." not in group) and (meant := near(kind, ALL_KINDS)):
            yield Hit(document, ("kind",), f"there is no kind {kind}: did you mean {meant}?")


def _of(fleet: Fleet, kind: str, group: str) -> Iterator[LintDocument]:
    return (one for one in fleet.of_kind(kind) if group_of(one) == group)


def _ingresses(fleet: Fleet) -> Iterator[LintDocument]:
    groups = ("networking.k8s.io", "extensions")
    return (one for one in fleet.of_kind("Ingress") if group_of(one) in groups)


def _whole_workloads(fleet: Fleet, document: LintDocument) -> list[Pods]:
    """The workloads of the release of ``document``; none where one is a patch of something that was not read."""
    found = estate_of(fleet).beside(document)
    return [] if any(one.partial for one in found) else found


def _made_by_operators(fleet: Fleet, document: LintDocument) -> str:
    """A custom resource of the release for which an operator may make objects; "" if there is none."""
    releases = releases_of(fleet)
    for one in fleet.of_format("kubernetes"):
        if may_make_objects(one) and releases.may_meet(document, one):
            return f"{one.kind} {one.name}".strip()
    return ""


def _paths(ingress: LintDocument) -> Iterator[tuple[KeyPath, dict[Any, Any]]]:
    for r, one in tables(ingress.at("spec", "rules")):
        for p, entry in tables(table(one.get("http")).get("paths")):
            yield ("spec", "rules", r, "http", "paths", p), entry


def _backends(ingress: LintDocument) -> Iterator[tuple[KeyPath, str, str]]:
    """(path, Service, port) of each backend, as networking.k8s.io/v1 and as the betas before it write them."""
    found: list[tuple[KeyPath, Any]] = [
        (("spec", key), ingress.at("spec", key)) for key in ("defaultBackend", "backend")
    ]
    found += [((*path, "backend"), one.get("backend")) for path, one in _paths(ingress)]
    for path, value in found:
        backend = table(value)
        service = table(backend.get("service"))
        port = table(service.get("port"))
        if service:
            written = scalar(port.get("number", port.get("name")))
            yield (*path, "service", "name"), text(service.get("name")), written
        else:
            old = text(backend.get("serviceName"))
            yield (*path, "serviceName"), old, scalar(backend.get("servicePort"))


def _shown(labels: Any) -> str:
    return ", ".join(f"{key}={value}" for key, value in table(labels).items())[:120]
