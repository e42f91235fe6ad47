"""Kubeconfigs: well formed, for a server that is not there, valid for as long as was asked."""

import base64
import hashlib
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_calls import cluster_of, iso, wrong
from saleops.services.cloud.world import Thing, World

SHORTEST_MIN, LONGEST_MIN = 15, 4320
_FOREVER_MS = 3 * 365 * 86_400_000


@answers("cs", "DescribeClusterUserKubeconfig")
def describe_cluster_user_kubeconfig(call: LocalCall, world: World) -> dict[str, Any]:
    return _kubeconfig(call, world)


def _kubeconfig(call: LocalCall, world: World) -> dict[str, Any]:
    minutes = call.params.get("TemporaryDurationMinutes")
    if minutes is not None and not SHORTEST_MIN <= minutes <= LONGEST_MIN:
        raise wrong("TemporaryDurationMinutes", minutes, f"{SHORTEST_MIN} to {LONGEST_MIN} minutes")
    lasts_ms = minutes * 60_000 if minutes is not None else _FOREVER_MS
    expires_ms = world.now_ms() + lasts_ms
    return {"config": _config(call, world, expires_ms), "expiration": iso(expires_ms)}


@answers("cs", "DescribeClusterV2UserKubeconfig")
def describe_cluster_v2_user_kubeconfig(call: LocalCall, world: World) -> dict[str, Any]:
    return {"config": _kubeconfig(call, world)["config"]}


def _config(call: LocalCall, world: World, expires_ms: int) -> str:
    cluster = cluster_of(call, world)
    state = world.state(cluster)
    if state != "running":
        raise ApiError(
            400,
            "IncorrectStatus.Cluster",
            f"ClusterId {cluster.id!r} is {state}; there is a kubeconfig once it runs",
        )
    private = bool(call.params.get("PrivateIpAddress"))
    address = cluster.data["private_address" if private else "public_address"]
    if not address:
        raise ApiError(
            400,
            "ErrorNoPublicEndpoint",
            f"PrivateIpAddress {private}: cluster {cluster.id!r} has no public endpoint; send PrivateIpAddress=true",
        )
    user = f"user-{world.account}"
    return "\n".join(
        [
            "apiVersion: v1",
            "kind: Config",
            "clusters:",
            "- name: kubernetes",
            "  cluster:",
            f"    server: https://{address}:6443",
            f"    certificate-authority-data: {_block('CERTIFICATE', world, cluster, 'ca')}",
            "contexts:",
            f"- name: {user}-{cluster.id}",
            "  context:",
            "    cluster: kubernetes",
            f"    user: {user}",
            f"current-context: {user}-{cluster.id}",
            "users:",
            f"- name: {user}",
            "  user:",
            f"    client-certificate-data: {_block('CERTIFICATE', world, cluster, f'client {expires_ms}')}",
            f"    client-key-data: {_block('RSA PRIVATE KEY', world, cluster, f'key {expires_ms}')}",
            "",
        ]
    )


def _block(label: str, world: World, cluster: Thing, about: str) -> str:
    """Something of the form of a PEM block: it opens nothing, as there is no server behind it."""
    content = base64.b64encode(
        hashlib.sha512(f"{world.seed} {cluster.id} {about}".encode()).digest()
    ).decode()
    return base64.b64encode(
        f"-----BEGIN {label}-----\n{content}\n-----END {label}-----\n".encode()
    ).decode()
