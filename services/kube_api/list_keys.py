"""How the lists inside objects merge: by which keys their entries are told apart, or that they are sets, or replaced whole.

From the Kubernetes API's own structure tags (patchStrategy, patchMergeKey, listType, listMapKeys in k8s.io/api). Strategic merge
and server-side apply mostly agree; where they do not, the entry says so. A list that is not here is replaced whole, as are all
lists of custom resources whose definition says nothing.
"""

from dataclasses import dataclass

Path = tuple[str, ...]  # field names from the object's root; entries of lists add nothing


@dataclass(frozen=True, slots=True)
class ListRule:
    """``patch_key``: strategic merge tells entries apart by it ("" where it replaces the list; "=" for a set of plain values).
    ``apply_keys``: the same for server-side apply (empty: owned as a whole; ("=",): a set)."""

    patch_key: str = ""
    apply_keys: tuple[str, ...] = ()


def _rule(patch_key: str, *apply_keys: str) -> ListRule:
    return ListRule(patch_key, apply_keys or ((patch_key,) if patch_key else ()))


_SET = ListRule("=", ("=",))

_META: dict[Path, ListRule] = {
    ("metadata", "ownerReferences"): _rule("uid"),
    ("metadata", "finalizers"): _SET,
}
_CONTAINER: dict[Path, ListRule] = {
    ("ports",): _rule("containerPort", "containerPort", "protocol"),
    ("env",): _rule("name"),
    ("volumeMounts",): _rule("mountPath"),
    ("volumeDevices",): _rule("devicePath"),
    ("resources", "claims"): ListRule("", ("name",)),
}
_POD_SPEC: dict[Path, ListRule] = {
    ("volumes",): _rule("name"),
    ("containers",): _rule("name"),
    ("initContainers",): _rule("name"),
    ("ephemeralContainers",): _rule("name"),
    ("imagePullSecrets",): _rule("name"),
    ("hostAliases",): _rule("ip"),
    ("topologySpreadConstraints",): _rule("topologyKey", "topologyKey", "whenUnsatisfiable"),
    ("schedulingGates",): _rule("name"),
    ("resourceClaims",): _rule("name"),
    ("evictionResponders",): _rule("name"),
    **{
        (holder, *path): rule
        for holder in ("containers", "initContainers", "ephemeralContainers")
        for path, rule in _CONTAINER.items()
    },
}
_CONDITIONS: dict[Path, ListRule] = {("status", "conditions"): _rule("type")}
_TEMPLATE = {("spec", "template", "spec", *path): rule for path, rule in _POD_SPEC.items()}

_BY_KIND: dict[tuple[str, str], dict[Path, ListRule]] = {
    ("", "Pod"): {
        **{("spec", *path): rule for path, rule in _POD_SPEC.items()},
        **_CONDITIONS,
        ("status", "podIPs"): _rule("ip"),
        ("status", "hostIPs"): _rule("ip"),
    },
    ("", "Node"): {
        **_CONDITIONS,
        ("status", "addresses"): _rule("type"),
        ("spec", "podCIDRs"): _SET,
    },
    ("", "Service"): {
        ("spec", "ports"): _rule("port", "port", "protocol"),
        **_CONDITIONS,
    },
    ("", "ServiceAccount"): {
        ("secrets",): _rule("name"),
    },
    ("", "Namespace"): _CONDITIONS,
    ("", "PersistentVolumeClaim"): _CONDITIONS,
    ("apps", "Deployment"): {**_TEMPLATE, **_CONDITIONS},
    ("apps", "ReplicaSet"): {**_TEMPLATE, **_CONDITIONS},
    ("apps", "StatefulSet"): {**_TEMPLATE, **_CONDITIONS},
    ("apps", "DaemonSet"): {**_TEMPLATE, **_CONDITIONS},
    ("batch", "Job"): {**_TEMPLATE, **_CONDITIONS},
    ("batch", "CronJob"): {
        ("spec", "jobTemplate", *path): rule for path, rule in _TEMPLATE.items()
    },
    ("policy", "PodDisruptionBudget"): _CONDITIONS,
    ("autoscaling", "HorizontalPodAutoscaler"): {
        ("status", "conditions"): _rule("type"),
    },
    ("apiextensions.k8s.io", "CustomResourceDefinition"): {
        ("status", "conditions"): ListRule("", ("type",)),
    },
}  # fmt: skip


def list_rules(group: str, kind: str) -> dict[Path, ListRule]:
    return {**_META, **_BY_KIND.get((group, kind), {})}
