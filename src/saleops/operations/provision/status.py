"""How a sale's cloud is now: each resource's state, every field that is not as wanted, what is missing or left over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Literal

from saleops.domain.cloud.journal import Acceptance, History
from saleops.domain.cloud.resources import Condition, Resource
from saleops.operations.provision.drift import Drift, changeable, drifts_of
from saleops.operations.provision.leftovers import Leftover
from saleops.operations.provision.survey import Survey
from saleops.ports.cloud_journal import CloudJournal

Standing = Literal["ok", "accepted", "drifted", "missing", "under way", "failed", "foreign"]


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource. ``standing`` is our verdict, ``state`` the API's own word."""

    key: str
    group: str
    kind: str
    name: str
    standing: Standing
    state: str
    id: str
    problem: str
    drift: tuple[Drift, ...]
    stays: tuple[str, ...] = ()  # drifted fields that no call brings back


@dataclass(frozen=True, slots=True)
class LeftoverStatus:
    """A thing that carries the sale's tag and that its blueprint does not name."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ProvisionStatus:
    """What the cloud shows of a sale. ``in_order`` is false when anything drifted, is missing, failed, or is left over."""

    schema: ClassVar[str] = "saleops/provision-status/v1"

    sale: str
    cloud: str
    region: str
    in_order: bool
    resources: tuple[ResourceStatus, ...]
    leftovers: tuple[LeftoverStatus, ...]

    def of(self, *standings: Standing) -> list[ResourceStatus]:
        return [one for one in self.resources if one.standing in standings]


def provision_status(
    resources: Sequence[Resource],
    seen: Survey,
    leftovers: Sequence[Leftover],
    history: History,
    *,
    sale: str,
    cloud: str,
    region: str,
) -> ProvisionStatus:
    """Judge what was ``seen`` of ``resources``. Pure."""
    rows = tuple(_status(one, seen, history) for one in resources)
    left = tuple(LeftoverStatus(one.kind, one.id, one.name) for one in leftovers)
    in_order = not left and all(row.standing in ("ok", "accepted") for row in rows)
    return ProvisionStatus(sale, cloud, region, in_order, rows, left)


def _status(resource: Resource, seen: Survey, history: History) -> ResourceStatus:
    found = seen.found[resource.key]
    standing: Standing = "ok"
    drift: tuple[Drift, ...] = ()
    stays: tuple[str, ...] = ()
    problem = ""
    if found is None:
        standing = "missing"
    elif found.condition is Condition.FOREIGN:
        standing, problem = "foreign", found.problem or "does not carry this sale's tag"
    elif found.condition is Condition.FAILED:
        standing, problem = "failed", found.problem
    elif found.condition in (Condition.PENDING, Condition.LEAVING):
        standing = "under way"
    else:
        drift = drifts_of(resource, found, seen.promised, history)
        if drift:
            standing = "accepted" if all(one.accepted for one in drift) else "drifted"
            open_fields = [one.field for one in drift if not one.accepted]
            stays = tuple(changeable(resource, found, seen.promised, open_fields)[1])
    return ResourceStatus(
        resource.key,
        resource.group,
        resource.kind,
        resource.name,
        standing,
        found.state if found else "",
        found.outputs.get("id", "") if found else "",
        problem,
        drift,
        stays,
    )


def accept_drift(
    status: ProvisionStatus,
    journal: CloudJournal,
    *,
    who: str,
    identity: str,
    reason: str,
    at: datetime,
) -> int:
    """Write down that every drifted field of ``status`` may stay as it is. Returns how many those were."""
    count = 0
    for row in status.resources:
        for one in row.drift:
            if one.accepted:
                continue
            stamp = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            journal.accept(
                Acceptance(row.key, one.field, one.wanted, one.seen, who, identity, reason, stamp)
            )
            count += 1
    return count
