"""What a product asks about things that another product made: a network, a zone."""

from saleops.services.cloud.answers import ApiError
from saleops.services.cloud.world import Thing, World

VPC, VSWITCH = "vpc", "vswitch"


def network_of(
    world: World,
    *,
    vpc_id: str,
    vswitch_id: str,
    vpc_name: str = "VpcId",
    vswitch_name: str = "VSwitchId",
    vpc_code: str = "InvalidVpcId.NotFound",
    vswitch_code: str = "InvalidVSwitchId.NotFound",
) -> Thing:
    """The vSwitch, which must be there and lie in the VPC; ``*_name`` are the caller's fields and ``*_code`` its refusals."""
    if world.find(VPC, vpc_id) is None:
        raise ApiError(404, vpc_code, f"{vpc_name} does not exist: {vpc_id!r}")
    vswitch = world.find(VSWITCH, vswitch_id)
    if vswitch is None:
        raise ApiError(404, vswitch_code, f"{vswitch_name} does not exist: {vswitch_id!r}")
    if vswitch.data.get("VpcId") != vpc_id:
        raise ApiError(
            400, vswitch_code, f"{vswitch_name} {vswitch_id!r} is not in {vpc_name} {vpc_id!r}"
        )
    return vswitch


def zone_of(vswitch: Thing) -> str:
    return str(vswitch.data["ZoneId"])
