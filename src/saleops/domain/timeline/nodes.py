"""Where pods fit: nodes of pools, filled first fit, bought when pods wait and given back when they stand empty."""

from dataclasses import dataclass, field

from saleops.domain.timeline.model import Pool, Service


@dataclass(slots=True)
class Node:
    """``held`` counts pods by service. Before ``ready`` they only have their room kept."""

    pool: Pool
    number: int
    cpu_m: int
    memory_mib: int
    pods: int
    ready: bool = True
    empty_since: int | None = 0
    held: dict[str, int] = field(default_factory=dict)

    def fits(self, service: Service) -> int:
        if service.on_demand and self.pool.spot:
            return 0
        return max(
            0,
            min(
                self.cpu_m // service.cpu_m if service.cpu_m else self.pods,
                self.memory_mib // service.memory_mib if service.memory_mib else self.pods,
                self.pods,
            ),
        )

    def take(self, service: Service, pods: int) -> None:
        self.cpu_m -= pods * service.cpu_m
        self.memory_mib -= pods * service.memory_mib
        self.pods -= pods
        left = self.held.get(service.name, 0) + pods
        if left:
            self.held[service.name] = left
        else:
            self.held.pop(service.name, None)


class Nodes:
    """All nodes of a cluster. Without pools there is room for everything and no node."""

    def __init__(self, pools: tuple[Pool, ...]) -> None:
        self.pools = pools
        self.unlimited = not pools
        self._only_spot = all(pool.spot for pool in pools)
        self._numbers = 0
        self.nodes = [self._node(pool) for pool in pools for _ in range(pool.desired)]

    def _node(self, pool: Pool, *, ready: bool = True) -> Node:
        self._numbers += 1
        return Node(pool, self._numbers, pool.cpu_m, pool.memory_mib, pool.pods, ready)

    @property
    def count(self) -> int:
        return sum(node.ready for node in self.nodes)

    def place(self, service: Service, pods: int) -> int:
        """Put as many of ``pods`` on nodes that are there as fit; returns how many."""
        if self.unlimited or (service.on_demand and self._only_spot):
            return pods  # the nodes where they are were not read
        placed = 0
        for node in self.nodes:
            if placed == pods:
                break
            if node.ready and (fits := min(node.fits(service), pods - placed)):
                node.take(service, fits)
                node.empty_since = None
                placed += fits
        return placed

    def promise(self, service: Service, pods: int) -> list[Node]:
        """Keep room for ``pods`` that wait on nodes that boot; buy nodes for the rest while pools may grow. The new ones."""
        bought: list[Node] = []
        for node in self.nodes:
            if pods and not node.ready and (fits := min(node.fits(service), pods)):
                node.take(service, fits)
                pods -= fits
        for pool in self.pools:
            while pods and pool.scales and self._size(pool) < pool.high:
                node = self._node(pool, ready=False)
                fits = min(node.fits(service), pods)
                if not fits:
                    break
                node.take(service, fits)
                pods -= fits
                self.nodes.append(node)
                bought.append(node)
        return bought

    def promised(self, service: str) -> int:
        return sum(node.held.get(service, 0) for node in self.nodes if not node.ready)

    def forgo(self, service: Service, pods: int) -> None:
        """Waiting pods are no longer wanted: give their room on booting nodes back."""
        for node in reversed(self.nodes):
            if pods and not node.ready and (kept := min(node.held.get(service.name, 0), pods)):
                node.take(service, -kept)
                pods -= kept

    def release(self, service: Service, pods: int, second: int) -> list[Node]:
        """Take ``pods`` off nodes, the last ones first; returns the nodes that are empty now."""
        emptied: list[Node] = []
        if self.unlimited:
            return emptied
        for node in reversed(self.nodes):
            if not pods:
                break
            if node.ready and (off := min(node.held.get(service.name, 0), pods)):
                node.take(service, -off)
                pods -= off
                if not node.held:
                    node.empty_since = second
                    emptied.append(node)
        return emptied

    def may_go(self, node: Node, second: int) -> bool:
        """Whether an autoscaler gives the node back now: empty for long enough, and its pool above its min."""
        return (
            node in self.nodes
            and node.pool.scales
            and node.ready
            and node.empty_since is not None
            and second - node.empty_since >= node.pool.unneeded_s
            and self._size(node.pool) > node.pool.low
        )

    def remove(self, node: Node) -> None:
        self.nodes = [one for one in self.nodes if one is not node]

    def lost(self, share: float) -> list[Node]:
        """Which nodes a reclaim takes: ``share`` of the spot ones, rounded up, evenly over them."""
        here = [node for node in self.nodes if node.ready]
        spot = [node for node in here if node.pool.spot] or here
        count = -int(-len(spot) * share // 1)
        return [spot[number * len(spot) // count] for number in range(min(count, len(spot)))]

    def _size(self, pool: Pool) -> int:
        return sum(node.pool is pool for node in self.nodes)
