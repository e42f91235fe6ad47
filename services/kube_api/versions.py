"""One object, two spellings: an autoscaler is stored as autoscaling/v2 and shown as v1 to who asks for v1."""

from typing import Any

from saleops.services.kube_api.documents import Document, at, copied, mapping, sequence
from saleops.services.kube_api.kinds import HPAS, Kind

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"


def shown_as(kind: Kind, version: str, document: Document) -> Document:
    """``document`` as ``version`` spells it; the stored one stays as it is."""
    if version == kind.versions[0]:
        return document
    shown = {**document, "apiVersion": kind.api_version(version)}
    if kind is HPAS:
        spec, status = dict(mapping(document.get("spec"))), dict(mapping(document.get("status")))
        cpu = _cpu(sequence(spec.pop("metrics", None)), "target")
        spec.pop("behavior", None)
        if cpu is not None:
            spec["targetCPUUtilizationPercentage"] = cpu
        current = _cpu(sequence(status.pop("currentMetrics", None)), "current")
        status.pop("conditions", None)
        if current is not None:
            status["currentCPUUtilizationPercentage"] = current
        shown["spec"], shown["status"] = spec, status
    return shown


def stored_from(kind: Kind, version: str, document: Document, old: Document | None) -> Document:
    """The stored form of what came as ``version``. What v1 cannot say is kept from ``old``."""
    if version == kind.versions[0] or kind is not HPAS:
        return document
    new: Document = copied(document)
    spec = dict(mapping(new.get("spec")))
    cpu = spec.pop("targetCPUUtilizationPercentage", None)
    kept = copied(sequence(at(old, "spec", "metrics"))) if old is not None else []
    if cpu is not None and cpu != _cpu(kept, "target"):
        kept = [one for one in kept if at(one, "resource", "name") != "cpu"]
        target = {"type": "Utilization", "averageUtilization": cpu}
        kept.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if kept:
        spec["metrics"] = kept
    if old is not None and at(old, "spec", "behavior") is not None:
        spec["behavior"] = copied(at(old, "spec", "behavior"))
    new["spec"] = spec
    new.pop("status", None)
    return new


def _cpu(metrics: list[Any], where: str) -> int | None:
    for one in metrics:
        if at(one, "resource", "name") == "cpu":
            found = at(one, "resource", where, "averageUtilization")
            return found if isinstance(found, int) else None
    return None


def cpu_target(hpa: Document) -> int | None:
    """The average CPU utilization, in percent of the requests, that an autoscaler aims at."""
    return _cpu(sequence(at(hpa, "spec", "metrics")), "target")
