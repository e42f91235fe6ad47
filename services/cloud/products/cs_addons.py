"""Add-ons: what can be installed in a cluster, and what is."""

import json
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_calls import (
    body_of,
    cluster_of,
    found_cluster,
    in_path,
    running_cluster,
    wrong,
)
from saleops.services.cloud.products.cs_tasks import start_task
from saleops.services.cloud.world import Thing, World

ADDON = "addon"
NETWORKS = ("terway-eniip", "flannel")

CATALOGUE: dict[
    str, tuple[str, str, bool, bool]
] = {  # name: (version, category, by default, managed)
    "kube-apiserver": ("v1.34.1-aliyun.1", "core", True, True),
    "coredns": ("v1.11.3.5-5321daf49-aliyun", "core", True, False),
    "metrics-server": ("v0.3.9.7-0c8d5b8-aliyun", "core", True, False),
    "cloud-controller-manager": ("v2.11.1", "core", True, True),
    "terway-eniip": ("v1.15.0", "network", False, False),
    "flannel": ("v0.15.1.23", "network", False, False),
    "terway-controlplane": ("v1.15.0", "network", False, True),
    "alb-ingress-controller": ("v2.18.0", "network", False, True),
    "nginx-ingress-controller": ("v1.11.5-aliyun.1", "network", False, False),
    "managed-csiprovisioner": ("v1.33.2", "storage", True, True),
    "csi-plugin": ("v1.33.2", "storage", True, False),
    "cluster-autoscaler": ("v1.8.1", "application", False, True),
    "ack-goatscaler": ("v0.3.2", "application", False, True),
    "ack-kubernetes-cronhpa-controller": ("v1.4.1", "application", False, False),
    "ack-node-problem-detector": ("v1.2.27", "monitor", False, False),
    "arms-prometheus": ("v1.1.31", "monitor", False, False),
    "loongcollector": ("v3.0.11", "monitor", False, False),
    "logtail-ds": ("v2.1.8", "monitor", False, False),
    "security-inspector": ("v0.10.1.3", "security", False, False),
    "gatekeeper": ("v3.17.1.25", "security", False, False),
    "policy-template-controller": ("v0.4.0", "security", False, False),
}
_ALWAYS = ("kube-apiserver", "coredns", "cloud-controller-manager")  # a cluster cannot do without


def checked_addons(sent: list[dict[str, Any]], *, field: str = "addons") -> list[dict[str, Any]]:
    """The add-ons of a call, each of which must exist and come once, its config JSON where there is any."""
    names: set[str] = set()
    for number, addon in enumerate(sent):
        name, version = str(addon.get("name") or ""), addon.get("version")
        if name not in CATALOGUE:
            raise ApiError(
                400, "ErrorAddonNotFound", f"{field}[{number}].name {name!r}: no such add-on"
            )
        if name in names:
            raise wrong(f"{field}[{number}].name", name, "the add-on comes twice")
        if version and version != CATALOGUE[name][0]:
            raise wrong(
                f"{field}[{number}].version",
                version,
                f"{name} comes in version {CATALOGUE[name][0]}",
            )
        check_config(addon.get("config"), f"{field}[{number}].config")
        names.add(name)
    return sent


def check_config(config: Any, field: str) -> None:
    if not config:
        return
    try:
        document = json.loads(config)
    except (TypeError, ValueError):
        raise wrong(field, config, "not a JSON document") from None
    if not isinstance(document, dict):
        raise wrong(field, config, "not a JSON object")


def network_of(sent: list[dict[str, Any]]) -> str:
    """The network add-on among ``sent``, which is mandatory."""
    names = [str(addon["name"]) for addon in sent if addon.get("name") in NETWORKS]
    if len(names) != 1:
        raise wrong("addons", names, f"exactly one network add-on of {', '.join(NETWORKS)}")
    return names[0]


def put_addons(
    world: World, cluster_id: str, sent: list[dict[str, Any]], *, lasts_s: float
) -> None:
    for addon in sent:
        if addon.get("disabled"):
            continue
        name = addon["name"]
        data = {
            "cluster_id": cluster_id,
            "name": name,
            "version": addon.get("version") or CATALOGUE[name][0],
            "config": addon.get("config") or "",
        }
        world.create(ADDON, f"{cluster_id}/{name}", data, [("updating", lasts_s), ("active", 0)])


def default_addons(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a new cluster gets: what is asked for, and the defaults nobody turned off."""
    named = {addon["name"] for addon in sent}
    return [
        *sent,
        *({"name": name} for name, about in CATALOGUE.items() if about[2] and name not in named),
    ]


def _found(world: World, cluster_id: str, name: str, *, field: str) -> Thing:
    addon = world.find(ADDON, f"{cluster_id}/{name}")
    if addon is None:
        raise ApiError(
            404,
            "ErrorAddonNotFound",
            f"{field} {name!r}: the add-on is not installed in cluster {cluster_id!r}",
        )
    return addon


@answers("cs", "ListAddons")
def list_addons(call: LocalCall, world: World) -> dict[str, Any]:
    _check_asked(call, world)
    return {"addons": [_offer(name) for name in CATALOGUE]}


@answers("cs", "DescribeAddon")
def describe_addon(call: LocalCall, world: World) -> dict[str, Any]:
    _check_asked(call, world)
    name, version = in_path(call, "addonname"), call.params.get("version")
    if name not in CATALOGUE or (version and version != CATALOGUE[name][0]):
        raise ApiError(
            404, "ErrorAddonNotFound", f"addon_name {name!r} {version or ''}: no such add-on"
        )
    return {**_offer(name), "newer_versions": []}


def _check_asked(call: LocalCall, world: World) -> None:
    params = call.params
    if params.get("cluster_id"):
        found_cluster(world, params["cluster_id"])
    elif not params.get("region_id") or not params.get("cluster_type"):
        raise ApiError(400, "MissingParameter", "send cluster_id, or region_id and cluster_type")


def _offer(name: str) -> dict[str, Any]:
    version, category, by_default, managed = CATALOGUE[name]
    actions = (
        ["Modify", "Upgrade"] if name in _ALWAYS else ["Install", "Modify", "Upgrade", "Uninstall"]
    )
    return {
        "architecture": ["amd64", "arm64"],
        "category": category,
        "config_schema": "",
        "install_by_default": by_default,
        "managed": managed,
        "name": name,
        "supported_actions": actions,
        "version": version,
    }


@answers("cs", "InstallClusterAddons")
def install_cluster_addons(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    sent = call.body if isinstance(call.body, list) else []
    if not sent:
        raise ApiError(400, "MissingParameter", "body: a list of add-ons to install")
    checked_addons(sent, field="body")
    here = {addon.data["name"] for addon in world.each(ADDON, cluster_id=cluster.id)}
    for number, addon in enumerate(sent):
        if addon["name"] in here:
            raise ApiError(
                400,
                "AddonAlreadyInstalled",
                f"body[{number}].name {addon['name']!r} is installed already",
            )
        if addon["name"] in NETWORKS:
            raise wrong(
                f"body[{number}].name",
                addon["name"],
                "the network of a cluster is chosen when it is made",
            )
    put_addons(world, cluster.id, sent, lasts_s=45)
    return _task(world, cluster, "cluster_addon_install", [addon["name"] for addon in sent], 45)


@answers("cs", "UnInstallClusterAddons")
def uninstall_cluster_addons(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    sent = call.body if isinstance(call.body, list) else body_of(call).get("addons") or []
    if not sent:
        raise ApiError(400, "MissingParameter", "addons: the add-ons to uninstall")
    addons = []
    for number, one in enumerate(sent):
        field, name = f"addons[{number}].name", str(one.get("name") or "")
        addons.append(_found(world, cluster.id, name, field=field))
        if name in (*_ALWAYS, *NETWORKS):
            raise wrong(field, name, "a cluster cannot do without it")
    for addon in addons:
        world.remove(addon, state="deleting", after_s=30)
    return _task(
        world, cluster, "cluster_addon_uninstall", [addon.data["name"] for addon in addons], 30
    )


@answers("cs", "ModifyClusterAddon")
def modify_cluster_addon(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    addon = _found(world, cluster.id, in_path(call, "componentid"), field="component_id")
    state = world.state(addon)
    if state != "active":
        raise ApiError(
            400,
            "IncorrectStatus.Addon",
            f"component_id {addon.data['name']!r} is {state}; it must be active",
        )
    config = body_of(call).get("config")
    check_config(config, "config")
    world.update(addon, config=config or "")
    world.move(addon, [("updating", 20), ("active", 0)])
    return {}


@answers("cs", "ListClusterAddonInstances")
def list_cluster_addon_instances(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    return {
        "addons": [
            {
                "name": addon.data["name"],
                "state": world.state(addon),
                "version": addon.data["version"],
            }
            for addon in world.each(ADDON, cluster_id=cluster.id)
        ]
    }


@answers("cs", "GetClusterAddonInstance")
def get_cluster_addon_instance(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    addon = _found(world, cluster.id, in_path(call, "instancename"), field="instance_name")
    return {
        "config": addon.data["config"],
        "logging": {"capable": False, "enabled": False, "log_project": "", "logstore": ""},
        "name": addon.data["name"],
        "state": world.state(addon),
        "version": addon.data["version"],
    }


@answers("cs", "DescribeClusterAddonsUpgradeStatus")
def describe_cluster_addons_upgrade_status(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    wanted = call.params.get("componentIds") or [
        addon.data["name"] for addon in world.each(ADDON, cluster_id=cluster.id)
    ]
    status = {}
    for name in wanted:
        addon = _found(world, cluster.id, str(name), field="componentIds")
        status[str(name)] = {
            "addon_info": {"component_name": name, "version": addon.data["version"]},
            "tasks": {},
        }
    return status


def _task(
    world: World, cluster: Thing, type: str, names: list[str], lasts_s: float
) -> dict[str, Any]:
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type=type,
        target=("cluster", cluster.id),
        lasts_s=lasts_s,
        results=names,
    )
    return {"cluster_id": cluster.id, "task_id": task_id}
