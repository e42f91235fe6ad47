"""How big a sale's cluster has to be: pods, nodes, addresses and database connections, from its own figures.

Everything is rounded up. A service gets enough pods for its peak with headroom to spare, and enough that the peak is still
carried while the zone with the most of its pods is gone: the larger of the two counts, not their product, because nobody
plans for a failed zone and a wrong forecast in the same second. Nodes are counted by packing one zone's pods, biggest
first, into what a node really has to offer. Each figure comes with a line that says where it is from.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

SERVICES = ("catalog", "order", "payment", "shipping")
"""What every sale runs. A gateway in the cloud is the load balancer's own; a sale file may size one of ours."""

HEADROOM = 0.25
"""Share of the peak that is planned on top of it: a forecast is never exact."""

SURGE = 0.25
"""Share of pods that exist twice while a Deployment rolls: Kubernetes' own default for maxSurge."""

FALLBACK_RPS = 100.0
"""What a pod is taken to serve when the sale file does not say: low on purpose, and said in a note."""

SYSTEM_PODS_PER_NODE = 6
"""Addresses for what runs on every node or for all of them: agents, DNS, controllers."""

_SIZES = {"large": 2, "xlarge": 4}
_MULTIPLE = re.compile(r"([0-9]+)xlarge")
_GIB_PER_VCPU = {"c": 2, "g": 4, "r": 8}
_UNITS = {"Ki": Fraction(1, 1024 * 1024), "Mi": Fraction(1, 1024), "Gi": Fraction(1)}


@dataclass(frozen=True, slots=True)
class InstanceType:
    """What a node of this type has, before anything is taken off. ``pod_addresses`` is what Terway can give to pods."""

    name: str
    vcpus: int
    memory_gib: int
    pod_addresses: int


@dataclass(frozen=True, slots=True)
class Service:
    """``rps`` is the peak; ``rps_per_pod`` 0 means nobody measured it."""

    name: str
    rps: float
    rps_per_pod: float = 0.0
    cpu_m: int = 1000
    memory_mib: int = 1024
    connections_per_pod: int = 1


@dataclass(frozen=True, slots=True)
class ServicePods:
    service: str
    pods: int
    survives_zone_loss: bool
    why: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """The plan. ``nodes`` are all nodes, ``core_nodes`` those of them that are never spot; addresses are those of one zone."""

    zones: int
    services: tuple[ServicePods, ...]
    pods: int
    nodes: int
    core_nodes: int
    pods_per_node: int
    node_addresses: int
    pod_addresses: int
    connections: int
    connections_limit: int
    why: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def burst_nodes(self) -> int:
        return self.nodes - self.core_nodes


def instance_type(name: str) -> InstanceType:
    """What the name of an ECS type says: the family's memory for each vCPU, the size's vCPUs.

    Addresses for pods are the least that current families of that size have, network interfaces but the first times
    their addresses; the service itself knows better (DescribeInstanceTypes). Raises ValueError for a name that says nothing.
    """
    parts = name.split(".")
    family = re.match(r"[a-z]+", parts[1]) if len(parts) == 3 else None
    multiple = _MULTIPLE.fullmatch(parts[2]) if family else None
    vcpus = int(multiple[1]) * 4 if multiple else _SIZES.get(parts[-1], 0)
    if family is None or not vcpus or family[0][0] not in _GIB_PER_VCPU:
        raise ValueError(f"{name} does not say how many vCPUs and how much memory it has")
    interfaces, each = (
        (2, 6) if vcpus <= 2 else (3, 10) if vcpus <= 4 else (4, 10) if vcpus <= 8 else (8, 20)
    )
    return InstanceType(name, vcpus, vcpus * _GIB_PER_VCPU[family[0][0]], (interfaces - 1) * each)


def allocatable(node: InstanceType) -> tuple[int, int]:
    """(millicores, MiB) of ``node`` that are left for a sale's pods.

    Taken off: what a kubelet keeps for itself and the system (of the cores 6 % of the first, 1 % of the second, 0.5 % of the next
    two, 0.25 % of the rest; of the memory 25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 % of the rest),
    and 400 m and 512 MiB for the agents on every node. Our own estimate, on the careful side.
    """
    kept_m, cores_left = Fraction(0), node.vcpus
    for cores, kept_each in (
        (1, Fraction(60)),
        (1, Fraction(10)),
        (2, Fraction(5)),
        (1 << 20, Fraction(5, 2)),
    ):
        here = min(cores_left, cores)
        kept_m += here * kept_each
        cores_left -= here
    kept_mib, left = Fraction(0), Fraction(node.memory_gib * 1024)
    for size_gib, percent in ((4, 25), (4, 20), (8, 10), (1 << 20, 6)):
        here_mib = min(left, Fraction(size_gib * 1024))
        kept_mib += here_mib * percent / 100
        left -= here_mib
    return node.vcpus * 1000 - ceil(kept_m) - 400, node.memory_gib * 1024 - ceil(kept_mib) - 512


def cpu_m(text: str) -> int:
    """Millicores of a Kubernetes CPU request: "1", "0.5", "500m"."""
    return int(text[:-1]) if text.endswith("m") else ceil(Fraction(text) * 1000)


def memory_mib(text: str) -> int:
    """MiB of a Kubernetes memory request: "512Mi", "1Gi"."""
    return ceil(int(text[:-2]) * _UNITS[text[-2:]] * 1024)


def split_peak(
    peak_rps: float, orders_per_s: float | None, views_per_order: float
) -> tuple[float, float]:
    """(orders, page views) a second at the peak: what the sale file says, else its funnel's share of all requests."""
    orders = orders_per_s if orders_per_s is not None else peak_rps / (views_per_order + 1)
    orders = min(orders, peak_rps)
    return orders, peak_rps - orders


def pods_for(service: Service, zones: int, *, headroom: float = HEADROOM) -> ServicePods:
    """The pods of one service: for the peak with headroom, for the peak without a zone, two at least and one a zone."""
    each = Fraction(service.rps_per_pod or FALLBACK_RPS)
    at_peak = ceil(Fraction(service.rps) / each)
    with_headroom = ceil(Fraction(service.rps) * (1 + Fraction(headroom)) / each)
    pods = max(with_headroom, 2, zones)
    reason = f"{service.rps:,.0f}/s over {float(each):,.0f} a pod is {at_peak}, with {headroom:.0%} headroom {with_headroom}"
    if zones > 1:
        while pods - ceil(Fraction(pods, zones)) < at_peak:
            pods += 1
        reason += f"; without one of {zones} zones {pods - ceil(Fraction(pods, zones))} are left"
    return ServicePods(service.name, pods, zones > 1, f"{service.name}: {pods} pods ({reason})")


def plan_capacity(
    services: Sequence[Service],
    *,
    zones: int,
    node_types: Sequence[InstanceType],
    core_share: float = 0.0,
    connections_limit: int = 0,
    headroom: float = HEADROOM,
) -> Capacity:
    """The whole plan for ``zones`` zones. Nodes are counted for the smallest of ``node_types``: any of them may be bought.

    ``core_share`` is the share of the nodes that are bought on demand for good. Raises ValueError when a pod fits no node.
    """
    if zones < 1 or not node_types:
        raise ValueError("a cluster has a zone and a node type")
    sized = tuple(pods_for(one, zones, headroom=headroom) for one in services)
    counts = {one.service: one.pods for one in sized}
    smallest = min(node_types, key=lambda one: (allocatable(one), one.name))
    cpu, memory = allocatable(smallest)
    in_a_zone = [
        (one.cpu_m, one.memory_mib, one.name)
        for one in services
        for _ in range(ceil(Fraction(counts[one.name], zones)))
    ]
    room = smallest.pod_addresses - SYSTEM_PODS_PER_NODE
    bins = _pack(in_a_zone, cpu=cpu, memory=memory, room=room)
    nodes = len(bins) * zones
    core = min(nodes, max(zones, ceil(nodes * Fraction(core_share))))
    pods = sum(counts.values())
    node_addresses = ceil(Fraction(nodes, zones) * (1 + Fraction(SURGE))) + len(services)
    pod_addresses = ceil(len(in_a_zone) * (1 + Fraction(SURGE))) + len(bins) * SYSTEM_PODS_PER_NODE
    if zones > 1:  # the pods of a zone that is gone come back in the others
        pod_addresses = ceil(Fraction(pod_addresses * zones, zones - 1))
        node_addresses = ceil(Fraction(node_addresses * zones, zones - 1))
    connections = sum(one.connections_per_pod * counts[one.name] for one in services)
    rolling = ceil(connections * (1 + Fraction(SURGE)))
    fullest = max((len(one) for one in bins), default=0)
    notes = [
        f"{one.name}: nobody said what a pod serves (services.{one.name}.rps_per_pod); planned with {FALLBACK_RPS:g} a second"
        for one in services
        if not one.rps_per_pod
    ]
    if connections_limit and rolling > connections_limit:
        notes.append(
            f"database connections: {rolling:,} while pods roll, the limit is {connections_limit:,}: "
            f"{rolling - connections_limit:,} too many"
        )
    if zones == 1:
        notes.append("one zone: when it fails, the sale is over")
    return Capacity(
        zones=zones,
        services=sized,
        pods=pods,
        nodes=nodes,
        core_nodes=core,
        pods_per_node=fullest,
        node_addresses=node_addresses,
        pod_addresses=pod_addresses,
        connections=connections,
        connections_limit=connections_limit,
        why=(
            *(one.why for one in sized),
            f"nodes: {len(bins)} in each of {zones} zones, at most {fullest} of our pods on one {smallest.name} "
            f"({cpu} m and {memory:,} MiB of it are ours, {room} addresses)",
            f"core: {core} nodes on demand for good, one a zone at least; burst: {nodes - core}",
            f"addresses in a zone: {pod_addresses} for pods, {node_addresses} for nodes, with {SURGE:.0%} for a rollout"
            + (" and the pods of a lost zone" if zones > 1 else ""),
            f"database connections: {connections:,}, {rolling:,} while pods roll"
            + (f", of {connections_limit:,}" if connections_limit else ""),
        ),
        notes=tuple(notes),
    )


def _pack(
    pods: Sequence[tuple[int, int, str]], *, cpu: int, memory: int, room: int
) -> list[list[str]]:
    """First fit, the biggest pods first: within 11/9 of the best there is, and a scheduler does no better."""
    nodes: list[tuple[int, int, list[str]]] = []
    for pod_cpu, pod_memory, name in sorted(pods, reverse=True):
        if pod_cpu > cpu or pod_memory > memory or room < 1:
            raise ValueError(
                f"a pod of {name} wants {pod_cpu} m and {pod_memory:,} MiB; a node has {cpu} m, {memory:,} MiB and room "
                f"for {max(room, 0)} pods of ours"
            )
        for number, (cpu_left, memory_left, held) in enumerate(nodes):
            if pod_cpu <= cpu_left and pod_memory <= memory_left and len(held) < room:
                held.append(name)
                nodes[number] = (cpu_left - pod_cpu, memory_left - pod_memory, held)
                break
        else:
            nodes.append((cpu - pod_cpu, memory - pod_memory, [name]))
    return [held for _, _, held in nodes]


def services_of(
    peak_rps: float,
    orders_per_s: float | None,
    views_per_order: float,
    sizes: Mapping[str, Service],
) -> list[Service]:
    """The services of a sale with the load each has at the peak; ``sizes`` are those the sale file names (``rps`` unused)."""
    orders, views = split_peak(peak_rps, orders_per_s, views_per_order)
    loads = {"catalog": views, "gateway": peak_rps}
    names = (*SERVICES, *sorted(sizes.keys() - set(SERVICES)))
    planned = []
    for name in names:
        size = sizes.get(name) or Service(name, 0.0)
        planned.append(
            Service(
                name,
                loads.get(name, orders),
                size.rps_per_pod,
                size.cpu_m,
                size.memory_mib,
                size.connections_per_pod,
            )
        )
    return planned
