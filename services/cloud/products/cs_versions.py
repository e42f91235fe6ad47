"""What Container Service offers: Kubernetes versions, regions, quotas of the account, and its service roles."""

from typing import Any

from saleops.services.cloud import catalogue
from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.products.cs_calls import body_of, quota, wrong
from saleops.services.cloud.world import World

VERSIONS = {  # version: (released, end of support, can be created)
    "1.34.1-aliyun.1": ("2025-11-20", "2027-11-20", True),
    "1.33.3-aliyun.1": ("2025-08-18", "2027-08-18", True),
    "1.32.7-aliyun.1": ("2025-03-10", "2027-03-10", True),
    "1.31.9-aliyun.1": ("2024-11-05", "2026-11-05", False),
}
LATEST = next(iter(VERSIONS))
SERVICE_ROLES = (
    "AliyunCSManagedAutoScalerRole",
    "AliyunCSManagedCsiRole",
    "AliyunCSManagedKubernetesRole",
    "AliyunCSManagedLogRole",
    "AliyunCSManagedNetworkRole",
    "AliyunCSManagedVKRole",
    "AliyunCSDefaultRole",
    "AliyunCSServerlessKubernetesRole",
)
_CLUSTER_TYPES = ("Kubernetes", "ManagedKubernetes", "ExternalKubernetes", "Ask")


def upgrades_of(version: str) -> list[str]:
    """The versions a cluster can go to: the next one."""
    order = list(VERSIONS)
    place = order.index(version) if version in order else 0
    return order[place - 1 : place] if place else []


@answers("cs", "DescribeKubernetesVersionMetadata")
def describe_kubernetes_version_metadata(call: LocalCall, world: World) -> list[dict[str, Any]]:
    params = call.params
    if params["Region"] not in catalogue.ZONES:
        raise wrong("Region", params["Region"], "no such region")
    if params["ClusterType"] not in _CLUSTER_TYPES:
        raise wrong("ClusterType", params["ClusterType"], "use " + ", ".join(_CLUSTER_TYPES))
    wanted = params.get("KubernetesVersion")
    return [
        {
            "capabilities": {"MaxNode": "5000", "Terway": "true"},
            "creatable": creatable,
            "expiration_date": f"{end}T00:00:00Z",
            "images": [
                {
                    "architecture": "x86_64",
                    "image_category": "system",
                    "image_id": "aliyun_3_x64_20G_container_optimized.vhd",
                    "image_name": "Alibaba Cloud Linux 3",
                    "image_type": "AliyunLinux3",
                    "os_type": "Linux",
                    "os_version": "3",
                    "platform": "AliyunLinux",
                }
            ],
            "meta_data": {"KubernetesVersion": version},
            "release_date": f"{released}T00:00:00Z",
            "runtimes": [{"name": "containerd", "version": "1.6.38"}],
            "upgradable_versions": upgrades_of(version)
            if params.get("QueryUpgradableVersion")
            else [],
            "version": version,
        }
        for version, (released, end, creatable) in VERSIONS.items()
        if not wanted or version == wanted
    ]


@answers("cs", "DescribeRegions")
def describe_regions(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "regions": [
            {"localName": catalogue.REGION_NAMES[region], "regionId": region}
            for region in catalogue.ZONES
        ],
        "requestId": call.request_id,
    }


@answers("cs", "DescribeUserQuota")
def describe_user_quota(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "amk_cluster_quota": quota(world, "cs.managed_clusters"),
        "ask_cluster_quota": quota(world, "cs.serverless_clusters"),
        "cluster_nodepool_quota": quota(world, "cs.nodepools_per_cluster"),
        "cluster_quota": quota(world, "cs.clusters"),
        "edge_improved_nodepool_quota": {"bandwidth": 100, "count": 0, "period": 12},
        "node_quota": quota(world, "cs.nodes_per_cluster"),
    }


@answers("cs", "CheckServiceRole")
def check_service_role(call: LocalCall, world: World) -> dict[str, Any]:
    """``world.settings["missing_roles"]`` names the roles that were not granted."""
    missing = world.settings.get("missing_roles", ())
    answers = []
    for number, role in enumerate(body_of(call).get("roles") or ()):
        name = role.get("name")
        if name not in SERVICE_ROLES:
            raise wrong(f"roles[{number}].name", name, "no service role of Container Service")
        granted = name not in missing
        answers.append(
            {
                "granted": granted,
                "message": "" if granted else f"{name} was not granted",
                "name": name,
            }
        )
    return {"roles": answers}
