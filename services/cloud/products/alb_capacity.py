"""ALB: reserving capacity units (LCU) ahead of a peak.

Off until Quota Center grants it (``settings["quotas"]["alb.reserved_lcu"]``); for the standard editions, with one running
listener at least. A reservation is Pending in each zone and then Provisioned; only a few decreases a day are possible.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota
from saleops.services.cloud.products.alb_things import load_balancer_of
from saleops.services.cloud.refusals import needed, short, stop_dry_run, wrong
from saleops.services.cloud.timestamps import spaced
from saleops.services.cloud.world import Thing, World

PROVISION_S = 120.0
DECREASES_A_DAY = 2
DAY_MS = 86_400_000


@answers("alb", "ModifyCapacityReservation")
def modify_capacity_reservation(call: LocalCall, world: World) -> dict[str, Any]:
    balancer = load_balancer_of(call, world)
    reset = bool(call.params.get("ResetCapacityReservation"))
    units = (call.params.get("MinimumLoadBalancerCapacity") or {}).get("CapacityUnits")
    field = "MinimumLoadBalancerCapacity.CapacityUnits"
    if not reset and units is None:
        raise needed(field, "or ResetCapacityReservation")
    units = 0 if reset else int(units or 0)
    if not reset and units < 1:
        raise wrong("InvalidParameter", field, units, "1 or more")
    limit = quota(world, "alb.reserved_lcu")
    if not reset and limit == 0:
        raise ApiError(
            403,
            "OperationDenied.CapacityReservation",
            f"The account may not reserve capacity ({field} {units!r}): apply for it in Quota Center.",
        )
    if units > limit and not reset:
        raise short(
            "reserved LCU", limit, code="QuotaExceeded.CapacityUnits", field=field, value=units
        )
    _check_able(world, balancer)
    now = _units(balancer)
    if reset and now == 0:
        raise wrong(
            "OperationDenied.NoCapacityReservation",
            "ResetCapacityReservation",
            True,
            f"{balancer.id} has no reservation",
        )
    decreases = _decreases(world, balancer)
    if units < now:
        if len(decreases) >= DECREASES_A_DAY:
            raise short(
                "decreases a day",
                DECREASES_A_DAY,
                code="QuotaExceeded.DecreaseRequests",
                field=field,
                value=units,
            )
        decreases.append(world.now_ms())
    stop_dry_run(call)
    world.update(
        balancer,
        CapacityUnits=units,
        CapacityChangedMs=world.now_ms(),
        CapacityBefore=now,
        CapacityDecreasesMs=decreases,
    )
    return {}


@answers("alb", "DescribeCapacityReservation")
def describe_capacity_reservation(call: LocalCall, world: World) -> dict[str, Any]:
    balancer = load_balancer_of(call, world)
    units = _units(balancer)
    changed_ms = balancer.data.get("CapacityChangedMs")
    provisioned = changed_ms is not None and world.now_ms() >= changed_ms + PROVISION_S * 1000
    zones = [mapping["ZoneId"] for mapping in balancer.data["ZoneMappings"]]
    effective = units if provisioned else min(units, balancer.data.get("CapacityBefore", 0))
    answer: dict[str, Any] = {
        "MinimumLoadBalancerCapacity": {"CapacityUnits": units},
        "DecreaseRequestsRemaining": DECREASES_A_DAY - len(_decreases(world, balancer)),
        "CapacityReservationState": [
            {
                "AvailabilityZone": zone,
                "EffectiveCapacityUnits": round(effective / len(zones), 2),
                "Status": "Provisioned" if provisioned else "Pending",
            }
            for zone in zones
            if units
        ],
    }
    return answer | ({"LastModifiedTime": spaced(changed_ms)} if changed_ms is not None else {})


def _check_able(world: World, balancer: Thing) -> None:
    edition = balancer.data["LoadBalancerEdition"]
    if edition == "Basic":
        raise wrong(
            "OperationDenied.LoadBalancerEdition",
            "LoadBalancerId",
            balancer.id,
            "a Basic edition reserves no capacity",
        )
    if world.state(balancer) != "Active":
        raise ApiError(
            409,
            "IncorrectStatus.LoadBalancer",
            f"The load balancer {balancer.id!r} is {world.state(balancer)}; this works when it is Active.",
        )
    listeners = world.each("listener", LoadBalancerId=balancer.id)
    if not any(world.state(listener) == "Running" for listener in listeners):
        raise wrong(
            "OperationDenied.NoRunningListener",
            "LoadBalancerId",
            balancer.id,
            "it has no running listener",
        )


def _units(balancer: Thing) -> int:
    return int(balancer.data.get("CapacityUnits", 0))


def _decreases(world: World, balancer: Thing) -> list[int]:
    day = world.now_ms() // DAY_MS
    return [
        at_ms for at_ms in balancer.data.get("CapacityDecreasesMs", []) if at_ms // DAY_MS == day
    ]
