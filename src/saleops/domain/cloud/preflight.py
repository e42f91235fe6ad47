"""What a sale still needs of its cloud against what the cloud would give it now: a check each, and GO or NO-GO.

Nothing is asked here. A check that could not be made is never ok: GO is said of what was seen, not of what nobody saw. What of
the sale is there already counts as had, so a second look at a finished cloud asks for nothing and stays GO.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, ClassVar, Literal

from saleops.domain.cloud.nodepools import Spot

Kind = Literal["quota", "stock", "price", "addresses", "offer", "permission", "money", "risk"]

PROTECTED_S = 3_600
"""A spot node is safe for its first hour (reference 5)."""
LEAD_S = 1_800
"""Nodes come this long before the doors open: time enough for 2 to 5 minutes a machine, its images and a second try."""
NODES_PER_BATCH = 180
"""Nodes that instant elasticity adds to a pool at a time (reference 7)."""
SERVERS_PER_BALANCER = 1_000
INTERRUPTED_PERCENT = 10.0
"""From here on the service's own advice puts a type into its highest class."""

REVIEWED = "Quota Center: people review an application, so it is no sale-day action"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be there. ``wanted`` is what is still needed beside what the sale has; ``available`` None where the
    service tells no number. One that does not ``decide`` warns. ``problem`` says why it could not be made."""

    name: str
    group: str
    kind: Kind
    asked: str  # the call that told: "vpc DescribeVpcs"
    ok: bool
    checked: bool
    decides: bool
    wanted: float
    available: float | None
    missing: float
    unit: str
    said: str  # in one sentence
    why: str = ""
    todo: str = ""
    problem: str = ""
    retryable: bool = False  # whether it may be told when it is asked again


@dataclass(frozen=True)
class PreflightReport:
    """``calls_count`` are the calls of the checks, the survey's apart. ``accepted`` is why unmade checks do not count."""

    schema: ClassVar[str] = "saleops/provision-preflight/v1"

    sale: str
    cloud: str
    region: str
    verdict: str
    asked_ms: int
    groups: tuple[str, ...]
    checks: tuple[Check, ...]
    calls_count: int
    accepted: str = ""

    @property
    def against(self) -> list[Check]:
        """What makes it a NO-GO."""
        return [one for one in self.checks if speaks_against(one, accepted=self.accepted)]

    @property
    def warnings(self) -> list[Check]:
        return [one for one in self.checks if not one.ok and one not in self.against]


def speaks_against(check: Check, *, accepted: str = "") -> bool:
    return check.decides and not check.ok and (check.checked or not accepted)


def verdict_of(checks: Iterable[Check], *, accepted: str = "") -> str:
    """GO where nothing that decides is short or unseen; ``accepted``, a reason, lets what nobody saw pass."""
    return "NO-GO" if any(speaks_against(one, accepted=accepted) for one in checks) else "GO"


def figure(value: float) -> str:
    """Whole numbers with commas, prices with what they need."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4f}".rstrip("0")


def enough(
    name: str,
    group: str,
    kind: Kind,
    *,
    asked: str,
    wanted: float,
    available: float,
    unit: str = "",
    why: str = "",
    todo: str = "",
    decides: bool = True,
) -> Check:
    """Whether ``available`` holds ``wanted``; less than nothing (a quota that was lowered below its use) is none."""
    free = max(0.0, available)
    missing = max(0.0, wanted - free)
    missing = round(missing, 6)
    said = f"{figure(wanted)} wanted, {figure(free)} free"
    if missing:
        said += f", {figure(missing)} missing"
    return Check(
        name,
        group,
        kind,
        asked,
        not missing,
        True,
        decides,
        wanted,
        free,
        missing,
        unit,
        said,
        why if missing else "",
        todo if missing else "",
    )


def stated(
    name: str,
    group: str,
    kind: Kind,
    *,
    asked: str,
    ok: bool,
    said: str,
    wanted: float = 1,
    missing: float | None = None,
    unit: str = "",
    why: str = "",
    todo: str = "",
    decides: bool = True,
) -> Check:
    """A check of something that is there or not, without a number of how much is left."""
    short = 0.0 if ok else (wanted if missing is None else missing)
    return Check(
        name,
        group,
        kind,
        asked,
        ok,
        True,
        decides,
        wanted,
        None,
        short,
        unit,
        said,
        "" if ok else why,
        "" if ok else todo,
    )


def unseen(check: Check, problem: str, *, retryable: bool = False) -> Check:
    """``check`` as one that could not be made; ``retryable``: for now, because the cloud did not answer."""
    again = "The cloud failed to answer: try again."
    denied = (
        "Let this be read (`saleops provision policy` lists every action), or look it up and pass "
        "--accept-unchecked REASON."
    )
    return replace(
        check,
        ok=False,
        checked=False,
        available=None,
        missing=0.0,
        said=f"{figure(check.wanted)} wanted, nobody knows what is free: {problem}",
        problem=problem,
        todo=again if retryable else denied,
        retryable=retryable,
    )


# -- quotas ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QuotaName:
    """How to find a quota in Quota Center's list of ``product``: of each group of ``words`` one is in its name, and none of
    ``without``. The vendor publishes codes nowhere but in that list."""

    product: str
    words: tuple[tuple[str, ...], ...]
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    code: str
    total: float
    used: float

    @property
    def free(self) -> float:
        return self.total - self.used


def quota_in(rows: Sequence[Mapping[str, Any]], name: QuotaName) -> Quota | None:
    """The quota called so; of several the one with the least left. None where none is."""
    found = []
    for row in rows:
        text = f"{row.get('QuotaName') or ''}".lower()
        if all(any(one in text for one in group) for group in name.words) and not any(
            one in text for one in name.without
        ):
            total = row.get("TotalQuota")
            if isinstance(total, int | float) and not isinstance(total, bool):
                used = row.get("TotalUsage")
                counted = float(used) if isinstance(used, int | float) else 0.0
                found.append(Quota(str(row.get("QuotaActionCode") or ""), float(total), counted))
    return min(found, key=lambda one: one.free, default=None)


# -- nodes -------------------------------------------------------------------------------------------------------------


def bought_as(nodes: int, spot: Spot) -> tuple[int, int]:
    """(on demand, spot) of a pool of ``nodes``, as the service splits them: rounded towards on demand."""
    if spot.share <= 0:
        return nodes, 0
    base = min(spot.on_demand_base, nodes)
    above = nodes - base
    on_demand = base + ceil(above * spot.on_demand_percentage(nodes) / 100)
    return on_demand, nodes - on_demand


def still_to_buy(wanted: int, had: int, spot: Spot) -> tuple[int, int]:
    """(on demand, spot) nodes that are not there yet."""
    if had >= wanted:
        return 0, 0
    more = wanted - had
    on_spot = min(more, max(0, bought_as(wanted, spot)[1] - bought_as(had, spot)[1]))
    return more - on_spot, on_spot


def addresses_wanted(need: int, *, in_use: int, ours: int) -> int:
    """Addresses of a vSwitch that have to be free: those in use by what is planned there anyway are had already."""
    return max(0, need - min(max(0, in_use), max(0, ours)))


# -- risks -------------------------------------------------------------------------------------------------------------


def protection(spot_nodes: int, *, opens_ms: int, closes_ms: int, lead_s: int = LEAD_S) -> Check:
    """Whether spot nodes that come ``lead_s`` before the doors are protected to the end."""
    needed_s = (closes_ms - opens_ms) // 1000 + lead_s
    short_s = max(0, needed_s - PROTECTED_S) if spot_nodes else 0
    said = f"{spot_nodes:,} spot nodes, protected for {PROTECTED_S // 60} of the {needed_s // 60} minutes they are needed"
    return stated(
        "protection of spot nodes",
        "nodepool",
        "risk",
        asked="",
        ok=not short_s,
        said=said if spot_nodes else "no spot nodes",
        wanted=needed_s if spot_nodes else 0,
        missing=short_s,
        unit="s",
        why="after its first hour a spot node can be taken back on 5 minutes' notice, in the middle of the sale",
        todo="Raise nodes.on_demand_base or nodes.core_share in the profile, or have nodes come later.",
        decides=False,
    )


def peak_is_bought(to_buy: int, nodes: int) -> Check:
    """Whether the peak's nodes are there: the plan reserves none, so what is not bought is a hope."""
    return stated(
        "the peak's nodes",
        "nodepool",
        "risk",
        asked="",
        ok=to_buy == 0,
        said=f"{nodes:,} planned, {nodes - to_buy:,} bought, none reserved"
        if to_buy
        else f"all {nodes:,} are bought",
        wanted=nodes,
        missing=to_buy,
        unit="nodes",
        why="stock that is there now may be gone when everybody's sale begins",
        todo="Provision the node pools well before the sale, or reserve capacity (CreateCapacityReservation).",
        decides=False,
    )
