"""CronHPAs, HPAs and what they scale, read from documents that may hold anything anywhere."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from saleops.domain.cronhpa import CONTROLLER_ZONE, CronSchedule, parse_schedule
from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet

ZONE_ANNOTATION = "saleops.dev/controller-zone"
"""Says in which zone a CronHPA's schedules were written: the object has no field of its own for it."""

CONTROLLER_NAME = re.compile(r"cronhpa-controller|cron-hpa-controller")


@dataclass(frozen=True, slots=True)
class Ref:
    """What is scaled: kind and name in a namespace."""

    kind: str
    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class CronJob:
    """One job of a CronHPA. ``schedule`` is None where the controller cannot parse ``text``; ``error`` says why."""

    document: LintDocument
    index: int
    name: str
    text: str
    size: int | None
    run_once: bool
    schedule: CronSchedule | None
    error: str

    @property
    def path(self) -> KeyPath:
        return ("spec", "jobs", self.index)

    @property
    def label(self) -> str:
        return self.name or f"jobs[{self.index}]"

    @property
    def runs_once(self) -> bool:
        return self.run_once or "@date " in self.text


@dataclass(frozen=True, slots=True)
class Cron:
    """A CronHorizontalPodAutoscaler. ``target`` is what it names, ``workload`` what is scaled in the end (through the HPA)."""

    document: LintDocument
    target: Ref
    workload: Ref
    jobs: tuple[CronJob, ...]

    @property
    def name(self) -> str:
        return self.document.name or self.document.file


def text_at(document: LintDocument, *path: str | int) -> str:
    found = document.at(*path)
    return found if isinstance(found, str) else ""


def whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def crons(fleet: Fleet) -> tuple[Cron, ...]:
    """Every CronHPA of the fleet, read once for all rules."""
    found = fleet.worked_out.get("crons")
    if found is None:
        found = fleet.worked_out["crons"] = tuple(_crons(fleet))
    return cast(tuple[Cron, ...], found)


def named(fleet: Fleet, kind: str, name: str, namespace: str) -> LintDocument | None:
    """The first object of that name: what ``fleet.find`` gives, from an index."""
    index = fleet.worked_out.get(f"named {kind}")
    if index is None:
        index = fleet.worked_out[f"named {kind}"] = {}
        for one in fleet.of_kind(kind):
            index.setdefault((one.name, one.namespace), one)
    return cast(LintDocument | None, index.get((name, namespace)))


def _crons(fleet: Fleet) -> Iterator[Cron]:
    for document in fleet.of_kind("CronHorizontalPodAutoscaler"):
        target = Ref(
            text_at(document, "spec", "scaleTargetRef", "kind"),
            text_at(document, "spec", "scaleTargetRef", "name"),
            document.namespace,
        )
        listed = document.at("spec", "jobs")
        jobs = tuple(
            _job(document, index)
            for index, one in enumerate(listed if isinstance(listed, list) else ())
            if isinstance(one, dict)
        )
        yield Cron(document, target, scaled_by(fleet, target), jobs)


def _job(document: LintDocument, index: int) -> CronJob:
    path = ("spec", "jobs", index)
    text = text_at(document, *path, "schedule")
    schedule, error = None, ""
    try:
        schedule = parse_schedule(text)
    except ValueError as reason:
        error = str(reason)
    return CronJob(
        document,
        index,
        text_at(document, *path, "name"),
        text,
        whole(document.at(*path, "targetSize")),
        document.at(*path, "runOnce") is True,
        schedule,
        error,
    )


def scaled_by(fleet: Fleet, target: Ref) -> Ref:
    """The workload behind ``target``: the HPA's own target where it is an HPA of the fleet."""
    if target.kind != "HorizontalPodAutoscaler":
        return target
    hpa = named(fleet, "HorizontalPodAutoscaler", target.name, target.namespace)
    if hpa is None:
        return target
    return hpa_target(hpa)


def hpa_target(hpa: LintDocument) -> Ref:
    return Ref(
        text_at(hpa, "spec", "scaleTargetRef", "kind"),
        text_at(hpa, "spec", "scaleTargetRef", "name"),
        hpa.namespace,
    )


def hpa_bounds(hpa: LintDocument) -> tuple[int, int | None]:
    """(min, max) replicas; Kubernetes takes a min of 1 where none is written."""
    low = whole(hpa.at("spec", "minReplicas"))
    return (1 if low is None else low), whole(hpa.at("spec", "maxReplicas"))


def hpa_of(fleet: Fleet, workload: Ref) -> LintDocument | None:
    """The HPA that scales ``workload``."""
    if not workload.name:
        return None
    index = fleet.worked_out.get("hpas by target")
    if index is None:
        index = fleet.worked_out["hpas by target"] = {}
        for hpa in fleet.of_kind("HorizontalPodAutoscaler"):
            index.setdefault(hpa_target(hpa), []).append(hpa)
    found = cast(list[LintDocument], index.get(workload, []))
    if len(found) < 2:
        return found[0] if found else None
    # Written twice, as for the sale and for the days after it: the one beside the workload is meant.
    owner = named(fleet, workload.kind, workload.name, workload.namespace)
    return next((one for one in found if owner is not None and one.file == owner.file), found[0])


def known_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def controller_zone(fleet: Fleet) -> tuple[str, str]:
    """(zone, where that is from): TZ of the controller's own Deployment, what the sale says, or the default."""
    found = fleet.worked_out.get("controller zone")
    if found is None:
        found = fleet.worked_out["controller zone"] = _controller_zone(fleet)
    return cast(tuple[str, str], found)


def _controller_zone(fleet: Fleet) -> tuple[str, str]:
    for workload in fleet.of_kind("Deployment"):
        if CONTROLLER_NAME.search(workload.name):
            for zone in _env_zones(workload):
                if known_zone(zone) is not None:
                    return zone, f"TZ of {workload.name} ({workload.file})"
    if fleet.sale is not None and known_zone(fleet.sale.zone) is not None:
        return fleet.sale.zone, "the sale's profile"
    return CONTROLLER_ZONE, "the controller's default manifest"


def _env_zones(workload: LintDocument) -> Iterator[str]:
    containers = workload.at("spec", "template", "spec", "containers")
    for container in containers if isinstance(containers, list) else ():
        env = container.get("env") if isinstance(container, dict) else None
        for one in env if isinstance(env, list) else ():
            if (
                isinstance(one, dict)
                and one.get("name") == "TZ"
                and isinstance(one.get("value"), str)
            ):
                yield one["value"]


def stated_zone(document: LintDocument) -> str:
    annotations = document.at("metadata", "annotations")
    found = annotations.get(ZONE_ANNOTATION) if isinstance(annotations, dict) else None
    return found if isinstance(found, str) else ""


def shown(moment: datetime, zone: str) -> str:
    """``2026-11-27 00:02:00 +08:00``."""
    local = moment.astimezone(ZoneInfo(zone))
    offset = local.strftime("%z")
    return f"{local:%Y-%m-%d %H:%M:%S} {offset[:3]}:{offset[3:5]}"


def span_text(seconds: float) -> str:
    """``21 min 30 s``, ``2 h``, ``45 s``."""
    whole_s = round(seconds)
    hours, rest = divmod(whole_s, 3600)
    minutes, left = divmod(rest, 60)
    parts = (
        [f"{hours} h"] * bool(hours)
        + [f"{minutes} min"] * bool(minutes)
        + [f"{left} s"] * bool(left)
    )
    return " ".join(parts) or "0 s"


def since_opening(moment: datetime, opens: datetime) -> str:
    """``two minutes into the sale`` in figures: "2 min into the sale", "30 min before the sale"."""
    gap = (moment - opens) / timedelta(seconds=1)
    if not round(gap):
        return "at the opening"
    return f"{span_text(abs(gap))} {'into' if gap > 0 else 'before'} the sale"
