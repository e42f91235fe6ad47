"""ARMS: the Prometheus instance that each cluster has.

The list answers a JSON document inside a string, as the real API does.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.documents import compact
from saleops.services.cloud.products.cs_calls import CLUSTER
from saleops.services.cloud.world import Thing, World


def _clusters(world: World, region: str) -> list[Thing]:
    return [
        cluster
        for cluster in world.each(CLUSTER)
        if region in (cluster.data.get("region_id"), cluster.data.get("RegionId"))
    ]


def _name(cluster: Thing) -> str:
    return str(cluster.data.get("name") or cluster.id)


@answers("arms", "ListPrometheusInstances")
def list_prometheus_instances(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    kind = params.get("ClusterType")
    listed = [
        {
            "clusterId": cluster.id,
            "clusterName": _name(cluster),
            "clusterType": "ManagedKubernetes",
            "regionId": params["RegionId"],
            "controllerId": "",
            "isControllerInstalled": True,
        }
        for cluster in _clusters(world, params["RegionId"])
        if kind in (None, "", "ManagedKubernetes")
    ]
    return {"Code": 200, "Data": compact(listed), "Message": "success"}


@answers("arms", "GetPrometheusInstance")
def get_prometheus_instance(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    region, cluster_id = params["RegionId"], params["ClusterId"]
    cluster = next((each for each in _clusters(world, region) if each.id == cluster_id), None)
    if cluster is None:
        raise ApiError(
            404, "ClusterNotFound", f"ClusterId does not exist in {region}: {cluster_id!r}"
        )
    host = f"{region}.arms.aliyuncs.com:9090/api/v1/prometheus/{cluster_id}"
    data = {
        "ClusterId": cluster_id,
        "ClusterName": _name(cluster),
        "ClusterType": "ManagedKubernetes",
        "HttpApiInterUrl": f"https://{host}",
        "HttpApiIntraUrl": f"http://{host}",
        "PaymentType": "POSTPAY",
        "RegionId": region,
        "RemoteReadIntraUrl": f"http://{host}/api/v1/read",
        "RemoteWriteIntraUrl": f"http://{host}/api/v3/write",
        "UserId": world.account,
    }
    return {"Code": 200, "Data": data, "Message": "success"}


@answers("arms", "ListPrometheusAlertRules")
def list_prometheus_alert_rules(call: LocalCall, world: World) -> dict[str, Any]:
    """None: rules live in the cluster's own Prometheus."""
    return {"PrometheusAlertRules": []}
