"""CRN005 to CRN008, CRN010 and CRN011: what a CronHPA scales, who else does, and when."""

from collections.abc import Iterator
from datetime import timedelta

from saleops.domain.lint.cron_objects import (
    Cron,
    Ref,
    controller_zone,
    crons,
    hpa_bounds,
    hpa_of,
    named,
    shown,
    since_opening,
    span_text,
)
from saleops.domain.lint.cron_replay import (
    Fire,
    by_workload,
    every_text,
    planned_pods,
    replay,
    service_of,
)
from saleops.domain.lint.findings import Edit
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.scalars import replaced
from saleops.domain.timeline.pod_times import NODE_BOOT_S, pod_times

CONTROLLER = "kubernetes-cronhpa-controller, how it scales an HPA"
LEAD_S = 1800
"""A scale-up is planned twice its own time ahead, and no less than half an hour."""

_TARGET = ("spec", "scaleTargetRef")


@rule(
    "CRN005",
    "error",
    "CronHPA and HPA scale the same workload",
    why="The CronHPA sets the replicas, and within 15 seconds the HPA sets them back to what it computes: before a sale there is "
    "no load, so the pods are gone when the doors open.",
    fix="Let the CronHPA scale the HPA: scaleTargetRef {apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, name: ...}.",
    source="kubernetes-cronhpa-controller, its README on HPA; Alibaba Cloud's documentation of CronHPA with HPA",
    bad="scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order}  # and an HPA on it",
    good="scaleTargetRef: {apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, name: order}",
)
def one_scaler(fleet: Fleet) -> Iterator[Hit]:
    for cron in crons(fleet):
        if cron.target.kind == "HorizontalPodAutoscaler":
            continue
        hpa = hpa_of(fleet, cron.target)
        if hpa is None:
            continue
        low, high = hpa_bounds(hpa)
        most = max((job.size for job in cron.jobs if job.size is not None), default=None)
        yield Hit(
            cron.document,
            _TARGET,
            f"{cron.name} scales {cron.target}, and so does the HPA {hpa.name} ({hpa.file}): they undo each other",
            why=f"The HPA holds {cron.target.name} between {low} and {high if high is not None else 'its max'}: of the "
            f"{most if most is not None else 'wanted'} pods that are ordered before the sale it takes away, 300 s after "
            f"the load no longer asks for them, all but {low}.",
            fix=f"Name the HPA: apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, name: {hpa.name}.",
            edits=_to_hpa(cron, hpa.name),
        )


def _to_hpa(cron: Cron, name: str) -> tuple[Edit, ...]:
    """All three fields, or none: half of a reference is worse than a wrong one."""
    edits: list[Edit] = []
    for key, text in (
        ("apiVersion", "autoscaling/v1"),
        ("kind", "HorizontalPodAutoscaler"),
        ("name", name),
    ):
        found = replaced(cron.document, (*_TARGET, key), text)
        if not found:
            return ()
        edits.extend(found)
    return tuple(edits)


@rule(
    "CRN006",
    "warning",
    "A CronHPA leaves its HPA's bounds changed for good",
    why="A target above the HPA's max raises max, and nothing lowers it again; a scale-up raises min, and only a later job with "
    "a smaller target lowers it: until then the sale's pods stay, and are paid.",
    fix="Set the HPA's max to the sale's size beforehand, and add a job after the sale with the everyday size.",
    source=CONTROLLER,
    bad="targetSize: 100  # HPA maxReplicas: 50, no job after it",
    good="two jobs: targetSize 100 before, 10 after; HPA maxReplicas: 100",
)
def bounds_come_back(fleet: Fleet) -> Iterator[Hit]:
    for crons_here in by_workload(fleet).values():
        for cron in crons_here:
            if cron.target.kind != "HorizontalPodAutoscaler":
                continue
            hpa = named(fleet, "HorizontalPodAutoscaler", cron.target.name, cron.target.namespace)
            if hpa is None:
                continue
            low, high = hpa_bounds(hpa)
            sizes = [one.size for it in crons_here for one in it.jobs if one.size is not None]
            for job in cron.jobs:
                if job.size is None:
                    continue
                path = (*job.path, "targetSize")
                if high is not None and job.size > high:
                    yield Hit(
                        cron.document,
                        path,
                        f"{cron.name}: {job.label} wants {job.size} pods, the HPA {hpa.name} has max {high}: max becomes "
                        f"{job.size} for good",
                        why=f"After the sale the HPA may go on up to {job.size} pods, {job.size - high} more than "
                        f"{hpa.file} says, and nothing takes that back.",
                        fix=f"Set maxReplicas of {hpa.name} to {job.size} or more.",
                    )
                elif job.size > low and not any(size <= low for size in sizes):
                    yield Hit(
                        cron.document,
                        path,
                        f"{cron.name}: {job.label} raises min of the HPA {hpa.name} from {low} to {job.size}, and no job "
                        "lowers it again",
                        why=f"{cron.workload.name} keeps at least {job.size} pods after the sale, {job.size - low} more than "
                        "it needs.",
                        fix=f"Add a job after the sale with targetSize: {low}.",
                    )


@rule(
    "CRN008",
    "error",
    "scaleTargetRef.apiVersion without a slash",
    why="The controller takes what stands after the slash without looking: without one it panics, and no job of any CronHPA of "
    "the cluster runs while it restarts and panics again.",
    fix="Write group and version: apps/v1 for a Deployment, autoscaling/v1 for an HPA.",
    source="kubernetes-cronhpa-controller, its job factory",
    bad="apiVersion: v1",
    good="apiVersion: apps/v1",
)
def group_and_version(fleet: Fleet) -> Iterator[Hit]:
    right = {
        "Deployment": "apps/v1",
        "StatefulSet": "apps/v1",
        "ReplicaSet": "apps/v1",
        "HorizontalPodAutoscaler": "autoscaling/v1",
    }
    for cron in crons(fleet):
        written = cron.document.at(*_TARGET, "apiVersion")
        if isinstance(written, str) and "/" in written:
            continue
        said = f"is {written!r}" if written is not None else "is missing"
        meant = right.get(cron.target.kind)
        path = (*_TARGET, "apiVersion")
        yield Hit(
            cron.document,
            path,
            f"{cron.name}: scaleTargetRef.apiVersion {said}, without a group: the controller panics on it",
            fix=f"Write {meant}." if meant else "",
            edits=replaced(cron.document, path, meant) if meant and written is not None else (),
        )


@rule(
    "CRN010",
    "error",
    "The scale-up comes too late",
    why="Nodes boot, images are pulled, processes start, the load balancer checks and warms: until then the sale runs on the "
    "pods of an ordinary evening. Plan twice the computed time, and half an hour at least.",
    fix="Fire the scale-up earlier.",
    source="Alibaba Cloud's published node timings; kubernetes.io docs, probes; ALB Ingress docs, health checks",
    bad='schedule: "@date 2026-11-26 23:58:00"  # opens at 00:00:00',
    good='schedule: "@date 2026-11-26 23:25:00"',
)
def early_enough(fleet: Fleet) -> Iterator[Hit]:
    sale = fleet.sale
    if sale is None:
        return
    zone, _ = controller_zone(fleet)
    start = sale.opens - timedelta(hours=6)
    for workload, fires in replay(fleet, start, sale.opens + timedelta(seconds=1)).items():
        up = _last_up(fires)
        if up is None:
            continue
        document = named(fleet, workload.kind, workload.name, workload.namespace)
        times = pod_times(fleet, document)
        needed = times.lead_s()
        wanted = max(2 * needed, LEAD_S)
        lead = round((sale.opens - up.moment).total_seconds())
        if lead >= wanted:
            continue
        yield Hit(
            up.cron.document,
            (*up.job.path, "schedule"),
            f"{up.cron.name}: {up.job.label} goes up to {up.after} pods at {shown(up.moment, zone)}, only {span_text(lead)} "
            f"before the sale; {span_text(wanted)} are wanted",
            why=f"{workload.name}: nodes {NODE_BOOT_S} s + image {times.pull_s} s + start {times.schedule_s + times.start_s} s + "
            f"readiness {times.ready_s} s + load balancer {times.register_s} s + slow start {times.slow_start_s} s = "
            f"{needed} s; twice that, and 30 min at least, is {span_text(wanted)}."
            + (
                f" At the opening {up.after} pods are ordered and {up.before if up.before is not None else 0} serve."
                if lead < needed
                else ""
            ),
            fix=f"Fire it at {shown(sale.opens - timedelta(seconds=wanted), zone)} or before.",
        )


def _last_up(fires: list[Fire]) -> Fire | None:
    """The scale-up that the opening lives from: the last change upwards that nothing takes back before."""
    for fire in reversed(fires):
        if fire.before is None or fire.after > fire.before:
            return fire
        if fire.after < fire.before:
            return None
    return None


@rule(
    "CRN011",
    "error",
    "A scale-down inside the sale",
    why="The pods go while buyers are there.",
    fix="Let the scale-down fire after the sale has closed, best behind a check that queues are empty.",
    source="the schedule, evaluated as kubernetes-cronhpa-controller does, in its zone",
    bad='schedule: "0 2 * * *"  # every hour at 02:00 past',
    good='schedule: "@date 2026-11-27 03:00:00"',
)
def down_inside(fleet: Fleet) -> Iterator[Hit]:
    sale = fleet.sale
    if sale is None:
        return
    zone, _ = controller_zone(fleet)
    for workload, fires in replay(fleet, sale.opens - timedelta(hours=2), sale.closes).items():
        wanted = planned_pods(fleet, workload)
        downs: dict[tuple[str, int], list[Fire]] = {}
        held: dict[tuple[str, int], list[Fire]] = {}
        most = _most(fleet, workload) if wanted is None else wanted
        for fire in fires:
            if fire.moment < sale.opens:
                continue
            key = (f"{fire.cron.document.file} {fire.cron.document.first_line}", fire.job.index)
            below_plan = fire.before is None and wanted is not None and fire.after < wanted
            if fire.is_down or below_plan:
                downs.setdefault(key, []).append(fire)
            elif fire.before == fire.after < most:
                held.setdefault(key, []).append(fire)
        # A standing order takes nothing away where nothing else was ordered: it keeps the sale small all the same.
        downs = {**{key: one for key, one in held.items() if key not in downs}, **downs}
        for found in downs.values():
            fire = found[0]
            back = next(
                (one for one in fires if one.moment > fire.moment and one.after > fire.after), None
            )
            until = (
                f"until {back.job.label} at {shown(back.moment, zone)}, "
                f"{span_text((back.moment - fire.moment).total_seconds())} later"
                if back is not None
                else "and no job takes it back while the sale is open"
            )
            before = (
                f"takes {workload.name} from {fire.before} to {fire.after}"
                if fire.is_down
                else f"takes {workload.name} to {fire.after}"
                if fire.before is None
                else f"holds {workload.name} at {fire.after}"
            )
            yield Hit(
                fire.cron.document,
                (*fire.job.path, "schedule"),
                f"{fire.cron.name}: {fire.job.label} {before} pods at {shown(fire.moment, zone)}, "
                f"{since_opening(fire.moment, sale.opens)}",
                why=f"{_loss(fleet, fire, workload.name)} {until[0].upper()}{until[1:]}."
                + (
                    f" It happens {len(found)} times while the sale is open."
                    if len(found) > 1
                    else ""
                ),
                fix=f"The sale closes at {shown(sale.closes, zone)}: fire it after that"
                + (
                    f"; as it stands it {every_text(fire.job.schedule)}."
                    if fire.job.schedule
                    else "."
                ),
            )


def _most(fleet: Fleet, workload: Ref) -> int:
    """The most that a job of ``workload`` asks for."""
    sizes = [job.size for cron in by_workload(fleet).get(workload, []) for job in cron.jobs]
    return max((one for one in sizes if one is not None), default=0)


def _loss(fleet: Fleet, fire: Fire, workload: str) -> str:
    sale = fleet.sale
    name = service_of(workload, sale.pods) if sale is not None else None
    if sale is None or name is None:
        return f"{workload} has {fire.after} pods then."
    wanted, each = sale.pods[name], sale.rps_per_pod.get(name, 0.0)
    text = f"{workload} has {fire.after} of the {wanted} pods the sale is planned with"
    return (
        f"{text}, {fire.after * each:,.0f} requests a second of {wanted * each:,.0f}."
        if each
        else f"{text}."
    )
