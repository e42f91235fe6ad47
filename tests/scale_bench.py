"""A cluster (the API double) and its cloud (the local one) in one virtual time, for tests of ``saleops scale``.

    bench = ScaleBench(services={"order": 6}, pools={"core": 3, "burst": 6})
    bench.deploy("order", replicas=2)                # bench.hpa("order", low=2, high=4) beside it
    report = bench.up()                              # ScaledUp; bench.plan(), bench.status(), bench.down(), bench.hold(60)
    bench.cluster_writes / bench.cloud_writes        # what was sent, oldest first
    bench.port.marks                                 # how many calls the cluster had heard before each write to the cloud

Nodes that the cloud's pools make join the cluster when they are running, and go when they are gone. Waiting lets time pass on
both sides; ``bench.at(5, act)`` acts five seconds from now, in the middle of a wait.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from kube_double import START_MS, KubeDouble, kube_double
from local_cloud import AnswerLost, CloudRefusal, InProcessCloud, local_cloud
from saleops.adapters.aliyun_errors import error_of
from saleops.adapters.file_scale_journal import MemoryScaleJournal
from saleops.adapters.memory_cloud_journal import MemoryCloudJournal
from saleops.cloudapi import api_of
from saleops.domain.cloud.cache import Cache, CacheWishes
from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.cluster import Cluster, ClusterWishes
from saleops.domain.cloud.database import Database, DatabaseWishes
from saleops.domain.cloud.network import Vpc, VSwitch
from saleops.domain.cloud.nodepools import Disk, Login, NodePool, Pool, Spot
from saleops.domain.cloud.ours import Scope
from saleops.domain.cloud.resources import Found, Resource
from saleops.domain.lead_times import LeadTimes
from saleops.domain.scaling import WantedPods
from saleops.errors import CloudError
from saleops.events import Event
from saleops.operations.provision.courier import Courier
from saleops.operations.provision.survey import look_at
from saleops.operations.scale.down import ScaledDown, scale_down
from saleops.operations.scale.down_plan import DownPlan, plan_down
from saleops.operations.scale.gate import QueueState, before_it_opens, may_go_down
from saleops.operations.scale.hold import Held, hold
from saleops.operations.scale.looking import CloudSide
from saleops.operations.scale.plan import Looked, ScalePlanned, look, planned
from saleops.operations.scale.status import ScaleStatus, recorded, scale_status
from saleops.operations.scale.up import Means, ScaledUp, scale_up
from saleops.operations.scale.wanted import Wants
from saleops.services.kube_api.machines import Machine, feed_pool

ZONE = "ap-southeast-1a"
SHANGHAI = ZoneInfo("Asia/Shanghai")
SALE = "drop"
_WRITES = ("create", "update", "patch", "delete")


class PortCloud:
    """The local cloud in this process, as the ``Cloud`` port."""

    name = "the local cloud in this process"

    def __init__(self, cloud: InProcessCloud, clock: "BenchClock") -> None:
        self.cloud = cloud
        self.clock = clock
        self.region = cloud.region
        self.writes: list[Call] = []
        self.marks: list[int] = []  # how many calls the cluster had heard before each write
        self.mishap: Callable[[Call, str], None] = lambda call, phase: None

    def send(self, call: Call, *, token: str = "") -> Answer:
        api = api_of(call.product, call.api)
        self.mishap(call, "out")
        if not api.reads:
            self.writes.append(call)
            self.marks.append(len(self.clock.calls()))
        params = {name: one for name, one in call.params.items() if one is not None}
        if token and api.token:
            params[api.token] = token
        try:
            answer: Answer = self.cloud.call(
                call.product, call.api, params=params, path=call.path, body=call.body
            )
        except CloudRefusal as refused:
            document = refused.document if isinstance(refused.document, dict) else {}
            raise error_of(call, document, status=refused.status) from refused
        except AnswerLost as lost:
            raise CloudError("no answer", kind="unknown") from lost
        self.mishap(call, "back")
        return answer


class BenchClock:
    """One time for both sides. Sleeping is what lets it pass."""

    def __init__(self, bench: "ScaleBench") -> None:
        self._bench = bench

    def calls(self) -> list[dict[str, Any]]:
        return self._bench.kube.calls

    def now_ms(self) -> int:
        return self._bench.kube.api.time.now_ms()

    def sleep(self, seconds: float) -> None:
        self._bench.advance(max(seconds, 0.001))


@dataclass
class ScaleBench:
    services: Mapping[str, int] = field(default_factory=lambda: {"order": 6})
    pools: Mapping[str, int] = field(default_factory=dict)
    base: Mapping[str, int] = field(default_factory=dict)  # the pools' sizes before
    read_nodes: int | None = None
    shards: int | None = None
    opens_in_s: float = 2 * 3600
    lasts_s: float = 3600
    times: LeadTimes = field(default_factory=LeadTimes)
    node_cpu: str = "4"
    sale: str = SALE  # whose the wants are; the namespace stays
    journal: MemoryScaleJournal = field(default_factory=MemoryScaleJournal)
    events: list[Event] = field(default_factory=list)

    wrap: Callable[[Any], Any] = lambda cluster: cluster

    def __post_init__(self) -> None:
        self.kube: KubeDouble = kube_double()
        self.kube.make_namespace(SALE)
        self.cloud = local_cloud()
        self.clock = BenchClock(self)
        self.port = PortCloud(self.cloud, self.clock)
        self.cloud_journal = MemoryCloudJournal(wall_ms=lambda: 0)
        self.opens = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(
            seconds=self.opens_in_s
        )
        self._due: list[tuple[int, Callable[[], object]]] = []
        self.pool_ids: dict[str, str] = {}
        self.cluster_id = ""
        self.resources: tuple[Resource, ...] = ()
        self.in_use = bool(self.pools or self.read_nodes is not None or self.shards is not None)
        if self.in_use:
            self._build()
            skew_ms = self.cloud.time.now_ms() - self.kube.api.time.now_ms()
            self.opens += timedelta(milliseconds=skew_ms)
            self.kube.advance(skew_ms / 1000)
            self.feed()
            self.port.writes.clear()
            self._calls_before = len(self.kube.calls)

    # -- building --------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        """The sale's cloud at its size before the sale, made by the resources themselves."""
        scope = Scope(SALE, self.cloud.region)
        vpc = Vpc(scope, "10.0.0.0/16")
        node = VSwitch(scope, ZONE, "10.0.0.0/20", pods=False)
        pod = VSwitch(scope, ZONE, "10.0.16.0/20", pods=True)
        wishes = ClusterWishes("ack.pro.small", "172.16.0.0/16", deletion_protection=False)
        cluster = Cluster(scope, [ZONE], wishes)
        made: list[Resource] = [vpc, node, pod]
        wanted: list[Resource] = []
        if self.pools:
            wanted.append(cluster)
        for name, size in self.pools.items():
            pool = Pool(
                name, size, ("ecs.c7.xlarge",), Spot(0.0), Disk(), Login(password="Secret-123")
            )
            wanted.append(NodePool(scope, [ZONE], pool))
        if self.read_nodes is not None:
            db = DatabaseWishes("polar.mysql.x4.large", 1 + self.read_nodes, "8.0", ZONE)
            wanted.append(Database(scope, db))
        if self.shards is not None:
            wanted.append(Cache(scope, CacheWishes("tair.rdb.1g", self.shards, "7.0", ZONE)))
        found: dict[str, Found | None] = {}
        for resource in [*made, *wanted]:
            self._make(self._before(resource), found)
        self.resources = (*made, *wanted)

    def _before(self, resource: Resource) -> Resource:
        if isinstance(resource, NodePool):
            size = self.base.get(resource.pool.name, resource.pool.nodes)
            return NodePool(resource.scope, resource.zones, replace(resource.pool, nodes=size))
        if isinstance(resource, Database):
            return Database(
                resource.scope,
                replace(resource.wishes, nodes=self.base.get("database", resource.wishes.nodes)),
            )
        if isinstance(resource, Cache):
            return Cache(
                resource.scope,
                replace(resource.wishes, shards=self.base.get("cache", resource.wishes.shards)),
            )
        return resource

    def _make(self, resource: Resource, found: dict[str, Found | None]) -> None:
        from saleops.operations.provision.survey import Outputs

        class Known(Outputs):
            def __call__(self, key: str, output: str = "id") -> str:
                if key.startswith("security"):
                    return ""
                return super().__call__(key, output)

        call = resource.create(Known(found))
        if call.api == "CreateCluster":
            body = {k: v for k, v in (call.body or {}).items() if k != "security_group_id"}
            call = replace(call, body={**body, "is_enterprise_security_group": True})
        params = {name: one for name, one in call.params.items() if one is not None}
        self.cloud.call(call.product, call.api, params=params, path=call.path, body=call.body)
        self.cloud.advance(3_000)
        one = found[resource.key] = look_at(resource, found, self._read)
        assert one is not None, resource.key
        if isinstance(resource, NodePool):
            self.pool_ids[resource.pool.name] = one.outputs["id"]
        if isinstance(resource, Cluster):
            self.cluster_id = one.outputs["id"]

    def _read(self, call: Call) -> Answer:
        answer: Answer = self.cloud.call(
            call.product, call.api, params=call.params, path=call.path, body=call.body
        )
        return answer

    def feed(self) -> None:
        """The cluster's nodes are those of the cloud's pools that run."""
        for id in self.pool_ids.values():
            nodes = list(self.cloud.world.each("node", nodepool_id=id))
            machines = [
                Machine(
                    name=one.data["node_name"],
                    cpu=self.node_cpu,
                    provider_id=f"{self.cloud.region}.{one.id}",
                )
                for one in nodes
                if self.cloud.world.state(one) in ("running", "removing")
            ]
            feed_pool(self.kube.api, id, machines)

    def advance(self, seconds: float) -> None:
        """Second by second, so that what is due happens when it is."""
        left_ms = round(seconds * 1000)
        while left_ms > 0:
            step_ms = min(1000, left_ms)
            left_ms -= step_ms
            if self.in_use:
                self.cloud.advance(step_ms / 1000)
                self.feed()
            self.kube.advance(step_ms / 1000)
            now_ms = self.clock.now_ms()
            due = [act for at_ms, act in self._due if at_ms <= now_ms]
            self._due = [one for one in self._due if one[0] > now_ms]
            for act in due:
                act()

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        self._due.append((self.clock.now_ms() + round(seconds * 1000), act))

    def deploy(self, name: str, *, replicas: int, cpu: str = "500m", **more: Any) -> None:
        self.kube.deploy(name, replicas=replicas, namespace=SALE, cpu=cpu, **more)
        self.advance(10)

    def hpa(self, name: str, *, low: int, high: int, target: str = "") -> None:
        self.kube.create(
            f"/apis/autoscaling/v2/namespaces/{SALE}/horizontalpodautoscalers",
            {
                "metadata": {"name": name},
                "spec": {
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": target or name,
                    },
                    "minReplicas": low,
                    "maxReplicas": high,
                },
            },
        )

    # -- doing -----------------------------------------------------------------------------------------------------

    @property
    def wants(self) -> Wants:
        pods = tuple(
            WantedPods(name, name, count, count * 2) for name, count in self.services.items()
        )
        return Wants(
            self.sale,
            self.opens.astimezone(SHANGHAI),
            (self.opens + timedelta(seconds=self.lasts_s)).astimezone(SHANGHAI),
            SHANGHAI,
            SALE,
            pods,
            self.times,
            (),
        )

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)

    def means(self) -> Means:
        side = None
        if self.in_use:
            courier = Courier(self.port, self.cloud_journal, random=Random(1))
            side = CloudSide(courier, self.resources)
        cluster = self.wrap(self.kube.cluster())
        return Means(cluster, side, self.journal, self.clock, self._observe, "journal")

    def _observe(self, event: Event) -> None:
        self.events.append(event)

    def look(self, means: Means | None = None) -> Looked:
        means = means or self.means()
        return look(self.wants, means.cluster, means.side, now=self.now)

    def plan(self) -> ScalePlanned:
        means = self.means()
        looked = self.look(means)
        return planned(looked, self.wants, means.cluster, means.side, now=self.now)

    def up(self, **more: Any) -> ScaledUp:
        means = self.means()
        return scale_up(self.look(means), self.wants, means, **more)

    def hold(self, seconds: float) -> Held:
        until_ms = self.clock.now_ms() + round(seconds * 1000)
        return hold(self.wants, self.kube.cluster(), clock=self.clock, until_ms=until_ms)

    def status(self) -> ScaleStatus:
        means = self.means()
        looked = self.look(means)
        return scale_status(
            looked, self.wants, means.cluster, means.side, means.journal, now=self.now
        )

    def plan_down(self, *, force: bool = False) -> DownPlan:
        means = self.means()
        looked = self.look(means)
        return plan_down(looked, self.wants, means.cluster, means.side, means.journal, force=force)

    def down(self, *, force: bool = False, **more: Any) -> ScaledDown:
        means = self.means()
        looked = self.look(means)
        plan = plan_down(looked, self.wants, means.cluster, means.side, means.journal, force=force)
        return scale_down(plan, looked, self.wants, means, **more)

    def gate(self, state: QueueState | Exception, accept: str = "") -> Sequence[str]:
        def ask() -> QueueState:
            if isinstance(state, Exception):
                raise state
            return state

        now_ms = self.clock.now_ms()
        return may_go_down(self.wants, ask, now_ms=now_ms, accept_unseen=accept)[1]

    def early(self, reason: str = "") -> Sequence[str]:
        means = self.means()
        records = recorded(self.look(means), self.wants, means.cluster, means.journal, closing=True)
        return before_it_opens(self.wants, records, now_ms=self.clock.now_ms(), reason=reason)

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def cluster_writes(self) -> list[dict[str, Any]]:
        before = getattr(self, "_calls_before", 0)
        return [
            one
            for one in self.kube.calls[before:]
            if one.get("verb") in _WRITES and one.get("status", 500) < 400
        ]

    def forget_calls(self) -> None:
        self._calls_before = len(self.kube.calls)
        self.port.writes.clear()

    def replicas(self, name: str) -> int:
        found = self.kube.cluster().find_workload("Deployment", SALE, name)
        assert found is not None
        return found.wanted

    def bounds(self, name: str) -> tuple[int, int]:
        found = self.kube.cluster().find_hpa(SALE, name)
        assert found is not None
        return found.min_replicas, found.max_replicas

    def pool_size(self, name: str) -> int:
        path = {"ClusterId": self.cluster_id, "NodepoolId": self.pool_ids[name]}
        row = self.cloud.call("cs", "DescribeClusterNodePoolDetail", path=path)
        return int(row["scaling_group"]["desired_size"])

    def nodes(self, name: str) -> list[str]:
        id = self.pool_ids[name]
        return [one.name for one in self.kube.cluster().nodes() if one.pool == id]


class Killed(BaseException):
    """kill -9: nothing of the program runs after it."""


class Deadly:
    """The Cluster port that dies at its ``at``-th change: "before" it leaves, or "after" the cluster has acted."""

    CHANGES = frozenset(
        ("annotate", "set_hpa_bounds", "set_replicas", "set_unschedulable", "evict")
    )

    def __init__(self, cluster: Any, at: int, phase: str) -> None:
        self._cluster = cluster
        self._left = at
        self._phase = phase

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._cluster, name)
        if name not in self.CHANGES:
            return inner

        def call(*words: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._phase == "before":
                raise Killed
            answer = inner(*words, **more)
            if self._left == 0:
                raise Killed
            return answer

        return call
