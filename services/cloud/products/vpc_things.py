"""Finding the things of the VPC product by id, in the caller's region; each refuses with its product's own code."""

from saleops.services.cloud.answers import LocalCall
from saleops.services.cloud.refusals import missing
from saleops.services.cloud.world import Thing, World


def vpc_of(call: LocalCall, world: World, field: str = "VpcId") -> Thing:
    return _found(call, world, "vpc", field, "InvalidVpcId.NotFound")


def vswitch_of(
    call: LocalCall, world: World, field: str = "VSwitchId", code: str = "InvalidVSwitchId.NotFound"
) -> Thing:
    return _found(call, world, "vswitch", field, code)


def nat_of(call: LocalCall, world: World, field: str = "NatGatewayId") -> Thing:
    return _found(call, world, "nat_gateway", field, "InvalidNatGatewayId.NotFound")


def eip_of(call: LocalCall, world: World, field: str = "AllocationId") -> Thing:
    return _found(call, world, "eip", field, "InvalidAllocationId.NotFound")


def _found(call: LocalCall, world: World, kind: str, field: str, code: str) -> Thing:
    id = str(call.params.get(field) or "")
    thing = world.find(kind, id)
    if thing is None or thing.data["RegionId"] != call.region:
        raise missing(code, field, id)
    return thing
