"""A Redis Cluster of real servers on loopback: three masters, each with a replica where a test needs one.

Nodes notice each other's death after NODE_TIMEOUT_MS, so that a failover takes about three seconds.
"""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import redis

from servers import START_TIMEOUT_S, RedisServer, ValkeyServer, free_port

NODE_TIMEOUT_MS = 1000
SLOTS = 16_384
MASTERS = 3


class _ClusterNode(RedisServer):
    """One server in cluster mode. Its bus port is told, because port + 10000 may be none."""

    full_coverage = True

    def __init__(self) -> None:
        super().__init__()
        self.bus_port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def listen(self) -> list[str]:
        return ["--bind", "127.0.0.1", "--port", str(self.port), "--loglevel", "notice"]

    def command(self) -> Sequence[str]:
        coverage = "yes" if self.full_coverage else "no"
        return [
            *super().command(),
            *["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)],
            *[
                "--cluster-node-timeout",
                str(NODE_TIMEOUT_MS),
                "--cluster-replica-validity-factor",
                "0",
            ],
            *["--cluster-require-full-coverage", coverage, "--repl-diskless-sync-delay", "0"],
        ]

    def ask(self, *command: Any) -> Any:
        with redis.Redis(port=self.port, socket_timeout=10) as client:
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, Any]:
        with redis.Redis(port=self.port, socket_timeout=10) as client:
            found: dict[str, Any] = client.info(section)
            return found

    @property
    def id(self) -> str:
        return str(_text(self.ask("CLUSTER MYID")))


class _ValkeyNode(_ClusterNode):
    """The embedded Valkey's binary in cluster mode."""

    def binary(self) -> str:
        return ValkeyServer.binary(self)  # type: ignore[arg-type]  # it looks at nothing of its self


class RedisCluster:
    """Three masters that share the slots evenly."""

    def __init__(
        self, *, replicas: bool = False, valkey: bool = False, full_coverage: bool = True
    ) -> None:
        kind = _ValkeyNode if valkey else _ClusterNode
        self.masters: list[_ClusterNode] = [kind() for _ in range(MASTERS)]
        self.replicas: list[_ClusterNode] = [kind() for _ in range(MASTERS if replicas else 0)]
        for node in self.nodes:
            node.full_coverage = full_coverage

    @property
    def nodes(self) -> list[_ClusterNode]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.masters)

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        first = self.masters[0]
        bounds = [SLOTS * i // MASTERS for i in range(MASTERS + 1)]
        for epoch, (node, (low, high)) in enumerate(
            zip(self.masters, pairwise(bounds), strict=True), start=1
        ):
            node.ask("CLUSTER SET-CONFIG-EPOCH", epoch)
            node.ask("CLUSTER ADDSLOTSRANGE", low, high - 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER MEET", "127.0.0.1", first.port, first.bus_port)
        count = len(self.nodes)
        self.wait_for(lambda: all(_known(node) == count for node in self.nodes))
        for master, replica in zip(self.masters, self.replicas, strict=False):
            replica.ask("CLUSTER REPLICATE", master.id)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Until every node that runs finds the cluster served, and every replica is in step with its master."""
        self.wait_for(lambda: all(_is_well(node) for node in self.nodes if node.is_running))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the cluster is not ready: {self.masters[0].ask('CLUSTER INFO')}"
                )
            time.sleep(0.02)

    def owner_of(self, slot: int) -> _ClusterNode:
        """Who holds ``slot`` now, as the nodes that run say."""
        asked = next(node for node in self.nodes if node.is_running)
        for first, last, server, *_ in asked.ask("CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == server[1])
        raise AssertionError(f"nobody serves slot {slot}")

    def migrate(
        self, slot: int, to: _ClusterNode, *, step: Callable[[str], None] = lambda _: None
    ) -> None:
        """Move ``slot`` the way a reshard does, key by key. ``step`` is called after each, with what was done."""
        source = self.owner_of(slot)
        assert source is not to
        to.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", to.id)
        step("marked")
        while keys := source.ask("CLUSTER GETKEYSINSLOT", slot, 1):
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
            step("moved a key")
        step("moved")
        for node in (to, source, *[n for n in self.masters if n not in (to, source)]):
            if node.is_running:
                node.ask("CLUSTER SETSLOT", slot, "NODE", to.id)

    def errors(self, kind: str) -> int:
        """How often the nodes have answered ``kind`` ("MOVED", "ASK") since they were emptied."""
        found = [node.info("errorstats") for node in self.nodes if node.is_running]
        return sum(int(one.get(f"errorstat_{kind}", {}).get("count", 0)) for one in found)

    def empty(self) -> None:
        """Forget all keys and scripts, so that each test starts on a fresh cluster."""
        for node in self.masters:
            node.empty()

    def close(self) -> None:
        for node in self.nodes:
            node.close()


def _known(node: _ClusterNode) -> int:
    return int(_cluster_info(node)["cluster_known_nodes"])


def _is_well(node: _ClusterNode) -> bool:
    if _cluster_info(node)["cluster_state"] != "ok":
        return False
    replication = node.info("replication")
    return replication["role"] == "master" or replication["master_link_status"] == "up"


def _cluster_info(node: _ClusterNode) -> dict[str, str]:
    found = node.ask("CLUSTER INFO")
    if isinstance(found, dict):
        return found
    return dict(line.split(":", 1) for line in str(_text(found)).split("\r\n") if ":" in line)


def _text(reply: Any) -> Any:
    return reply.decode() if isinstance(reply, bytes) else reply
