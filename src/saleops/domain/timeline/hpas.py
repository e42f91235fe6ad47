"""HPAs as manifests write them, in the terms of the simulation."""

from collections.abc import Mapping, Sequence
from typing import Any

from saleops.domain.capacity import cpu_m, memory_mib
from saleops.domain.lint.cron_objects import hpa_bounds
from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import pod_template
from saleops.domain.timeline.model import DOWN, UP, Behaviour, Hpa, Policy, Select

_RATES = ("rps", "qps", "request")


def hpa_model(
    hpa: LintDocument, workload: LintDocument | None, rps_per_pod: float
) -> tuple[Hpa, str]:
    """The HPA, and a note on what had to be assumed ("" for nothing)."""
    low, high = hpa_bounds(hpa)
    line, _ = hpa.place(("spec",), key=True)
    target, saturates, note = _target(hpa, workload, rps_per_pod)
    return (
        Hpa(
            hpa.name,
            max(0, low),
            max(1, low, high if high is not None else low),
            target or 1.0,
            1.0 if saturates else float("inf"),
            target is not None,
            _behaviour(hpa.at("spec", "behavior", "scaleUp"), UP),
            _behaviour(hpa.at("spec", "behavior", "scaleDown"), DOWN),
            f"HPA {hpa.name} {hpa.file}:{line}",
        ),
        note,
    )


def _target(
    hpa: LintDocument, workload: LintDocument | None, rps_per_pod: float
) -> tuple[float | None, bool, str]:
    """(share of a pod's capacity, whether the metric saturates, note)."""
    percent = _positive(hpa.at("spec", "targetCPUUtilizationPercentage"))
    listed = hpa.at("spec", "metrics")
    for metric in listed if isinstance(listed, list) else ():
        if not isinstance(metric, dict):
            continue
        resource = metric.get("resource") or metric.get("containerResource")
        if isinstance(resource, dict) and resource.get("name") == "cpu":
            percent = percent or _positive(_in(resource, "target", "averageUtilization"))
        for kind in ("pods", "external", "object"):
            body = metric.get(kind)
            name = _in(body, "metric", "name")
            each = _quantity(_in(body, "target", "averageValue"))
            if (
                isinstance(name, str)
                and any(one in name for one in _RATES)
                and each
                and rps_per_pod
            ):
                return each / rps_per_pod, False, ""
    if percent is None:
        return (
            None,
            True,
            f"HPA {hpa.name}: none of its metrics is one whose course with the load is known; it stays as it is",
        )
    over, note = _limit_over_request(workload)
    return percent / 100 / over, True, f"HPA {hpa.name}: {note}" if note else ""


def _limit_over_request(workload: LintDocument | None) -> tuple[float, str]:
    """How much of its request a pod uses that serves all it can: up to its limit where it has one, else taken as all of it."""
    if workload is not None:
        _, template = pod_template(workload)
        containers = _in(template, "spec", "containers")
        first = containers[0] if isinstance(containers, list) and containers else None
        request = millicores(_in(first, "resources", "requests", "cpu"))
        limit = millicores(_in(first, "resources", "limits", "cpu"))
        if request and limit and limit >= request:
            return limit / request, ""
        if request:
            return 1.0, "a pod that serves all it can is taken to use all of its CPU request"
    return 1.0, "no CPU request is known; a pod that serves all it can is taken to use all of it"


def _behaviour(value: object, default: Behaviour) -> Behaviour:
    if not isinstance(value, dict):
        return default
    window = value.get("stabilizationWindowSeconds")
    select: Select = default.select
    if value.get("selectPolicy") in ("Max", "Min", "Disabled"):
        select = value["selectPolicy"]
    listed = value.get("policies")
    policies = tuple(
        Policy(one.get("type") == "Percent", most, period)
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict)
        and (most := _positive(one.get("value"))) is not None
        and (period := _positive(one.get("periodSeconds"))) is not None
    )
    return Behaviour(
        min(window, 3600)
        if isinstance(window, int) and not isinstance(window, bool) and window >= 0
        else default.window_s,
        policies or default.policies,
        select,
    )


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _in(value: Any, *path: str) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _quantity(value: object) -> float | None:
    """A Kubernetes quantity of requests: 400, "400", "400m", "1k"."""
    text = (
        str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    )
    scale = {"m": 0.001, "k": 1000.0}.get(text[-1:], 1.0)
    try:
        number = float(text[:-1] if text[-1:] in ("m", "k") else text) * scale
    except ValueError:
        return None
    return number if 0 < number < 1e12 else None


def millicores(value: object) -> int | None:
    text = (
        str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    )
    try:
        found = cpu_m(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return found if 0 < found < 10**9 else None


def mebibytes(value: object) -> int | None:
    text = value if isinstance(value, str) else ""
    try:
        found = memory_mib(text)
    except (ValueError, KeyError, OverflowError):
        return None
    return found if 0 < found < 10**9 else None


def requests_of(workload: LintDocument) -> tuple[int | None, int | None]:
    """(millicores, MiB) that all containers of a pod ask for; None where none says."""
    _, template = pod_template(workload)
    listed = _in(template, "spec", "containers")
    containers: Sequence[object] = listed if isinstance(listed, list) else ()
    cpu = [millicores(_in(one, "resources", "requests", "cpu")) for one in containers]
    memory = [mebibytes(_in(one, "resources", "requests", "memory")) for one in containers]
    known_cpu = [one for one in cpu if one is not None]
    known_memory = [one for one in memory if one is not None]
    return sum(known_cpu) or None, sum(known_memory) or None
