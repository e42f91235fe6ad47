"""PolarDB's performance series and parameters: plausible numbers that are always the same for the same world and instant."""

import json
import math
from collections.abc import Iterable
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import chance
from saleops.services.cloud.products.polardb_calls import (
    CLUSTER,
    cluster_of,
    iso,
    running_cluster,
    time_ms,
    wrong,
)
from saleops.services.cloud.products.polardb_clusters import class_now, nodes_now
from saleops.services.cloud.world import Thing, World

KEYS_MOST, POINTS_MOST = 5, 2_000
_INTERVALS = ("5", "30", "60", "600", "1800", "3600", "86400")
_METRICS: dict[
    str, tuple[tuple[str, float], ...]
] = {  # key: (measure, share of its limit or typical value)
    "PolarDBCPU": (("cpu_ratio", 22.0),),
    "PolarDBMemory": (("mem_ratio", 58.0),),
    "PolarDBConnections": (("mysql.active_session", 18.0), ("mysql.total_session", 160.0)),
    "PolarDBQPSTPS": (("mysql.qps", 2_400.0), ("mysql.tps", 310.0)),
    "PolarDBReplicaLag": (("mysql.replica_lag", 3.0),),
    "PolarDBDiskUsage": (("mean_data_size", 2_900.0), ("mean_log_size", 310.0)),
    "PolarDBIOSTAT": (("mean_iops", 450.0),),
    "PolarDBNetworkTraffic": (("mean_input_kbps", 800.0), ("mean_output_kbps", 2_100.0)),
    "PolarProxy_CpuUsage": (("docker_container_cpu", 12.0),),
    "PolarProxy_CurrentConns": (("current_connections", 210.0),),
}


@answers("polardb", "DescribeDBClusterPerformance")
def describe_db_cluster_performance(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    names = [node["id"] for node in nodes_now(world, cluster)]
    return {"DBClusterId": cluster.id, **_series(call, world, cluster, names, named=True)}


@answers("polardb", "DescribeDBProxyPerformance")
def describe_db_proxy_performance(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    return {
        "DBClusterId": cluster.id,
        **_series(call, world, cluster, [f"{cluster.id}-proxy"], named=True),
    }


@answers("polardb", "DescribeDBNodePerformance")
def describe_db_node_performance(call: LocalCall, world: World) -> dict[str, Any]:
    id = call.params["DBNodeId"]
    for cluster in world.each(CLUSTER):
        if any(node["id"] == id for node in nodes_now(world, cluster)):
            return {"DBNodeId": id, **_series(call, world, cluster, [id], named=False)}
    raise ApiError(404, "InvalidDBNodeId.NotFound", f"DBNodeId {id!r}: no such node")


def _series(
    call: LocalCall, world: World, cluster: Thing, names: Iterable[str], *, named: bool
) -> dict[str, Any]:
    params = call.params
    keys = [key for key in str(params["Key"]).split(",") if key]
    if not 1 <= len(keys) <= KEYS_MOST:
        raise wrong("Key", params["Key"], f"1 to {KEYS_MOST} metrics", code="InvalidKey")
    for key in keys:
        if key not in _METRICS:
            raise wrong("Key", key, "use " + ", ".join(_METRICS), code="InvalidKey")
    start_ms, end_ms = (
        time_ms(params["StartTime"], "StartTime"),
        time_ms(params["EndTime"], "EndTime"),
    )
    if end_ms <= start_ms:
        raise wrong(
            "EndTime",
            params["EndTime"],
            f"it must be after StartTime {params['StartTime']!r}",
            code="InvalidEndTime",
        )
    interval = str(params.get("Interval") or "60")
    if interval not in _INTERVALS:
        raise wrong("Interval", interval, "use " + ", ".join(_INTERVALS), code="InvalidInterval")
    step_ms = int(interval) * 1000
    if (end_ms - start_ms) / step_ms > POINTS_MOST:
        raise wrong(
            "Interval",
            interval,
            f"more than {POINTS_MOST} points; take a longer interval",
            code="InvalidInterval",
        )
    first_ms = max(start_ms, cluster.timeline[-1][0]) // step_ms * step_ms
    times = range(first_ms, min(end_ms, world.now_ms()) + 1, step_ms)
    items = [
        {
            **({"DBNodeId": name} if named else {}),
            "Measurement": key,
            "MetricName": metric,
            "Points": {
                "PerformanceItemValue": [
                    {
                        "Timestamp": at_ms,
                        "Value": f"{_value(world, name, metric, usual, at_ms):.2f}",
                    }
                    for at_ms in times
                ]
            },
        }
        for key in keys
        for name in names
        for metric, usual in _METRICS[key]
    ]
    return {
        "DBType": cluster.data["DBType"].lower(),
        "DBVersion": cluster.data["DBVersion"],
        "EndTime": iso(end_ms),
        "PerformanceKeys": {"PerformanceItem": items},
        "StartTime": iso(start_ms),
    }


def _value(world: World, name: str, metric: str, usual: float, at_ms: int) -> float:
    """It follows the day, differs by node, and trembles a little."""
    day = 0.25 * math.sin(at_ms / 86_400_000 * 2 * math.pi)
    noise = 0.1 * (chance(world, name, metric, at_ms) - 0.5)
    return usual * (0.9 + 0.2 * chance(world, name, metric)) * (1 + day + noise)


_PARAMETERS: dict[str, tuple[str, str, bool]] = {  # name: (default, what it takes, needs a restart)
    "innodb_buffer_pool_size": ("{DBInstanceClassMemory*3/4}", "", True),
    "innodb_lock_wait_timeout": ("50", "[1-1073741824]", False),
    "interactive_timeout": ("7200", "[10-86400]", False),
    "long_query_time": ("1", "[0.1-31536000]", False),
    "loose_innodb_primary_flush_max_lsn_lag": ("11811160064", "[0-18446744073709551615]", False),
    "loose_polar_log_bin": ("OFF", "[ON|OFF]", True),
    "max_connections": ("8000", "[1-100000]", True),
    "wait_timeout": ("7200", "[1-31536000]", False),
}


@answers("polardb", "DescribeDBClusterParameters")
def describe_db_cluster_parameters(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    limit = str(class_now(world, nodes_now(world, cluster)[0]).connections)
    own = {"max_connections": limit, **cluster.data["parameters"]}
    return {
        "DBType": cluster.data["DBType"],
        "DBVersion": cluster.data["DBVersion"],
        "Engine": "POLARDB",
        "RunningParameters": {
            "Parameter": [
                {
                    "CheckingCode": takes,
                    "DataType": "INT" if "-" in takes else "STRING",
                    "DefaultParameterValue": default,
                    "ForceRestart": restart,
                    "IsModifiable": True,
                    "ParameterName": name,
                    "ParameterStatus": "Normal",
                    "ParameterValue": own.get(name, default),
                }
                for name, (default, takes, restart) in _PARAMETERS.items()
            ]
        },
    }


@answers("polardb", "ModifyDBClusterParameters")
def modify_db_cluster_parameters(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    text = call.params.get("Parameters")
    try:
        sent = json.loads(text or "")
    except ValueError:
        raise wrong(
            "Parameters", text, "not a JSON object", code="InvalidParameters.Format"
        ) from None
    if not isinstance(sent, dict) or not sent:
        raise wrong("Parameters", text, "not a JSON object", code="InvalidParameters.Format")
    for name in sent:
        if name not in _PARAMETERS:
            raise wrong("Parameters", name, "no such parameter", code="InvalidParameters.NotFound")
    restart = any(_PARAMETERS[name][2] for name in sent)
    values = {name: str(value) for name, value in sent.items()}
    world.update(cluster, parameters={**cluster.data["parameters"], **values})
    world.move(cluster, [("CONFIG_SWITCHING", 120 if restart else 15), ("Running", 0)])
    return {}
