"""The preflight of a sale's network and cluster: how many there may be, free addresses, zones, roles, versions and add-ons."""

from __future__ import annotations

from ipaddress import ip_network
from math import ceil

from saleops.domain.capacity import SURGE, SYSTEM_PODS_PER_NODE
from saleops.domain.cloud.addresses import RESERVED
from saleops.domain.cloud.cluster import Cluster
from saleops.domain.cloud.network import Eip, NatGateway, SnatEntry, Vpc, VSwitch
from saleops.domain.cloud.preflight import (
    SERVERS_PER_BALANCER,
    Check,
    QuotaName,
    addresses_wanted,
    enough,
    stated,
)
from saleops.domain.cloud.security import SecurityGroup
from saleops.operations.provision.preflight_facts import Unseen
from saleops.operations.provision.preflight_shapes import Checks

VPCS = QuotaName("vpc", (("vpc",),), ("of a vpc", "per vpc", "in a vpc", "vswitch", "nat", "snat"))
VSWITCHES = QuotaName("vpc", (("vswitch",), ("vpc",)))
NATS = QuotaName("vpc", (("nat gateway",), ("vpc",)), ("snat",))
SNATS = QuotaName("vpc", (("snat",),))
EIPS = QuotaName("eip", (("eip", "elastic ip"),))
SERVERS = QuotaName("alb", (("server",), ("load balancer", "instance")), ("group",))

ROLES = (
    "AliyunCSDefaultRole",
    "AliyunCSManagedKubernetesRole",
    "AliyunCSManagedNetworkRole",
    "AliyunCSManagedCsiRole",
)
LOG_ROLE = "AliyunCSManagedLogRole"


class NetworkChecks(Checks):
    def network(self) -> list[Check]:
        vpc_there = self._found(self._of(Vpc)[0].key) is not None if self._of(Vpc) else True
        checks = [
            self._quota("VPCs", "network", VPCS, self._lacking(Vpc), why="the sale has no network"),
            self._quota("EIPs", "network", EIPS, self._lacking(Eip), why="nothing gets out"),
            self._security_groups(),
        ]
        for name, kind, quota in (
            ("vSwitches of the VPC", VSwitch, VSWITCHES),
            ("NAT gateways of the VPC", NatGateway, NATS),
            ("SNAT entries of the NAT gateway", SnatEntry, SNATS),
        ):
            # Counted within one VPC, which is ours: what is in it is ours too, and all of it counts.
            wanted = len(self._of(kind)) if self._lacking(kind) or not vpc_there else 0
            checks.append(
                self._quota(
                    name, "network", quota, wanted, whole=True, why="the network stays in pieces"
                )
            )
        checks += self.addresses()
        nats = [one for one in self._of(NatGateway) if self._found(one.key) is None]
        if nats:
            zones = self._facts.nat_zones()
            zone = nats[0].zone
            checks.append(
                self._offer(
                    f"enhanced NAT gateway in {zone}",
                    "network",
                    "vpc ListEnhanhcedNatGatewayAvailableZones",
                    zones,
                    zone,
                    todo="Put another zone first in the sale file or the profile (zones).",
                )
            )
        return checks

    def addresses(self) -> list[Check]:
        """Free addresses of each vSwitch, existing or planned, against the nodes and pods that come there."""
        plan = self._blueprint.capacity
        zones = len(self._blueprint.addresses.zones)
        pools = [one for one in self._blueprint.resources if one.group == "nodepool"]
        # Where nobody looked at the pools they count as there: a run for the network alone asks for no more than it adds.
        here = any(self._found(one.key) or one.key not in self._seen.found for one in pools)
        checks = []
        for switch in self._of(VSwitch):
            pods = switch.key.startswith("vswitch/pod/")
            need = plan.pod_addresses if pods else plan.node_addresses
            nodes = ceil(plan.nodes / zones)
            ours = ceil(plan.pods / zones) + nodes * SYSTEM_PODS_PER_NODE if pods else nodes
            room = ip_network(switch.cidr).num_addresses - RESERVED
            found = self._found(switch.key)
            told = found.outputs.get("free_addresses", "") if found else ""
            free = int(told) if told.isdigit() else room
            checks.append(
                enough(
                    f"free addresses for {'pods' if pods else 'nodes'} in {switch.zone}",
                    "network",
                    "addresses",
                    asked="vpc DescribeVSwitches" if found else "the plan",
                    wanted=addresses_wanted(need, in_use=room - free, ours=ours if here else 0),
                    available=free,
                    unit="addresses",
                    why="a pod or a node without an address does not start, and a vSwitch cannot grow",
                    todo=f"Free addresses in {switch.name} ({switch.cidr}), or give the profile a larger "
                    "network.vpc_cidr and build anew.",
                )
            )
        return checks

    def _security_groups(self) -> Check:
        wanted = self._lacking(SecurityGroup)
        name, asked = "security groups", "ecs DescribeAccountAttributes"
        if not wanted:
            return self._enough(name, "network", asked, 0, 0)
        account, used = self._facts.account(), self._facts.security_groups()
        for one in (account, used):
            if isinstance(one, Unseen):
                return self._unseen(name, "network", "quota", wanted, one)
        assert not isinstance(account, Unseen)
        assert not isinstance(used, Unseen)
        most = account.get("max-security-groups")
        if most is None:
            nobody = Unseen(asked, "ECS does not say how many there may be")
            return self._unseen(name, "network", "quota", wanted, nobody)
        return self._enough(name, "network", asked, wanted, most - used, why="nodes need one")

    def cluster(self) -> list[Check]:
        wishes = self._of(Cluster)[0].wishes
        lacks = self._lacking(Cluster)
        if not lacks:
            return [self._balancer_servers()]
        checks = []
        quota, used = self._facts.cluster_quota(), self._facts.clusters()
        asked = "cs DescribeUserQuota"
        for name, field in (
            ("ACK clusters", "cluster_quota"),
            ("managed ACK clusters", "amk_cluster_quota"),
        ):
            if isinstance(quota, Unseen):
                checks.append(self._unseen(name, "cluster", "quota", lacks, quota))
            elif isinstance(used, Unseen):
                checks.append(self._unseen(name, "cluster", "quota", lacks, used))
            else:
                free = int(quota.get(field) or 0) - used
                why = "without a cluster nothing of the shop runs"
                checks.append(self._enough(name, "cluster", asked, lacks, free, why=why))
        checks.append(self._roles((*ROLES, LOG_ROLE) if wishes.log_days else ROLES))
        offered = self._facts.addons()
        checks += [
            self._offer(
                f"add-on {addon}",
                "cluster",
                "cs ListAddons",
                offered,
                addon,
                todo="Name add-ons as ListAddons does (cluster.addons in the profile).",
            )
            for addon in ("terway-eniip", *wishes.addons)
        ]
        if wishes.version:
            checks.append(
                self._offer(
                    f"Kubernetes {wishes.version}",
                    "cluster",
                    "cs DescribeKubernetesVersionMetadata",
                    self._facts.versions(),
                    wishes.version,
                    todo="Name one that can be made (cluster.version in the profile), or none.",
                )
            )
        return [*checks, self._balancer_servers()]

    def _roles(self, names: tuple[str, ...]) -> Check:
        missing = self._facts.roles(names)
        name, asked = "service roles of ACK", "cs CheckServiceRole"
        if isinstance(missing, Unseen):
            return self._unseen(name, "cluster", "permission", len(names), missing)
        return stated(
            name,
            "cluster",
            "permission",
            asked=asked,
            ok=not missing,
            said=f"{', '.join(missing)} not granted: {len(missing)} missing"
            if missing
            else f"all {len(names)} are granted",
            wanted=len(names),
            missing=len(missing),
            unit="roles",
            why="the service cannot act for the account before it has them",
            todo="Grant them once in the console of Container Service.",
        )

    def _balancer_servers(self) -> Check:
        pods = ceil(self._blueprint.capacity.pods * (1 + SURGE))
        return self._quota(
            "servers behind the load balancer",
            "cluster",
            SERVERS,
            pods,
            whole=True,
            most=SERVERS_PER_BALANCER,
            why="pods beyond it get no requests, and a rollout stops in its middle",
        )
