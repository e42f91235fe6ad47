"""What PolarDB sells: node classes with their sizes and limits, and where.

``polar.mysql.x4.large`` is 4 cores, 16 GB, dedicated, 8,000 connections (read from the vendor's class table); larger ones
scale from it. Prices and IOPS are plausible, not quotations.
"""

from dataclasses import dataclass
from typing import Any

from saleops.services.cloud import catalogue
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.world import World


@dataclass(frozen=True, slots=True)
class NodeClass:
    id: str
    cores: int
    memory_mb: int
    connections: int
    iops: int
    dedicated: bool


def _classes() -> dict[str, NodeClass]:
    sizes = (  # class part, cores, GB dedicated, connections dedicated
        ("x4.medium", 2, 8, 4_000),
        ("x4.large", 4, 16, 8_000),
        ("x4.xlarge", 8, 32, 16_000),
        ("x8.xlarge", 8, 64, 16_000),
        ("x4.2xlarge", 16, 64, 32_000),
        ("x8.2xlarge", 16, 128, 32_000),
        ("x4.4xlarge", 32, 128, 64_000),
        ("x8.4xlarge", 32, 256, 64_000),
        ("x8.12xlarge", 88, 710, 100_000),
    )
    classes = {}
    for engine in ("mysql", "pg", "o"):
        for part, cores, gigabytes, connections in sizes:
            for prefix, dedicated in (
                ("", True),
                ("g4." if part.startswith("x4") else "g8.", False),
            ):
                id = (
                    f"polar.{engine}.{part}"
                    if dedicated
                    else f"polar.{engine}.{prefix}{part.split('.')[1]}"
                )
                classes[id] = NodeClass(
                    id, cores, gigabytes * 1024, connections, cores * 8_000, dedicated
                )
    return classes


CLASSES = _classes()
_ENGINES = {"MySQL": "mysql", "PostgreSQL": "pg", "Oracle": "o"}
_VERSIONS = {
    "MySQL": ("5.6", "5.7", "8.0"),
    "PostgreSQL": ("11", "14", "15", "16"),
    "Oracle": ("11", "14"),
}


def class_of(id: Any, field: str) -> NodeClass:
    if not id:
        raise ApiError(400, "MissingParameter", f"{field}: name the class of the nodes")
    found = CLASSES.get(str(id))
    if found is None:
        raise ApiError(400, "InvalidDBNodeClass.ValueNotSupport", f"{field} {id!r}: no such class")
    return found


def _of_engine(engine: str) -> list[NodeClass]:
    return [each for each in CLASSES.values() if each.id.startswith(f"polar.{_ENGINES[engine]}.")]


@answers("polardb", "DescribeDBClusterAvailableResources")
def describe_db_cluster_available_resources(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    zones = [
        zone for zone in catalogue.zones_of(call.region) if params.get("ZoneId") in (None, "", zone)
    ]
    engines = [
        (engine, version)
        for engine, versions in _VERSIONS.items()
        for version in versions
        if params.get("DBType") in (None, "", engine)
        and params.get("DBVersion") in (None, "", version)
    ]
    return {
        "AvailableZones": [
            {
                "RegionId": call.region,
                "SupportedEngines": [
                    {
                        "AvailableResources": [
                            {"Category": "Normal", "DBNodeClass": each.id}
                            for each in _of_engine(engine)
                            if params.get("DBNodeClass") in (None, "", each.id)
                        ],
                        "Engine": f"{engine.lower()}_{version}",
                    }
                    for engine, version in engines
                ],
                "ZoneId": zone,
            }
            for zone in zones
        ]
    }


@answers("polardb", "DescribeClassList")
def describe_class_list(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "Items": [
            {
                "ClassCode": each.id,
                "ClassGroup": "Exclusive package" if each.dedicated else "General package",
                "ClassTypeLevel": "" if each.dedicated else "4",
                "Cpu": str(each.cores),
                "MaxConnections": str(each.connections),
                "MaxIOPS": str(each.iops),
                "MaxStorageCapacity": "500TB",
                "MemoryClass": f"{each.memory_mb // 1024} GB",
                "ReferencePrice": str(each.cores * (90 if each.dedicated else 62)),
            }
            for each in CLASSES.values()
        ],
        "RegionId": call.region,
    }


@answers("polardb", "DescribeRegions")
def describe_regions(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "Regions": {
            "Region": [
                {
                    "RegionId": region,
                    "Zones": {
                        "Zone": [
                            {"VpcEnabled": True, "ZoneId": zone}
                            for zone in catalogue.zones_of(region)
                        ]
                    },
                }
                for region in catalogue.ZONES
            ]
        }
    }
