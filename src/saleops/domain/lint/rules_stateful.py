"""Rules for services that keep something: a sale scales, moves and loses pods, and what a pod kept goes with it."""

import re
from collections.abc import Iterator

from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, table, tables, text, whole
from saleops.domain.lint.rules import Hit, rule

_KEPT = re.compile(
    r"(?:^|[-_/.])(?:sessions?|carts?|uploads?)(?:$|[-_/.])|session-?(?:store|data)", re.I
)
_STORE = re.compile(
    r"SESSION.*(?:STORE|DRIVER|TYPE|BACKEND|ENGINE)|(?:STORE|DRIVER|BACKEND).*SESSION", re.I
)
_LOCAL = ("memory", "inmemory", "in-memory", "file", "files", "filesystem", "disk", "local", "none")
_SYSTEM_PATHS = ("/etc/localtime", "/usr/share/zoneinfo", "/etc/ssl", "/usr/share/ca-certificates")


@rule(
    "STA001",
    "warning",
    "A Service that keeps buyers on one pod",
    why="Affinity by address puts everyone behind one edge node on one pod, and new pods of the sale get new buyers only.",
    fix="Keep sessions in the shared cache and take the affinity away.",
    source="kubernetes.io docs, session affinity",
    bad="sessionAffinity: ClientIP",
    good="sessionAffinity: None",
)
def sticky_service(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for service in estate.services:
        if service.at("spec", "sessionAffinity") != "ClientIP":
            continue
        held = (
            whole(service.at("spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"), 10800)
            or 10800
        )
        yield Hit(
            service,
            ("spec", "sessionAffinity"),
            f"Service {service.name} keeps an address on one pod for {held:,} s",
            why="Behind a load balancer or a CDN all buyers come from a few addresses: a few pods get all of them, and the "
            f"{_counts(fleet, estate.behind(service))} pods of the sale stay idle.",
            key=True,
        )
    for ingress in fleet.of_kind("Ingress"):
        key = "nginx.ingress.kubernetes.io/affinity"
        if table(ingress.at("metadata", "annotations")).get(key) == "cookie":
            yield Hit(
                ingress,
                ("metadata", "annotations", key),
                f"Ingress {ingress.name} keeps buyers on one pod by a cookie",
                why="Pods that the sale adds get new buyers only, and one that dies loses the sessions of all who met it.",
                key=True,
            )


@rule(
    "STA002",
    "error",
    "Sessions that live and die with their pod",
    why="An emptyDir or a store in memory is one pod's: the next request reaches another pod, and a reclaimed pod loses it.",
    fix="Keep sessions in Tair or Redis.",
    source="kubernetes.io docs, emptyDir",
    bad="volumes: [{name: sessions, emptyDir: {}}]",
    good="SESSION_STORE: redis",
)
def sessions_in_a_pod(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for pods in estate.pods:
        count = estate.count(pods).count
        if (
            pods.kind not in ("Deployment", "ReplicaSet", "CloneSet", "Rollout", "StatefulSet")
            or count < 2
        ):
            continue
        lost = (
            f"With {count} pods {count - 1} of {count} requests reach another pod than the one that kept it, and every rollout, "
            "scale-down and reclaimed node logs its buyers out and empties their carts."
        )
        mounts = {
            scalar(mount.get("name")): scalar(mount.get("mountPath"))
            for _, container in pods.containers()
            for _, mount in tables(container.get("volumeMounts"))
        }
        for i, volume in tables(pods.spec.get("volumes")):
            name = scalar(volume.get("name"))
            if "emptyDir" in volume and any(
                _KEPT.search(one) for one in (name, mounts.get(name, ""))
            ):
                yield Hit(
                    pods.document,
                    (*pods.spec_path, "volumes", i),
                    f"{pods.name} keeps {mounts.get(name) or name} in an emptyDir of each pod",
                    why=lost,
                    key=True,
                )
        for path, container in pods.containers():
            for e, variable in tables(container.get("env")):
                value = text(variable.get("value")).strip().lower()
                if _STORE.search(scalar(variable.get("name"))) and value in _LOCAL:
                    yield Hit(
                        pods.document,
                        (*path, "env", e, "value"),
                        f"{pods.name} keeps sessions in {value} ({variable.get('name')})",
                        why=lost,
                        key=True,
                    )


@rule(
    "STA003",
    "warning",
    "A service on a node's or one pod's disk",
    why="A hostPath is another directory on every node; a ReadWriteOnce volume is mounted by one node only.",
    fix="Keep what pods share in the database, the cache or object storage.",
    source="kubernetes.io docs, volumes and access modes",
    bad="volumes: [{name: data, hostPath: {path: /data}}]",
    good="volumes: []",
)
def local_disk(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    claims = {(one.namespace, one.name): one for one in fleet.of_kind("PersistentVolumeClaim")}
    for pods in estate.pods:
        count = estate.count(pods).count
        if pods.kind not in ("Deployment", "ReplicaSet", "CloneSet", "Rollout") or count < 2:
            continue
        for i, volume in tables(pods.spec.get("volumes")):
            path: KeyPath = (*pods.spec_path, "volumes", i)
            host = text(table(volume.get("hostPath")).get("path"))
            if host and not host.startswith(_SYSTEM_PATHS):
                yield Hit(
                    pods.document,
                    path,
                    f"{pods.name}: {count} pods use the directory {host} of whatever node they are on",
                    why="Each node has its own: a pod that moves finds an empty directory, and new nodes of the sale have none.",
                    key=True,
                )
            name = text(table(volume.get("persistentVolumeClaim")).get("claimName"))
            claim = claims.get((pods.namespace, name))
            modes = claim.at("spec", "accessModes") if claim else None
            if (
                isinstance(modes, list)
                and modes
                and not {"ReadWriteMany", "ReadOnlyMany"} & {scalar(one) for one in modes}
            ):
                yield Hit(
                    pods.document,
                    path,
                    f"{pods.name}: {count} pods share the claim {name}, which one node may mount ({scalar(modes[0])})",
                    why="Pods on other nodes wait in ContainerCreating: the service runs on one node, whatever size "
                    "the sale asks for.",
                    severity="error",
                    key=True,
                )


def _counts(fleet: Fleet, behind: list[Pods]) -> str:
    return f"{sum(estate_of(fleet).count(one).count for one in behind):,}" if behind else "other"
