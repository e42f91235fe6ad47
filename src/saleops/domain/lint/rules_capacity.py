"""Rules for room: whether the pods that are asked for fit the nodes that may exist, with all zones and without one."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from saleops.domain.capacity import HEADROOM, allocatable
from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import PodCount, Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.node_pools import NodePool, node_pools
from saleops.domain.lint.plain_values import cpu_m, memory_mib, table, tables, text, whole
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.rules_pdb import SCALED

_ZONE_KEYS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")


@dataclass(frozen=True)
class _Need:
    pods: Pods
    asked: PodCount
    cpu_m: int
    memory_mib: int

    @property
    def total_cpu_m(self) -> int:
        return self.asked.count * self.cpu_m


@rule(
    "RES001",
    "error",
    "More pods than the nodes have room for",
    why="Pods that do not fit stay Pending: the scaler says it has done its work, and the sale runs on what fitted.",
    fix="Raise the pool's maximum, take larger nodes, or ask for fewer pods.",
    source="kubernetes.io docs, scheduling; node sizes of ECS less what a kubelet keeps",
    bad="targetSize: 100 at 2 cores each, 10 nodes of 8 cores",
    good="targetSize: 100 at 500m each, 10 nodes of 8 cores",
)
def no_room(fleet: Fleet) -> Iterator[Hit]:
    pools = node_pools(fleet)
    needs = list(_needs(fleet))
    if not pools or not needs:
        return
    sizes = [(one, one.smallest, one.most_nodes) for one in pools]
    room_cpu = room_memory = nodes = 0
    for _, smallest, most in sizes:
        if smallest is None or not most or most < 0:
            return  # a pool of unknown size: nothing can be said
        cpu, memory = allocatable(smallest)
        room_cpu, room_memory, nodes = (
            room_cpu + most * cpu,
            room_memory + most * memory,
            nodes + most,
        )
    wanted_cpu = sum(one.total_cpu_m for one in needs)
    wanted_memory = sum(one.asked.count * one.memory_mib for one in needs)
    if wanted_cpu <= room_cpu and wanted_memory <= room_memory:
        return
    heaviest = max(needs, key=lambda one: (one.total_cpu_m, one.asked.count * one.memory_mib))
    short = []
    if wanted_cpu > room_cpu:
        short.append(f"{_cores(wanted_cpu - room_cpu)} cores")
    if wanted_memory > room_memory:
        short.append(f"{(wanted_memory - room_memory) / 1024:,.1f} GiB")
    lost = (
        ceil((wanted_cpu - room_cpu) / heaviest.cpu_m)
        if wanted_cpu > room_cpu and heaviest.cpu_m
        else ceil((wanted_memory - room_memory) / max(heaviest.memory_mib, 1))
    )
    yield Hit(
        heaviest.asked.document,
        heaviest.asked.path,
        f"{heaviest.asked.why}, and {nodes} nodes are the most there may be: {' and '.join(short)} are missing",
        why=f"All pods ask for {_cores(wanted_cpu)} cores and {wanted_memory / 1024:,.1f} GiB; {nodes} nodes "
        f"({', '.join(_pool(one) for one in pools)}) have {_cores(room_cpu)} cores and {room_memory / 1024:,.1f} GiB "
        "for them. About "
        f"{min(lost, heaviest.asked.count)} of {heaviest.asked.count} pods of {heaviest.pods.name} stay Pending.",
        key=True,
    )


@rule(
    "RES002",
    "warning",
    "A zone that fails takes too much with it",
    why="Without a spread over zones all pods of a service may sit in one; with one, what is left has to carry the peak.",
    fix="Write topologySpreadConstraints over topology.kubernetes.io/zone with maxSkew: 1, and pods for the peak without a zone.",
    source="kubernetes.io docs, topology spread constraints",
    bad="10 replicas and no topologySpreadConstraints",
    good="topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, ...}]",
)
def zone_loss(fleet: Fleet) -> Iterator[Hit]:
    estate, sale = estate_of(fleet), fleet.sale
    of_service: dict[tuple[str, str], list[PodCount]] = {}  # a service may be several workloads
    zones = max((one.vswitches or 0 for one in node_pools(fleet)), default=0) or 3
    for pods in estate.pods:
        if pods.kind not in SCALED or pods.partial or not estate.services_of(pods):
            continue
        count = estate.count(pods).count
        if count < 2:
            continue
        if not _spread(pods):
            yield Hit(
                pods.document,
                pods.spec_path,
                f"{pods.name}: {count} pods and nothing that spreads them over zones",
                why=f"The scheduler may put all {count} into one zone; when it fails, 0 of {count} are left. Spread "
                f"over {zones} zones, "
                f"{count - ceil(count / zones)} would be.",
                key=True,
            )
            continue
        name = estate.sale_name(pods)
        if name:
            of_service.setdefault((pods.namespace, name), []).append(
                estate.count(pods, with_sale=False)
            )
    if sale is None or zones < 2:
        return
    for (_, name), asked in of_service.items():
        each, planned = float(sale.rps_per_pod.get(name, 0)), int(sale.pods.get(name, 0))
        if each <= 0 or planned < 2:
            continue
        # The plan has the peak's pods with a quarter of headroom, or those that are left without a zone: the smaller is sure.
        least = min(ceil(planned / (1 + HEADROOM)), planned - ceil(planned / zones))
        left = sum(one.count - ceil(one.count / zones) for one in asked)
        if left < least:
            largest = max(asked, key=lambda one: one.count)
            together = " and ".join(one.why for one in asked)
            yield Hit(
                largest.document,
                largest.path,
                f"{name}: {together}; over {zones} zones that leaves {left} without one, and the peak needs {least}",
                why=f"{left} x {each:g} = {left * each:,.0f} a second of {least * each:,.0f} at the peak: "
                f"{(least - left) * each:,.0f} requests a second fail until nodes elsewhere are up.",
                fix=f"Let it go up to {planned} pods, as the sale's plan has it.",
                key=True,
            )


@rule(
    "RES003",
    "warning",
    "A container that does not say what it needs",
    why="Without requests the scheduler packs blindly and the autoscaler buys no node; an HPA by utilization has "
    "nothing to divide by.",
    fix="Write resources.requests for cpu and memory, and resources.limits.memory.",
    source="kubernetes.io docs, resource management and HPA",
    bad="resources: {}",
    good="resources: {requests: {cpu: 500m, memory: 512Mi}, limits: {memory: 512Mi}}",
)
def no_requests(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for pods in estate.pods:
        if not pods.long_running:
            continue
        scaled_by = [name for one in estate.hpas_of(pods) for name in _utilized(one.at("spec"))]
        for path, container in pods.containers():
            if not text(container.get("image")):
                continue  # a patch: what it patches may say it
            resources = table(container.get("resources"))
            requests, limits = table(resources.get("requests")), table(resources.get("limits"))
            missing = [
                one
                for one, read in (("cpu", cpu_m), ("memory", memory_mib))
                if read(requests.get(one)) is None and read(limits.get(one)) is None
            ]
            unlimited = memory_mib(limits.get("memory")) is None
            if not missing and not unlimited:
                continue
            said = [f"no requests for {' and '.join(missing)}"] if missing else []
            said += ["no limit for memory"] if unlimited else []
            blind = [one for one in missing if one in scaled_by]
            count = estate.count(pods).count
            at: KeyPath = (*path, "resources")
            yield Hit(
                pods.document,
                at,
                f"{pods.name}: container {text(container.get('name')) or '?'} has {', '.join(said)}"
                + (f", and an HPA scales it by {blind[0]}" if blind else ""),
                why=f"The HPA has nothing to divide by and never scales: {pods.name} keeps the pods it has."
                if blind
                else f"{count} pods count as nothing: no node is bought for them, and they crowd those that others reserved."
                if missing
                else "One pod that leaks takes its node's memory, and the kernel kills its neighbours.",
                severity="error" if blind else "warning",
                key=True,
            )


def _needs(fleet: Fleet) -> Iterator[_Need]:
    estate = estate_of(fleet)
    for pods in estate.distinct:
        if pods.kind not in SCALED:
            continue
        cpu = memory = 0
        for _, container in pods.containers():
            resources = table(container.get("resources"))
            requests, limits = table(resources.get("requests")), table(resources.get("limits"))
            cpu += cpu_m(requests.get("cpu", limits.get("cpu"))) or 0
            memory += memory_mib(requests.get("memory", limits.get("memory"))) or 0
        asked = estate.count(pods)
        if asked.count > 0 and (cpu or memory):
            yield _Need(pods, asked, cpu, memory)


def _spread(pods: Pods) -> bool:
    for _, one in tables(pods.spec.get("topologySpreadConstraints")):
        if one.get("topologyKey") in _ZONE_KEYS:
            return True
    anti = table(table(pods.spec.get("affinity")).get("podAntiAffinity"))
    terms = [
        table(one.get("podAffinityTerm", one)) for rows in anti.values() for _, one in tables(rows)
    ]
    return any(one.get("topologyKey") in _ZONE_KEYS for one in terms)


def _utilized(spec: object) -> Iterator[str]:
    """The resources that an HPA scales by as a share of requests."""
    body = table(spec)
    if whole(body.get("targetCPUUtilizationPercentage")) is not None:
        yield "cpu"
    for _, metric in tables(body.get("metrics")):
        resource = table(metric.get("resource"))
        if metric.get("type") == "Resource" and (
            table(resource.get("target")).get("type") == "Utilization"
            or resource.get("targetAverageUtilization") is not None
        ):
            yield text(resource.get("name"))


def _pool(pool: NodePool) -> str:
    smallest = pool.smallest
    return f"{pool.name}: {pool.most_nodes} x {smallest.name if smallest else '?'}"


def _cores(millicores: int) -> str:
    return f"{millicores / 1000:,.1f}"
