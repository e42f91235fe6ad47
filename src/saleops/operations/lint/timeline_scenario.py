"""From a sale and the documents of a lint run to a scenario for the time machine, with a note for all that is assumed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from saleops.domain import capacity as sizes
from saleops.domain.lint.cron_objects import Ref, controller_zone, crons, hpa_of, whole
from saleops.domain.lint.cron_replay import (
    by_workload,
    installed_at,
    is_sound,
    service_of,
    size_before,
)
from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import Fleet, labels_of, pod_template
from saleops.domain.lint.node_pools import NodePool, node_pools
from saleops.domain.timeline.demand import Demand, sale_demand
from saleops.domain.timeline.hpas import hpa_model, requests_of
from saleops.domain.timeline.model import Event, Pool, Reclaim, Run, Scenario, Service
from saleops.domain.timeline.on_demand import on_demand_only
from saleops.domain.timeline.pod_times import NODE_BOOT_S, PodTimes, pod_times
from saleops.domain.traffic import LoadShape
from saleops.operations.lint.timeline_runs import Calendar

if TYPE_CHECKING:
    from saleops.config.sale import Sale

WORKLOADS = ("Deployment", "StatefulSet", "CloneSet", "ReplicaSet")
UNREAD = ("SRC001", "SRC003", "SRC004")
"""Troubles after which nobody knows what a file holds: no YAML, a template, too large or too deep."""


@dataclass
class Built:
    """``planned`` are the pods the sale wants, by the name that a service has in the scenario.

    ``loads`` is the sale's service that it is (a part of).
    """

    scenario: Scenario
    start: datetime
    opens_s: int
    closes_s: int
    zone: str
    planned: dict[str, int] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: list[Event] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    loads: dict[str, str] = field(default_factory=dict)


def build(
    sale: "Sale", fleet: Fleet, *, before_s: int, after_s: int, reclaim: Reclaim | None
) -> Built:
    """From ``before_s`` before the opening to ``after_s`` after the close; a reclaim's second counts from the opening."""
    start = sale.window.opens - timedelta(seconds=before_s)
    open_for = round((sale.window.closes - sale.window.opens).total_seconds())
    seconds = before_s + open_for + after_s
    zone, from_where = controller_zone(fleet)
    built = Built(Scenario(seconds, ()), start, before_s, before_s + open_for, zone)
    if any(crons(fleet)):
        built.notes.append(f"CronHPA schedules are read in {zone}, from {from_where}")
    loads = _loads(sale)
    calendar = Calendar(fleet, start, seconds, zone, _installed(fleet, built))
    _judge_reading(built, fleet)
    services = [
        _service(sale, fleet, built, workload, loads, calendar)
        for workload in _workloads(fleet, loads)
    ]
    built.notes.extend(calendar.notes)
    built.skipped.extend(calendar.skipped)
    built.unjudged.extend(
        f"CronHPA {cron.name} ({cron.document.file}) names nothing that it scales"
        for cron in crons(fleet)
        if cron.jobs and not cron.workload.name
    )
    pools = tuple(_pools(fleet, built))
    if not pools:
        built.notes.append("No node pool with a size was read: there is always room for pods")
    if reclaim is not None:
        reclaim = replace(reclaim, second=built.opens_s + reclaim.second)
    elsewhere = [one.name for one in services if one.on_demand]
    if reclaim is not None and elsewhere:
        built.notes.append(
            f"Only on nodes that are never spot, so a reclaim of spot nodes does not take them: {', '.join(elsewhere)}"
        )
    if pools and elsewhere and all(pool.spot for pool in pools):
        built.notes.append(
            f"No node pool on demand with a size was read: there is always room for {', '.join(elsewhere)}"
        )
    built.scenario = Scenario(seconds, tuple(services), pools, reclaim)
    assumed = sorted({one for service in services for one in service.times.assumed})
    if assumed:
        usual = PodTimes()
        built.notes.append(
            f"Assumed where nothing says better ({', '.join(assumed)}): image {usual.pull_s} s, start {usual.start_s} s, "
            f"load balancer {usual.register_s} s, no preStop"
        )
    return built


def _loads(sale: "Sale") -> Mapping[str, sizes.Service]:
    """The sale's services with what each is asked for at the peak."""
    traffic = sale.traffic
    named = {
        name: sizes.Service(
            name,
            0.0,
            size.rps_per_pod or 0.0,
            sizes.cpu_m(size.cpu),
            sizes.memory_mib(size.memory),
            size.connections_per_pod,
        )
        for name, size in sale.services.items()
    }
    found = sizes.services_of(
        traffic.peak_rps, traffic.peak_orders_per_s, traffic.page_views_per_order, named
    )
    return {one.name: one for one in found}


@dataclass(frozen=True)
class _Workload:
    """``load`` is the sale's service that it is ``share`` of; ``document`` is None where only a CronHPA or the sale names it."""

    ref: Ref
    document: LintDocument | None
    load: str | None
    label: str
    share: float = 1.0


def _workloads(fleet: Fleet, loads: Mapping[str, sizes.Service]) -> list[_Workload]:
    """Those in the documents, those that only a CronHPA or an HPA names, and the sale's own that nobody names."""
    refs: dict[Ref, LintDocument | None] = {}
    for document in fleet.of_kind(*WORKLOADS):
        if document.name:
            refs.setdefault(Ref(document.kind, document.name, document.namespace), document)
    for workload in by_workload(fleet):
        if workload not in refs:
            refs[workload] = None
    names: dict[str, int] = {}
    for ref in refs:
        names[ref.name] = names.get(ref.name, 0) + 1
    found = []
    for ref, owner in refs.items():
        load = service_of(ref.name, loads) or _by_label(owner, loads)
        label = ref.name
        if names[ref.name] > 1:
            label = f"{ref.namespace}/{ref.kind.lower()}/{ref.name}"
        found.append(_Workload(ref, owner, load, label))
    found = _shared(fleet, found)
    taken = {one.load for one in found}
    labels = {one.label for one in found}
    for name in loads:
        if name not in taken:
            label = name if name not in labels else f"{name} (of the sale)"
            found.append(_Workload(Ref("", "", ""), None, name, label))
    return found


def _by_label(document: LintDocument | None, loads: Mapping[str, sizes.Service]) -> str | None:
    """``order-core`` whose pods are labelled ``app: order`` serves what order serves."""
    if document is None:
        return None
    labels = labels_of(pod_template(document)[1])
    for key in ("app", "app.kubernetes.io/name"):
        if key in labels and (found := service_of(labels[key], loads)):
            return found
    return None


def _shared(fleet: Fleet, found: list[_Workload]) -> list[_Workload]:
    """Workloads that are one service share its load by the most pods that are ever ordered of them."""
    weights = [max(1, _most_ordered(fleet, one)) for one in found]
    sums: dict[str, int] = {}
    for one, weight in zip(found, weights, strict=True):
        if one.load is not None:
            sums[one.load] = sums.get(one.load, 0) + weight
    return [
        replace(one, share=weight / sums[one.load]) if one.load is not None else one
        for one, weight in zip(found, weights, strict=True)
    ]


def _most_ordered(fleet: Fleet, workload: _Workload) -> int:
    jobs = [job for cron in by_workload(fleet).get(workload.ref, []) for job in cron.jobs]
    written = (
        whole(workload.document.at("spec", "replicas")) if workload.document is not None else None
    )
    return max(
        [written or 0, *(job.size for job in jobs if job.size is not None and is_sound(job))]
    )


def _service(
    sale: "Sale",
    fleet: Fleet,
    built: Built,
    workload: _Workload,
    loads: Mapping[str, sizes.Service],
    calendar: Calendar,
) -> Service:
    load = loads.get(workload.load or "")
    each = (load.rps_per_pod or sizes.FALLBACK_RPS) if load is not None else 0.0
    if load is not None and not load.rps_per_pod:
        built.notes.append(
            f"{workload.label}: nobody said what a pod serves; taken as {sizes.FALLBACK_RPS:g} requests a second"
        )
    planned = _planned(fleet, load)
    if load is not None and planned is not None and workload.share < 1:
        planned = ceil(planned * workload.share - 1e-9)
        built.notes.append(
            f"{workload.label} takes {workload.share:.0%} of what {load.name} is asked for, by its pods"
        )
    if planned is not None:
        built.planned[workload.label] = planned
    if load is not None:
        built.loads[workload.label] = load.name
    pods, source = _first_size(fleet, built, workload, planned)
    times = pod_times(fleet, workload.document)
    cpu, memory = requests_of(workload.document) if workload.document is not None else (None, None)
    model = None
    hpa = hpa_of(fleet, workload.ref)
    if hpa is not None:
        model, note = hpa_model(hpa, workload.document, each)
        if note:
            built.notes.append(note)
    built.sources[workload.label] = source
    runs = calendar.runs_of(workload.ref, workload.label)
    _judge(built, fleet, calendar, workload, runs)
    return Service(
        workload.label,
        pods,
        each,
        times,
        cpu or (load.cpu_m if load is not None else 100),
        memory or (load.memory_mib if load is not None else 128),
        model,
        runs,
        _demand(sale, built, load, workload.share),
        source,
        on_demand_only(fleet, workload.document),
    )


def _planned(fleet: Fleet, load: sizes.Service | None) -> int | None:
    """The plan's pods; where the sale has no plan yet, those of one zone."""
    if load is None:
        return None
    if fleet.sale is not None and load.name in fleet.sale.pods:
        return fleet.sale.pods[load.name]
    return sizes.pods_for(load, 1).pods


def _first_size(
    fleet: Fleet, built: Built, workload: _Workload, planned: int | None
) -> tuple[int, str]:
    """(pods at the beginning, where that is from)."""
    document = workload.document
    if not workload.ref.name:
        built.notes.append(
            f"{workload.label} is in no manifest: taken as the sale plans it, {planned or 1} pods all the time"
        )
        return planned or 1, "the sale's plan"
    found = by_workload(fleet).get(workload.ref, [])
    before = (
        size_before(fleet, workload.ref, found, built.start, built.zone, _installed(fleet, built))
        if found
        else None
    )
    if document is None:
        named = f"{', '.join(one.name for one in found)}" or "an HPA"
        built.notes.append(
            f"{workload.ref.kind} {workload.ref.name} is in no manifest, only {named} names it; "
            + (
                "its pods are assumed as the sale has them"
                if workload.load
                else "nothing is known of its pods"
            )
        )
    if before is not None:
        at = (
            f"{document.file}:{document.first_line}"
            if document is not None
            else "the last job before"
        )
        return max(0, before), at
    hpa = hpa_of(fleet, workload.ref)
    low = whole(hpa.at("spec", "minReplicas")) if hpa is not None else None
    written = whole(document.at("spec", "replicas")) if document is not None else None
    if written is None and document is not None:
        written = 1  # Kubernetes' default
    size = max(0, low or 0, written if written is not None else planned or 1)
    return (
        size,
        f"{document.file}:{document.first_line}" if document is not None else "the sale's plan",
    )


def _installed(fleet: Fleet, built: Built) -> datetime:
    return installed_at(fleet) or built.start


def _demand(sale: "Sale", built: Built, load: sizes.Service | None, part: float) -> Demand | None:
    if load is None or not load.rps:
        return None
    traffic = sale.traffic
    open_for = built.closes_s - built.opens_s
    shape = LoadShape(
        baseline_rps=traffic.baseline_rps,
        peak_rps=traffic.peak_rps,
        lead_s=float(built.opens_s),
        step_s=traffic.step_s,
        hold_s=max(0.0, open_for - traffic.step_s),
        storm_s=0.0,
    )
    return sale_demand(
        shape,
        share=load.rps * part / traffic.peak_rps,
        opens_s=built.opens_s,
        closes_s=built.closes_s,
    )


def _judge_reading(built: Built, fleet: Fleet) -> None:
    """A file that nobody could read may be anything; without a workload there is nothing but the sale's own plan."""
    for one in fleet.troubles:
        if one.id in UNREAD:
            line, column = one.document.place(one.path)
            built.unjudged.append(f"{one.document.file}:{line}:{column}: {one.message}")
    if not any(one.name for one in fleet.of_kind(*WORKLOADS)) and not any(crons(fleet)):
        built.unjudged.append("no workload was read: nothing was judged")


def _judge(
    built: Built, fleet: Fleet, calendar: Calendar, workload: _Workload, runs: tuple[Run, ...]
) -> None:
    """Whether a service of the sale can be judged: not where a job of it is refused, or its workload is only heard of."""
    if workload.load is None or not workload.ref.name:
        return
    label = workload.label
    built.unjudged.extend(f"{label}: {one}" for one in calendar.unknown.get(label, ()))
    found = by_workload(fleet).get(workload.ref, [])
    if found and workload.document is None:
        names = ", ".join(dict.fromkeys(f"{one.name} ({one.document.file})" for one in found))
        built.unjudged.append(
            f"{label}: {workload.ref.kind or 'workload'} {workload.ref.name} is in no manifest, only CronHPA {names} names it"
        )
    planned = built.planned.get(label, 0)
    inside = {run.cause for run in runs if built.opens_s <= run.second < built.closes_s}
    inside |= {run.cause for run in runs if run.again and run.again[-1] >= built.opens_s}
    for cron in found:
        for job in cron.jobs:
            every = job.schedule.every_s if job.schedule is not None else 0
            if not every or not is_sound(job) or (job.size or 0) >= planned:
                continue
            if not any(f"{cron.name}/{job.label} `" in cause for cause in inside):
                built.unjudged.append(
                    f"{label}: {cron.name}/{job.label} `{job.text}` sets {job.size} of {planned} pods at a time nobody "
                    "knows, which may be while the sale is open"
                )


def _pools(fleet: Fleet, built: Built) -> Iterable[Pool]:
    for number, found in enumerate(node_pools(fleet)):
        desired, low, high, scales = _sizes(found)
        node = found.smallest
        if desired is None or node is None:
            missing = "size" if desired is None else "instance type whose name says what it has"
            built.notes.append(
                f"Node pool {found.name} ({found.document.file}) has no {missing}: left out"
            )
            continue
        cpu, memory = sizes.allocatable(node)
        line, _ = found.document.place(found.group)
        yield Pool(
            f"{found.name} {number + 1}" if number else found.name,
            cpu,
            memory,
            max(1, node.pod_addresses - sizes.SYSTEM_PODS_PER_NODE),
            min(desired, 5000),
            low,
            min(high, 5000),
            scales,
            found.spot,
            NODE_BOOT_S,
            cause=f"node pool {found.name} {found.document.file}:{line}",
        )


def _sizes(pool: NodePool) -> tuple[int | None, int, int, bool]:
    """(desired, min, max, whether it scales by itself)."""
    body: Any = pool.document.at(*pool.group)
    scaling: Any = (
        pool.document.at(*pool.group[:-1], "auto_scaling")
        if pool.group[-1:] == ("scaling_group",)
        else None
    )
    if scaling is None and isinstance(body, dict):
        scaling = body.get("scaling_config")
        scaling = scaling[0] if isinstance(scaling, list) and scaling else scaling
    scaling = scaling if isinstance(scaling, dict) else {}
    scales = scaling.get("enable") is True or str(scaling.get("enable")).lower() == "true"
    low = _whole(scaling.get("min_instances", scaling.get("min_size"))) or 0
    high = _whole(scaling.get("max_instances", scaling.get("max_size")))
    desired = _whole(pool.settings.get("desired_size"))
    if desired is None and scales:
        desired = low
    if desired is None:
        return None, 0, 0, False
    return desired, low if scales else desired, (high or desired) if scales else desired, scales


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        return int(value)
    found = whole(value)
    return found if found is not None and 0 <= found < 10**6 else None
