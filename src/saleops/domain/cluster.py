"""What a Kubernetes cluster holds, as far as scaling, draining and checking it needs: values, read once, never live.

``resource_version`` is the API's word for "this exact state": sent along with a change it makes the change fail with a conflict
if somebody else was faster. Times are aware UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Document = Mapping[str, Any]
"""An object as the API spells it."""

WorkloadKind = Literal["Deployment", "StatefulSet"]
SpotStrategy = Literal["NoSpot", "SpotWithPriceLimit", "SpotAsPriceGo", ""]
TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

SPOT_LABEL = "node.alibabacloud.com/spot-strategy"
POOL_LABEL = "node.alibabacloud.com/nodepool-id"
ZONE_LABEL = "topology.kubernetes.io/zone"
TYPE_LABEL = "node.kubernetes.io/instance-type"
FIELD_MANAGER = "saleops"
_STRATEGIES: dict[str, SpotStrategy] = {
    "NoSpot": "NoSpot",
    "SpotWithPriceLimit": "SpotWithPriceLimit",
    "SpotAsPriceGo": "SpotAsPriceGo",
}


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Which object. ``namespace`` is empty for what belongs to no namespace."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = field(default="", compare=False)

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: str  # "True", "False" or "Unknown"
    reason: str = ""
    message: str = ""
    since: datetime | None = None

    @property
    def holds(self) -> bool:
        return self.status == "True"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a pod asks for, or a node has to give. ``pods`` is a node's limit, 1 for a pod."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    pods: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.cpu_millis + other.cpu_millis,
            self.memory_bytes + other.memory_bytes,
            self.pods + other.pods,
        )

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(
            self.cpu_millis - other.cpu_millis,
            self.memory_bytes - other.memory_bytes,
            self.pods - other.pods,
        )


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector as objects carry it. An empty one selects everything, none at all (``nothing``) nothing."""

    labels: Mapping[str, str] = field(default_factory=dict)
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()  # key, operator, values
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        if any(labels.get(name) != value for name, value in self.labels.items()):
            return False
        return all(_expression_holds(one, labels) for one in self.expressions)

    def __str__(self) -> str:
        """As ``labelSelector`` takes it in a query."""
        parts = [f"{name}={value}" for name, value in sorted(self.labels.items())]
        for key, operator, values in self.expressions:
            if operator == "Exists":
                parts.append(key)
            elif operator == "DoesNotExist":
                parts.append(f"!{key}")
            else:
                parts.append(f"{key} {operator.lower()} ({','.join(values)})")
        return ",".join(parts)


def _expression_holds(one: tuple[str, str, tuple[str, ...]], labels: Mapping[str, str]) -> bool:
    key, operator, values = one
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    effect: TaintEffect
    value: str = ""

    def __str__(self) -> str:
        return f"{self.key}{'=' + self.value if self.value else ''}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Toleration:
    """``key`` is empty for one that tolerates every key, ``effect`` for every effect; ``seconds`` bounds NoExecute."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    seconds: int | None = None

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if not self.key:
            return self.operator == "Exists"
        if self.key != taint.key:
            return False
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What each pod of a workload will be."""

    labels: Mapping[str, str] = field(default_factory=dict)
    requests: Resources = Resources(pods=1)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    grace_s: int = 30
    priority_class: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet. ``reasons`` say, in the API's own words, why it is not where it should be."""

    kind: WorkloadKind
    namespace: str
    name: str
    uid: str
    resource_version: str
    wanted: int
    ready: int
    available: int
    updated: int
    observed: bool  # its controller has seen the newest change: the counts speak of that
    selector: Selector
    template: PodTemplate
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("apps/v1", self.kind, self.namespace, self.name, self.uid)

    @property
    def unavailable(self) -> int:
        return max(self.wanted - self.available, 0)

    @property
    def settled(self) -> bool:
        """Every pod wanted is ready, and the counts are about the newest change."""
        return self.observed and self.ready == self.wanted and self.available >= self.wanted


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale subresource of a workload: what is wanted, and how many pods there are."""

    wanted: int
    current: int
    resource_version: str
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Hpa:
    namespace: str
    name: str
    uid: str
    resource_version: str
    target: ObjectRef
    min_replicas: int
    max_replicas: int
    current: int
    desired: int
    scale_down_disabled: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(
            "autoscaling/v2", "HorizontalPodAutoscaler", self.namespace, self.name, self.uid
        )


@dataclass(frozen=True, slots=True)
class CronHpaJob:
    name: str
    schedule: str
    target_size: int
    run_once: bool = False


@dataclass(frozen=True, slots=True)
class CronHpa:
    """A CronHorizontalPodAutoscaler. A condition's ``type`` is its job's name, its ``status`` the job's state."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    target: ObjectRef
    jobs: tuple[CronHpaJob, ...] = ()
    exclude_dates: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(
            "autoscaling.alibabacloud.com/v1beta1",
            "CronHorizontalPodAutoscaler",
            self.namespace,
            self.name,
            self.uid,
        )


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    uid: str
    resource_version: str
    ready: bool
    unschedulable: bool
    allocatable: Resources
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    conditions: tuple[Condition, ...] = ()
    provider_id: str = ""
    created_at: datetime | None = None
    deleted: bool = False  # deletion was asked for, a finalizer holds it

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("v1", "Node", "", self.name, self.uid)

    @property
    def spot_strategy(self) -> SpotStrategy:
        """Empty where nobody has said."""
        found = self.labels.get(SPOT_LABEL, "")
        return _STRATEGIES.get(found, "")

    @property
    def is_spot(self) -> bool:
        capacity = self.labels.get("karpenter.sh/capacity-type")
        return self.spot_strategy in ("SpotWithPriceLimit", "SpotAsPriceGo") or capacity == "spot"

    @property
    def pool(self) -> str:
        return self.labels.get(POOL_LABEL, "")

    @property
    def zone(self) -> str:
        return self.labels.get(ZONE_LABEL, "")

    @property
    def instance_type(self) -> str:
        return self.labels.get(TYPE_LABEL, "")

    @property
    def takes_pods(self) -> bool:
        """Ready, not cordoned, not on its way out."""
        return self.ready and not self.unschedulable and not self.deleted


@dataclass(frozen=True, slots=True)
class Pod:
    """``reasons`` say why it is not ready: "FailedScheduling: 0/3 nodes ...", "ImagePullBackOff: ..."."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    phase: str  # Pending, Running, Succeeded, Failed, Unknown
    ready: bool
    node: str = ""  # empty: not scheduled
    owner: ObjectRef | None = None  # the controller: a ReplicaSet, StatefulSet, DaemonSet, Job
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    grace_s: int = 30
    requests: Resources = Resources(pods=1)
    tolerations: tuple[Toleration, ...] = ()
    priority: int = 0
    priority_class: str = ""
    local_storage: bool = False  # an emptyDir: what is in it goes with the pod
    reasons: tuple[str, ...] = ()
    created_at: datetime | None = None
    ready_at: datetime | None = None
    deleted_at: datetime | None = (
        None  # when it will be gone at the latest; None: nobody has asked for its end
    )
    conditions: tuple[Condition, ...] = ()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("v1", "Pod", self.namespace, self.name, self.uid)

    @property
    def terminating(self) -> bool:
        return self.deleted_at is not None

    @property
    def finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def of_daemon_set(self) -> bool:
        return self.owner is not None and self.owner.kind == "DaemonSet"

    @property
    def is_mirror(self) -> bool:
        """A static pod's shadow: the kubelet runs it from a file, the API cannot end it."""
        return "kubernetes.io/config.mirror" in self.annotations


@dataclass(frozen=True, slots=True)
class DisruptionBudget:
    """A PodDisruptionBudget with what its controller has counted."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    selector: Selector
    min_available: int | str | None = None  # "50%" stays text
    max_unavailable: int | str | None = None
    unhealthy_eviction: str = "IfHealthyBudget"
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected: int = 0

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("policy/v1", "PodDisruptionBudget", self.namespace, self.name, self.uid)

    def covers(self, pod: Pod) -> bool:
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)


EvictionOutcome = Literal["accepted", "refused", "gone", "misconfigured"]


@dataclass(frozen=True, slots=True)
class Eviction:
    """What became of a wish to evict: "refused" by a disruption budget for now (429), "gone" already, "misconfigured" where two
    budgets cover the pod (500, and it will not pass). ``message`` is the API's own sentence."""

    outcome: EvictionOutcome
    message: str = ""
    retry_after_s: float | None = None


ChangeType = Literal["added", "modified", "deleted", "restarted"]


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch. "restarted": events were lost, forget what you know; everything there is follows as "added".

    ``resource_version`` is where a later watch goes on.
    """

    type: ChangeType
    thing: Any  # Pod, Node or Workload; None for "restarted"
    resource_version: str
