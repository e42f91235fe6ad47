"""Label selectors and field selectors, as they come in a query and as objects carry them."""

import re
from collections.abc import Callable
from typing import Any

from saleops.domain.cluster import Selector
from saleops.services.kube_api.documents import Document, at, labels_of, mapping, sequence, text
from saleops.services.kube_api.kinds import Kind
from saleops.services.kube_api.refusals import bad_request

Test = Callable[[Document], bool]

_SET = re.compile(r"^\s*([\w./-]+)\s+(in|notin)\s*\(([^()]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([\w./-]+)\s*$")
_OUTSIDE = re.compile(r",(?![^(]*\))")

_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
             "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "events": ("involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
               "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.fieldPath",
               "involvedObject.resourceVersion", "reason", "reportingComponent", "source", "type"),
}  # fmt: skip


def label_test(query: str) -> Test:
    """``app=order,tier in (a,b),!old`` as a test. Raises KubeError 400."""
    parts = [one for one in _OUTSIDE.split(query) if one.strip()]
    tests = [_label_requirement(one) for one in parts]
    return lambda document: all(test(labels_of(document)) for test in tests)


def _label_requirement(part: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.match(part):
        key, operator, listed = found.groups()
        values = {one.strip() for one in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(part):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(part):
        missing, key = found.groups()
        if missing:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise bad_request(f"unable to parse requirement: {part.strip()[:100]!r}")


def field_test(kind: Kind, query: str) -> Test:
    """``spec.nodeName=n1,status.phase!=Failed`` as a test. Raises KubeError 400 for a field that cannot be selected by."""
    tests: list[Test] = []
    for part in query.split(","):
        if not part.strip():
            continue
        for operator in ("!=", "==", "="):
            name, found, value = part.partition(operator)
            if found:
                break
        else:
            raise bad_request(f"invalid field selector: {part.strip()[:100]!r}")
        tests.append(_field(kind, name.strip(), value.strip(), equal=operator != "!="))
    return lambda document: all(test(document) for test in tests)


def _field(kind: Kind, name: str, value: str, *, equal: bool) -> Test:
    if name not in ("metadata.name", "metadata.namespace", *_FIELDS.get(kind.key, ())):
        raise bad_request(f"field label not supported: {name[:100]}")
    path = ("source", "component") if name == "source" else tuple(name.split("."))
    return lambda document: (_as_field(at(document, *path)) == value) == equal


def _as_field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def selector_in(value: Any) -> Selector:
    """A ``LabelSelector`` object: none at all selects nothing, an empty one everything."""
    if not isinstance(value, dict):
        return Selector(nothing=True)
    expressions = [
        (
            text(one.get("key")),
            text(one.get("operator")),
            tuple(map(str, sequence(one.get("values")))),
        )
        for one in map(mapping, sequence(value.get("matchExpressions")))
    ]
    return Selector(dict(mapping(value.get("matchLabels"))), tuple(expressions))
