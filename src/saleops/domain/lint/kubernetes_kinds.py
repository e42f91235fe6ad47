"""The kinds that an API server of Kubernetes has by itself, and those of Container Service that our rules read, by API group.

Groups that are gone (extensions) stay in the table: what is wrong with them is not their spelling. A group without a dot is built
in or nothing: a CustomResourceDefinition must have one.
"""

from collections.abc import Iterator

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.plain_values import text

_GROUPS = {
    "": "Binding ComponentStatus ConfigMap Endpoints Event LimitRange List Namespace Node PersistentVolume PersistentVolumeClaim "
    "Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount Status",
    "apps": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    "batch": "CronJob Job",
    "autoscaling": "HorizontalPodAutoscaler Scale",
    "policy": "Eviction PodDisruptionBudget PodSecurityPolicy",
    "extensions": "DaemonSet Deployment Ingress NetworkPolicy PodSecurityPolicy ReplicaSet",
    "networking.k8s.io": "IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "storage.k8s.io": "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
    "scheduling.k8s.io": "PriorityClass",
    "discovery.k8s.io": "EndpointSlice",
    "coordination.k8s.io": "Lease LeaseCandidate",
    "apiextensions.k8s.io": "CustomResourceDefinition ConversionReview",
    "apiregistration.k8s.io": "APIService",
    "admissionregistration.k8s.io": "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration "
    "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration",
    "admission.k8s.io": "AdmissionReview",
    "certificates.k8s.io": "CertificateSigningRequest ClusterTrustBundle PodCertificateRequest",
    "authentication.k8s.io": "SelfSubjectReview TokenRequest TokenReview",
    "authorization.k8s.io": "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
    "events.k8s.io": "Event",
    "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
    "node.k8s.io": "RuntimeClass",
    "resource.k8s.io": "DeviceClass DeviceTaintRule PodSchedulingContext "
    "ResourceClaim ResourceClaimTemplate ResourceClass ResourceSlice",
    "autoscaling.alibabacloud.com": "CronHorizontalPodAutoscaler",
    "alibabacloud.com": "AlbConfig",
}
KINDS = {group: frozenset(kinds.split()) for group, kinds in _GROUPS.items()}
ALL_KINDS = frozenset().union(*KINDS.values())
USUAL = {
    kind: version
    for version, kinds in (
        ("v1", KINDS[""]),
        ("apps/v1", KINDS["apps"]),
        ("batch/v1", KINDS["batch"]),
        ("autoscaling/v2", {"HorizontalPodAutoscaler"}),
        ("policy/v1", {"PodDisruptionBudget"}),
        ("networking.k8s.io/v1", {"Ingress", "IngressClass", "NetworkPolicy"}),
        ("rbac.authorization.k8s.io/v1", KINDS["rbac.authorization.k8s.io"]),
        ("storage.k8s.io/v1", {"StorageClass"}),
        ("scheduling.k8s.io/v1", {"PriorityClass"}),
        ("autoscaling.alibabacloud.com/v1beta1", {"CronHorizontalPodAutoscaler"}),
        ("alibabacloud.com/v1", {"AlbConfig"}),
    )
    for kind in kinds
}
"""The apiVersion that a kind is written with today."""

_HARMLESS = {
    "kustomize.config.k8s.io",
    "gateway.networking.k8s.io",
    "monitoring.coreos.com",
    "cert-manager.io",
    "snapshot.storage.k8s.io",
    "metrics.k8s.io",
    "kyverno.io",
    "chaosblade.io",
}
"""Groups whose objects make neither pods of a release nor Services (Prometheus' and Alertmanager's own apart)."""


def group_of(document: LintDocument) -> str:
    """The API group; "" for the core group."""
    return text(document.at("apiVersion")).rpartition("/")[0]


def may_make_objects(document: LintDocument) -> bool:
    """Whether an operator that we do not know may make workloads or Services for ``document``."""
    group = group_of(document)
    if "." not in group or group in KINDS or document.kind in ("CloneSet", "Rollout"):
        return False
    if document.kind in ("Prometheus", "Alertmanager", "ThanosRuler", "PrometheusAgent"):
        return True
    return group not in _HARMLESS


def near(word: str, known: frozenset[str]) -> str:
    """The known word within two edits of ``word`` (within one of a short word), "" if there is none."""
    found = sorted((distance, one) for one in known if (distance := _edits(word, one)) <= 2)
    return found[0][1] if found and found[0][0] * 3 < len(word) else ""


def _edits(one: str, other: str) -> int:
    """Edits from one to the other; 3 for anything above 2."""
    if abs(len(one) - len(other)) > 2:
        return 3
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = list(_next_row(row, i, letter, other))
        if min(row) > 2:
            return 3
    return min(row[-1], 3)


def _next_row(row: list[int], i: int, letter: str, other: str) -> Iterator[int]:
    left = i
    yield left
    for j, against in enumerate(other, 1):
        left = min(left + 1, row[j] + 1, row[j - 1] + (letter != against))
        yield left
