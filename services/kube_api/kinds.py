"""The kinds of objects this API knows: where they live in the URL, which versions they have, what may be done with them.

Kinds that come in two versions (HorizontalPodAutoscaler) are stored once, in the first of their ``versions``. Custom resources
join when their CustomResourceDefinition is created; those of a sale's cluster (CronHPA, AlbConfig and so on) are there from
the start.
"""

from dataclasses import dataclass

from saleops.services.kube_api.documents import Document, mapping, sequence, text

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    group: str  # empty: the core group
    versions: tuple[str, ...]  # the first one is how it is stored
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()  # of status, scale, eviction, binding
    custom: bool = False

    @property
    def key(self) -> str:
        """ "deployments.apps", "pods": how the store and the audit log call it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        return self.kind.lower()

    def api_version(self, version: str | None = None) -> str:
        version = version or self.versions[0]
        return f"{self.group}/{version}" if self.group else version


def _core(plural: str, kind: str, *short: str, namespaced: bool = True, sub: str = "") -> Kind:
    return Kind("", ("v1",), plural, kind, namespaced, short, tuple(sub.split()))


def _of(
    group: str,
    version: str,
    plural: str,
    kind: str,
    *short: str,
    namespaced: bool = True,
    sub: str = "",
) -> Kind:
    return Kind(group, tuple(version.split()), plural, kind, namespaced, short, tuple(sub.split()))


def _custom(
    group: str,
    version: str,
    plural: str,
    kind: str,
    *short: str,
    namespaced: bool = True,
    sub: str = "",
) -> Kind:
    return Kind(group, (version,), plural, kind, namespaced, short, tuple(sub.split()), custom=True)


NODES = _core("nodes", "Node", "no", namespaced=False, sub="status")
PODS = _core("pods", "Pod", "po", sub="status eviction binding")
NAMESPACES = _core("namespaces", "Namespace", "ns", namespaced=False, sub="status")
SERVICES = _core("services", "Service", "svc", sub="status")
EVENTS = _core("events", "Event", "ev")
DEPLOYMENTS = _of("apps", "v1", "deployments", "Deployment", "deploy", sub="status scale")
REPLICA_SETS = _of("apps", "v1", "replicasets", "ReplicaSet", "rs", sub="status scale")
STATEFUL_SETS = _of("apps", "v1", "statefulsets", "StatefulSet", "sts", sub="status scale")
DAEMON_SETS = _of("apps", "v1", "daemonsets", "DaemonSet", "ds", sub="status")
HPAS = _of(
    "autoscaling",
    "v2 v1",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    "hpa",
    sub="status",
)
BUDGETS = _of("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", sub="status")
PRIORITY_CLASSES = _of(
    "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "pc", namespaced=False
)
ENDPOINT_SLICES = _of("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
DEFINITIONS = _of(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    "crd",
    namespaced=False,
    sub="status",
)
CRON_HPAS = _custom(
    "autoscaling.alibabacloud.com",
    "v1beta1",
    "cronhorizontalpodautoscalers",
    "CronHorizontalPodAutoscaler",
    "cronhpa",
    sub="status",
)
RBAC = "rbac.authorization.k8s.io"

BUILT_IN: tuple[Kind, ...] = (
    NODES,
    PODS,
    NAMESPACES,
    SERVICES,
    EVENTS,
    _core("configmaps", "ConfigMap", "cm"),
    _core("secrets", "Secret"),
    _core("serviceaccounts", "ServiceAccount", "sa"),
    _core("endpoints", "Endpoints", "ep"),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", sub="status"),
    _core("resourcequotas", "ResourceQuota", "quota", sub="status"),
    _core("limitranges", "LimitRange", "limits"),
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    DAEMON_SETS,
    HPAS,
    BUDGETS,
    PRIORITY_CLASSES,
    ENDPOINT_SLICES,
    DEFINITIONS,
    _of("networking.k8s.io", "v1", "ingresses", "Ingress", "ing", sub="status"),
    _of("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False),
    _of("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", "netpol"),
    _of("batch", "v1", "jobs", "Job", sub="status"),
    _of("batch", "v1", "cronjobs", "CronJob", "cj", sub="status"),
    _of("coordination.k8s.io", "v1", "leases", "Lease"),
    _of(RBAC, "v1", "roles", "Role"),
    _of(RBAC, "v1", "rolebindings", "RoleBinding"),
    _of(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    _of(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    CRON_HPAS,
    _custom("alibabacloud.com", "v1", "albconfigs", "AlbConfig", namespaced=False, sub="status"),
    _custom("apps.kruise.io", "v1alpha1", "imagepulljobs", "ImagePullJob", sub="status"),
    _custom("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor", "smon"),
    _custom(
        "chaosblade.io",
        "v1alpha1",
        "chaosblades",
        "ChaosBlade",
        "blade",
        namespaced=False,
        sub="status",
    ),
)


class Kinds:
    """The kinds known now."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}
        for kind in BUILT_IN:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        for version in kind.versions:
            self._by_path[kind.group, version, kind.plural] = kind
        self._by_kind[kind.group, kind.kind] = kind

    def at(self, group: str, version: str, plural: str) -> Kind | None:
        return self._by_path.get((group, version, plural))

    def of(self, group: str, kind: str) -> Kind | None:
        return self._by_kind.get((group, kind))

    def each(self) -> list[Kind]:
        return list(self._by_kind.values())

    def groups(self) -> dict[str, list[str]]:
        """Group -> its versions, preferred first."""
        found: dict[str, list[str]] = {}
        for kind in self._by_kind.values():
            versions = found.setdefault(kind.group, [])
            versions.extend(one for one in kind.versions if one not in versions)
        return found

    def of_version(self, group: str, version: str) -> list[tuple[str, Kind]]:
        return [
            (version, kind)
            for kind in self._by_kind.values()
            if kind.group == group and version in kind.versions
        ]


def defined_by(definition: Document) -> Kind | None:
    """The kind that a CustomResourceDefinition brings; None where it names none."""
    spec = mapping(definition.get("spec"))
    names = mapping(spec.get("names"))
    versions = [
        one
        for one in map(mapping, sequence(spec.get("versions")))
        if one.get("served") is not False
    ]
    versions.sort(key=lambda one: one.get("storage") is not True)
    listed = tuple(text(one.get("name")) for one in versions if text(one.get("name")))
    group, plural, kind = (
        text(spec.get("group")),
        text(names.get("plural")),
        text(names.get("kind")),
    )
    if not (group and plural and kind and listed):
        return None
    sub: set[str] = set()
    for one in versions:
        sub.update(name for name in ("status", "scale") if name in mapping(one.get("subresources")))
    return Kind(
        group,
        listed,
        plural,
        kind,
        text(spec.get("scope")) != "Cluster",
        tuple(text(one) for one in sequence(names.get("shortNames"))),
        tuple(sorted(sub)),
        custom=True,
    )
