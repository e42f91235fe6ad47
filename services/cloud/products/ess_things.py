"""Finding a scaling group by the id that a call of Auto Scaling sends."""

from saleops.services.cloud.answers import LocalCall
from saleops.services.cloud.refusals import missing
from saleops.services.cloud.world import Thing, World


def group_of(call: LocalCall, world: World) -> Thing:
    id = str(call.params.get("ScalingGroupId") or "")
    group = world.find("scaling_group", id)
    if group is None:
        raise missing("InvalidScalingGroupId.NotFound", "ScalingGroupId", id)
    return group
