"""Kubernetes objects as the API spells them, read into our values. Whatever is missing or odd reads as "not there"."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from saleops.domain.cluster import (
    Condition,
    CronHpa,
    CronHpaJob,
    DisruptionBudget,
    Hpa,
    Node,
    ObjectRef,
    Pod,
    PodTemplate,
    Resources,
    Scale,
    Selector,
    Taint,
    Toleration,
    Workload,
)
from saleops.domain.quantities import cpu_millis, whole

_STARTING = ("ContainerCreating", "PodInitializing")


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _int(value: Any, default: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(one) for name, one in _map(value).items()}


def read_time(value: Any) -> datetime | None:
    """RFC 3339, as aware UTC."""
    try:
        found = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _meta(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return _map(document.get("metadata"))


def ref_of(document: Mapping[str, Any]) -> ObjectRef:
    meta = _meta(document)
    return ObjectRef(
        _text(document.get("apiVersion")),
        _text(document.get("kind")),
        _text(meta.get("namespace")),
        _text(meta.get("name")),
        _text(meta.get("uid")),
    )


def version_of(document: Mapping[str, Any]) -> str:
    return _text(_meta(document).get("resourceVersion"))


def _conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            _text(one.get("type")),
            _text(one.get("status")),
            _text(one.get("reason")),
            _text(one.get("message")),
            read_time(one.get("lastTransitionTime")),
        )
        for one in _maps(status.get("conditions"))
    )


def selector_of(value: Any) -> Selector:
    """A ``LabelSelector`` object; none at all selects nothing."""
    if not isinstance(value, Mapping):
        return Selector(nothing=True)
    return Selector(
        _texts(value.get("matchLabels")),
        tuple(
            (
                _text(one.get("key")),
                _text(one.get("operator")),
                tuple(str(each) for each in _list(one.get("values"))),
            )
            for one in _maps(value.get("matchExpressions"))
        ),
    )


def _amount(value: Any, *, cpu: bool = False) -> int:
    try:
        return cpu_millis(value) if cpu else whole(value)
    except ValueError:
        return 0


def requests_of(spec: Mapping[str, Any]) -> Resources:
    """What the scheduler counts for a pod: its containers and sidecars together, or its largest init container."""
    cpu = memory = first_cpu = first_memory = 0
    for one in _maps(spec.get("initContainers")):
        asked = _map(_map(one.get("resources")).get("requests"))
        own_cpu, own_memory = _amount(asked.get("cpu"), cpu=True), _amount(asked.get("memory"))
        if one.get("restartPolicy") == "Always":  # a sidecar: it stays
            cpu, memory = cpu + own_cpu, memory + own_memory
        else:
            first_cpu, first_memory = max(first_cpu, own_cpu), max(first_memory, own_memory)
    for one in _maps(spec.get("containers")):
        asked = _map(_map(one.get("resources")).get("requests"))
        cpu += _amount(asked.get("cpu"), cpu=True)
        memory += _amount(asked.get("memory"))
    more = _map(spec.get("overhead"))
    return Resources(
        max(cpu, first_cpu) + _amount(more.get("cpu"), cpu=True),
        max(memory, first_memory) + _amount(more.get("memory")),
        1,
    )


def _tolerations(spec: Mapping[str, Any]) -> tuple[Toleration, ...]:
    return tuple(
        Toleration(
            _text(one.get("key")),
            _text(one.get("operator")) or "Equal",
            _text(one.get("value")),
            _text(one.get("effect")),
            one["tolerationSeconds"] if isinstance(one.get("tolerationSeconds"), int) else None,
        )
        for one in _maps(spec.get("tolerations"))
    )


def _template(value: Any) -> PodTemplate:
    template, spec = _map(value), _map(_map(value).get("spec"))
    return PodTemplate(
        labels=_texts(_meta(template).get("labels")),
        requests=requests_of(spec),
        node_selector=_texts(spec.get("nodeSelector")),
        tolerations=_tolerations(spec),
        grace_s=_int(spec.get("terminationGracePeriodSeconds"), 30),
        priority_class=_text(spec.get("priorityClassName")),
    )


def read_workload(document: Mapping[str, Any]) -> Workload:
    meta, spec, status = _meta(document), _map(document.get("spec")), _map(document.get("status"))
    stateful = document.get("kind") == "StatefulSet"
    conditions = _conditions(status)
    return Workload(
        kind="StatefulSet" if stateful else "Deployment",
        namespace=_text(meta.get("namespace")),
        name=_text(meta.get("name")),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        wanted=_int(spec.get("replicas"), 1),
        ready=_int(status.get("readyReplicas")),
        available=_int(status.get("availableReplicas")),
        updated=_int(status.get("updatedReplicas")),
        observed=_int(status.get("observedGeneration")) >= _int(meta.get("generation")),
        selector=selector_of(spec.get("selector")),
        template=_template(spec.get("template")),
        labels=_texts(meta.get("labels")),
        annotations=_texts(meta.get("annotations")),
        conditions=conditions,
        reasons=tuple(_workload_reasons(conditions)),
    )


def _workload_reasons(conditions: Iterable[Condition]) -> Iterable[str]:
    for one in conditions:
        bad = "True" if one.type == "ReplicaFailure" else "False"
        if one.status == bad:
            yield ": ".join(part for part in (one.reason or one.type, one.message) if part)


def read_scale(document: Mapping[str, Any]) -> Scale:
    spec, status = _map(document.get("spec")), _map(document.get("status"))
    return Scale(
        wanted=_int(spec.get("replicas")),
        current=_int(status.get("replicas")),
        resource_version=version_of(document),
        selector=_text(status.get("selector")),
    )


def read_hpa(document: Mapping[str, Any]) -> Hpa:
    meta, spec, status = _meta(document), _map(document.get("spec")), _map(document.get("status"))
    down = _map(_map(spec.get("behavior")).get("scaleDown"))
    return Hpa(
        namespace=_text(meta.get("namespace")),
        name=_text(meta.get("name")),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        target=_target(spec, _text(meta.get("namespace"))),
        min_replicas=_int(spec.get("minReplicas"), 1),
        max_replicas=_int(spec.get("maxReplicas")),
        current=_int(status.get("currentReplicas")),
        desired=_int(status.get("desiredReplicas")),
        scale_down_disabled=down.get("selectPolicy") == "Disabled",
        labels=_texts(meta.get("labels")),
        annotations=_texts(meta.get("annotations")),
        conditions=_conditions(status),
    )


def _target(spec: Mapping[str, Any], namespace: str) -> ObjectRef:
    target = _map(spec.get("scaleTargetRef"))
    return ObjectRef(
        _text(target.get("apiVersion")),
        _text(target.get("kind")),
        namespace,
        _text(target.get("name")),
    )


def read_cron_hpa(document: Mapping[str, Any]) -> CronHpa:
    meta, spec, status = _meta(document), _map(document.get("spec")), _map(document.get("status"))
    return CronHpa(
        namespace=_text(meta.get("namespace")),
        name=_text(meta.get("name")),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        target=_target(spec, _text(meta.get("namespace"))),
        jobs=tuple(
            CronHpaJob(
                _text(one.get("name")),
                _text(one.get("schedule")),
                _int(one.get("targetSize")),
                one.get("runOnce") is True,
            )
            for one in _maps(spec.get("jobs"))
        ),
        exclude_dates=tuple(str(one) for one in _list(spec.get("excludeDates"))),
        conditions=tuple(
            Condition(
                _text(one.get("name")),
                _text(one.get("state")),
                message=_text(one.get("message")),
                since=read_time(one.get("lastProbeTime")),
            )
            for one in _maps(status.get("conditions"))
        ),
        annotations=_texts(meta.get("annotations")),
    )


def read_node(document: Mapping[str, Any]) -> Node:
    meta, spec, status = _meta(document), _map(document.get("spec")), _map(document.get("status"))
    room = _map(status.get("allocatable")) or _map(status.get("capacity"))
    conditions = _conditions(status)
    return Node(
        name=_text(meta.get("name")),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        ready=any(one.type == "Ready" and one.holds for one in conditions),
        unschedulable=spec.get("unschedulable") is True,
        allocatable=Resources(
            _amount(room.get("cpu"), cpu=True),
            _amount(room.get("memory")),
            _amount(room.get("pods")),
        ),
        labels=_texts(meta.get("labels")),
        annotations=_texts(meta.get("annotations")),
        taints=tuple(read_taint(one) for one in _maps(spec.get("taints"))),
        conditions=conditions,
        provider_id=_text(spec.get("providerID")),
        created_at=read_time(meta.get("creationTimestamp")),
        deleted=meta.get("deletionTimestamp") is not None,
    )


def read_taint(one: Mapping[str, Any]) -> Taint:
    return Taint(_text(one.get("key")), _text(one.get("effect")), _text(one.get("value")))  # type: ignore[arg-type]  # as sent


def read_pod(document: Mapping[str, Any]) -> Pod:
    meta, spec, status = _meta(document), _map(document.get("spec")), _map(document.get("status"))
    conditions = _conditions(status)
    ready = next((one for one in conditions if one.type == "Ready"), None)
    namespace = _text(meta.get("namespace"))
    owner = next((one for one in _maps(meta.get("ownerReferences")) if one.get("controller")), None)
    grace = meta.get("deletionGracePeriodSeconds")
    if not isinstance(grace, int) or isinstance(grace, bool):
        grace = spec.get("terminationGracePeriodSeconds")
    return Pod(
        namespace=namespace,
        name=_text(meta.get("name")),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        phase=_text(status.get("phase")) or "Unknown",
        ready=ready is not None and ready.holds,
        node=_text(spec.get("nodeName")),
        owner=ObjectRef(
            _text(owner.get("apiVersion")),
            _text(owner.get("kind")),
            namespace,
            _text(owner.get("name")),
            _text(owner.get("uid")),
        )
        if owner is not None
        else None,
        labels=_texts(meta.get("labels")),
        annotations=_texts(meta.get("annotations")),
        grace_s=_int(grace, 30),
        requests=requests_of(spec),
        tolerations=_tolerations(spec),
        priority=_int(spec.get("priority")),
        priority_class=_text(spec.get("priorityClassName")),
        local_storage=any("emptyDir" in one for one in _maps(spec.get("volumes"))),
        reasons=tuple(_pod_reasons(status, conditions)),
        created_at=read_time(meta.get("creationTimestamp")),
        ready_at=ready.since if ready is not None and ready.holds else None,
        deleted_at=read_time(meta.get("deletionTimestamp")),
        conditions=conditions,
    )


def _pod_reasons(status: Mapping[str, Any], conditions: tuple[Condition, ...]) -> list[str]:
    """Why a pod is not ready, the most telling first; what merely says "not ready" only where nothing says more."""
    found: list[str] = []
    if status.get("phase") == "Failed" and (reason := _text(status.get("reason"))):
        found.append(_said(reason, _text(status.get("message"))))
    found += [
        _said(one.reason, one.message)
        for one in conditions
        if one.type == "PodScheduled" and one.status == "False"
    ]
    waiting = _maps(status.get("initContainerStatuses")) + _maps(status.get("containerStatuses"))
    for container in waiting:
        state = _map(container.get("state"))
        held = _map(state.get("waiting"))
        if reason := _text(held.get("reason")):
            text = reason if reason in _STARTING else _said(reason, _text(held.get("message")))
            found.append(text)
        ended = _map(state.get("terminated"))
        if _int(ended.get("exitCode")) != 0:
            found.append(
                f"{_text(container.get('name'))} ended with exit code {_int(ended.get('exitCode'))}"
                f" ({_text(ended.get('reason')) or 'Error'})"
            )
    for one in conditions:
        if (
            one.type == "Ready"
            and one.status != "True"
            and (one.reason not in ("", "ContainersNotReady", "PodCompleted") or not found)
        ):
            found.append(_said(one.reason or "NotReady", one.message))
    return list(dict.fromkeys(found))


def _said(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason


def read_budget(document: Mapping[str, Any]) -> DisruptionBudget:
    meta, spec, status = _meta(document), _map(document.get("spec")), _map(document.get("status"))
    return DisruptionBudget(
        namespace=_text(meta.get("namespace")),
        name=_text(meta.get("name")),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        selector=selector_of(spec.get("selector")),
        min_available=_share(spec.get("minAvailable")),
        max_unavailable=_share(spec.get("maxUnavailable")),
        unhealthy_eviction=_text(spec.get("unhealthyPodEvictionPolicy")) or "IfHealthyBudget",
        disruptions_allowed=_int(status.get("disruptionsAllowed")),
        current_healthy=_int(status.get("currentHealthy")),
        desired_healthy=_int(status.get("desiredHealthy")),
        expected=_int(status.get("expectedPods")),
    )


def _share(value: Any) -> int | str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return value if isinstance(value, str) else None
