"""The sale's ACK Pro cluster: managed, on Terway with network policies on, its API reachable from inside only.

The Pro edition is ``cluster_spec`` (an empty one means Basic), Terway gets a pod vSwitch for each node vSwitch, and the way
out is the network's own NAT gateway: with ``snat_entry`` the service would build, and bill, a second one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.network import (
    SECURITY_GROUP,
    SECURITY_RULES,
    VPC,
    node_vswitch,
    pod_vswitch,
)
from saleops.domain.cloud.ours import Scope, condition_of, pick, text
from saleops.domain.cloud.paging import CLUSTERS, every_page
from saleops.domain.cloud.resources import Found, Group, Known, Look, Patience, Resource

CLUSTER = "cluster"
_LEFT_BEHIND = ("SLB", "ALB", "SLS_Data", "SLS_ControlPlane", "PrivateZone")
"""What a deleted cluster would leave behind, and bill, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class ClusterWishes:
    spec: str
    service_cidr: str
    version: str = ""  # empty: the newest that the service offers
    deletion_protection: bool = True
    public_endpoint: bool = False
    log_days: int = 0  # 0: no control plane logs are kept
    timezone: str = "Asia/Shanghai"
    addons: tuple[str, ...] = ()  # beside Terway


class Cluster(Resource):
    group: ClassVar[Group] = "cluster"
    kind: ClassVar[str] = "ACK cluster"
    patience: ClassVar[Patience] = Patience(first_s=10, every_s=10, timeout_s=5400)
    on_failure: ClassVar[str] = (
        "A cluster that failed is not rolled back by the service: `saleops provision destroy SALE --group cluster` takes "
        "it away."
    )

    def __init__(self, scope: Scope, zones: Sequence[str], wishes: ClusterWishes) -> None:
        self.scope = scope
        self.zones = tuple(zones)
        self.wishes = wishes
        self.key, self.name = CLUSTER, scope.named("cluster")
        switches = [switch for zone in zones for switch in (node_vswitch(zone), pod_vswitch(zone))]
        ways_out = [f"snat/{switch.removeprefix('vswitch/')}" for switch in switches]
        self.needs = (VPC, *switches, SECURITY_GROUP, SECURITY_RULES, *ways_out)

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call(
                "cs",
                "DescribeClustersV1",
                {"name": self.name, "region_id": self.scope.region},
            ),
            "clusters",
            CLUSTERS,
        )
        # The list forgets nobody: clusters that are gone stay in it for a while.
        alive = [row for row in rows if row.get("state") != "deleted"]
        one = pick(self.scope, alive, name=self.name, name_field="name", id_field="cluster_id")
        if one is None:
            return None
        id, row = text(one.row.get("cluster_id")), one.row
        if not one.foreign and not one.twins:
            # The list lags behind writes; the cluster itself does not.
            row = yield Call("cs", "DescribeClusterDetail", path={"ClusterId": id})
        state = text(row.get("state"))
        if state == "deleted":
            return None
        problem = ""
        if state == "failed":
            problem = "the service could not build it; DescribeClusterEvents has the reason"
        elif state == "delete_failed":
            problem = "the service could not delete it; DescribeClusterEvents has the reason"
        return one.found(
            id,
            state=state,
            condition=condition_of(
                state,
                ready=("running",),
                failed=("failed", "delete_failed", "unavailable", "inactive"),
                leaving=("deleting",),
            ),
            outputs={
                "version": text(row.get("current_version")),
                "security_group": text(row.get("security_group_id")),
            },
            fields={
                "spec": text(row.get("cluster_spec")),
                "deletion_protection": bool(row.get("deletion_protection")),
                "service_cidr": text(row.get("service_cidr") or row.get("subnet_cidr")),
                **({"version": text(row.get("current_version"))} if self.wishes.version else {}),
            },
            problem=problem,
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {
            "spec": self.wishes.spec,
            "deletion_protection": self.wishes.deletion_protection,
            "service_cidr": self.wishes.service_cidr,
            **({"version": self.wishes.version} if self.wishes.version else {}),
        }

    def create(self, known: Known) -> Call:
        wishes = self.wishes
        terway = {"name": "terway-eniip", "config": json.dumps({"NetworkPolicy": "true"})}
        body: dict[str, Any] = {
            "name": self.name,
            "region_id": self.scope.region,
            "cluster_type": "ManagedKubernetes",
            "profile": "Default",
            "cluster_spec": wishes.spec,
            "vpcid": known(VPC),
            "vswitch_ids": [known(node_vswitch(zone)) for zone in self.zones],
            "pod_vswitch_ids": [known(pod_vswitch(zone)) for zone in self.zones],
            "service_cidr": wishes.service_cidr,
            "security_group_id": known(SECURITY_GROUP),
            "addons": [terway, *({"name": name, "config": ""} for name in wishes.addons)],
            "endpoint_public_access": wishes.public_endpoint,
            "snat_entry": False,
            "deletion_protection": wishes.deletion_protection,
            "timezone": wishes.timezone,
            "tags": self.scope.roa_tags,
        }
        if wishes.version:
            body["kubernetes_version"] = wishes.version
        if wishes.log_days:
            body["controlplane_log_ttl"] = str(wishes.log_days)
        return Call("cs", "CreateCluster", body=body)

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        body: dict[str, Any] = {}
        if "spec" in fields:
            body["cluster_spec"] = self.wishes.spec
        if "deletion_protection" in fields:
            body["deletion_protection"] = self.wishes.deletion_protection
        if not body:
            return ()
        return [Call("cs", "ModifyCluster", path={"ClusterId": found.outputs["id"]}, body=body)]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        path = {"ClusterId": found.outputs["id"]}
        calls = []
        if found.fields.get("deletion_protection"):
            calls.append(
                Call("cs", "ModifyCluster", path=path, body={"deletion_protection": False})
            )
        options = [{"resource_type": what, "delete_mode": "delete"} for what in _LEFT_BEHIND]
        calls.append(
            Call(
                "cs",
                "DeleteCluster",
                {"retain_all_resources": False, "delete_options": options},
                path,
            )
        )
        return calls
