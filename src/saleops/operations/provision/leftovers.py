"""Things in the cloud that carry a sale's tag and that its blueprint does not name (any more).

A sale that lost a zone leaves that zone's vSwitches behind; a name that was changed leaves the old things. They are found in
the same lists that the resources look into, and taken only when their own row shows our tag.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.ours import tags_of, text, twins_of
from saleops.domain.cloud.paging import CLUSTERS, NUMBERED, QUEUES, Paging, every_page
from saleops.domain.cloud.resources import SALE_TAG, Condition, Found
from saleops.errors import CloudError
from saleops.operations.provision.survey import Read, Survey


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the things of one list are found and removed. ``last``: other things stand on it."""

    kind: str
    listing: Callable[[str, str], Call]  # region, sale -> the list call
    items: str
    id: str
    state: str
    remove: Callable[[str, str], tuple[Call, ...]]  # region, id
    paging: Paging = NUMBERED
    holds_data: bool = False
    last: bool = False


def _tag(sale: str) -> list[dict[str, str]]:
    return [{"Key": SALE_TAG, "Value": sale}]


def _listed(product: str, api: str, **more: Any) -> Callable[[str, str], Call]:
    return lambda region, sale: Call(product, api, {"RegionId": region, "Tag": _tag(sale), **more})


def _removed(
    product: str, api: str, field: str, **more: Any
) -> Callable[[str, str], tuple[Call, ...]]:
    return lambda region, id: (Call(product, api, {"RegionId": region, field: id, **more}),)


# In the order that they must go: what others stand on comes last.
KINDS: tuple[_Kind, ...] = (
    _Kind(
        "ACK cluster",
        lambda region, sale: Call("cs", "DescribeClustersV1", {"region_id": region}),
        "clusters",
        "cluster_id",
        "state",
        lambda region, id: (Call("cs", "DeleteCluster", path={"ClusterId": id}),),
        paging=CLUSTERS,
    ),
    _Kind(
        "PolarDB cluster",
        _listed("polardb", "DescribeDBClusters"),
        "Items.DBCluster",
        "DBClusterId",
        "DBClusterStatus",
        lambda region, id: (Call("polardb", "DeleteDBCluster", {"DBClusterId": id}),),
        holds_data=True,
        paging=NUMBERED.within(100),
    ),
    _Kind(
        "Tair instance",
        _listed("r-kvstore", "DescribeInstances"),
        "Instances.KVStoreInstance",
        "InstanceId",
        "InstanceStatus",
        lambda region, id: (Call("r-kvstore", "DeleteInstance", {"InstanceId": id}),),
        holds_data=True,
    ),
    _Kind(
        "RocketMQ instance",
        lambda region, sale: Call("rocketmq", "ListInstances"),
        "data.list",
        "instanceId",
        "status",
        lambda region, id: (Call("rocketmq", "DeleteInstance", path={"instanceId": id}),),
        paging=QUEUES,
        holds_data=True,
    ),
    _Kind(
        "NAT gateway",
        _listed("vpc", "DescribeNatGateways"),
        "NatGateways.NatGateway",
        "NatGatewayId",
        "Status",
        _removed("vpc", "DeleteNatGateway", "NatGatewayId", Force=True),
        last=True,
    ),
    _Kind(
        "EIP",
        _listed("vpc", "DescribeEipAddresses"),
        "EipAddresses.EipAddress",
        "AllocationId",
        "Status",
        _removed("vpc", "ReleaseEipAddress", "AllocationId"),
        last=True,
    ),
    _Kind(
        "security group",
        _listed("ecs", "DescribeSecurityGroups"),
        "SecurityGroups.SecurityGroup",
        "SecurityGroupId",
        "",
        _removed("ecs", "DeleteSecurityGroup", "SecurityGroupId"),
        last=True,
    ),
    _Kind(
        "vSwitch",
        _listed("vpc", "DescribeVSwitches"),
        "VSwitches.VSwitch",
        "VSwitchId",
        "Status",
        _removed("vpc", "DeleteVSwitch", "VSwitchId"),
        last=True,
    ),
    _Kind(
        "VPC",
        _listed("vpc", "DescribeVpcs"),
        "Vpcs.Vpc",
        "VpcId",
        "Status",
        _removed("vpc", "DeleteVpc", "VpcId"),
        last=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A tagged thing that the blueprint does not name. ``last``: other things may stand on it."""

    key: str
    kind: str
    id: str
    name: str
    sale: str
    region: str
    holds_data: bool
    last: bool
    calls: tuple[Call, ...]
    rows: Callable[[Read], list[Mapping[str, Any]]]
    id_field: str
    state_field: str

    def look(self, read: Read) -> Found | None:
        """As ``Resource.look``, once more before it goes and until it is gone."""
        for row in self.rows(read):
            if text(row.get(self.id_field)) == self.id and not _is_gone(row, self.state_field):
                ours = tags_of(row).get(SALE_TAG) == self.sale
                state = text(row.get(self.state_field)) if self.state_field else "there"
                leaving = state.lower() in _LEAVING
                condition = Condition.LEAVING if leaving else Condition.READY
                return Found(condition if ours else Condition.FOREIGN, state, {"id": self.id})
        return None


_GONE = {"released", "deleted"}
"""States in which a list still shows what is not there any more."""
_LEAVING = {"deleting", "releasing", "unassociating", "delete_pending"}


def find_leftovers(read: Read, *, sale: str, region: str, seen: Survey) -> list[Leftover]:
    """What carries the tag of ``sale`` in ``region`` and was not ``seen``, in the order that it must go. Raises CloudError."""
    known = {
        value
        for found in seen.found.values()
        if found is not None
        for value in (*found.outputs.values(), *twins_of(found))
    }
    leftovers = []
    for kind in KINDS:
        rows = _rows_of(kind, sale, region)
        for row in rows(read):
            id = text(row.get(kind.id))
            if not id or id in known or tags_of(row).get(SALE_TAG) != sale:
                continue
            if _is_gone(row, kind.state):
                continue
            leftovers.append(
                Leftover(
                    f"leftover/{kind.kind.lower().replace(' ', '-')}/{id}",
                    kind.kind,
                    id,
                    _name_of(row),
                    sale,
                    region,
                    kind.holds_data,
                    kind.last,
                    kind.remove(region, id),
                    rows,
                    kind.id,
                    kind.state,
                )
            )
    return leftovers


def _is_gone(row: Mapping[str, Any], state: str) -> bool:
    return bool(state) and text(row.get(state)).lower() in _GONE


def _rows_of(kind: _Kind, sale: str, region: str) -> Callable[[Read], list[Mapping[str, Any]]]:
    def rows(read: Read) -> list[Mapping[str, Any]]:
        listing = every_page(kind.listing(region, sale), kind.items, kind.paging)
        try:
            call = next(listing)
            while True:
                try:
                    answer = read(call)
                except CloudError as error:
                    if error.kind == "missing":
                        return []
                    raise
                call = listing.send(answer)
        except StopIteration as stop:
            found: list[Mapping[str, Any]] = stop.value
            return found

    return rows


def _name_of(row: Mapping[str, Any]) -> str:
    for field in ("name", "Name", "VpcName", "VSwitchName", "SecurityGroupName", "instanceName"):
        if row.get(field):
            return text(row[field])
    return ""
