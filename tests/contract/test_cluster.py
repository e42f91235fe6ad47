"""What every Kubernetes API must do for the ``Cluster`` port: our double over HTTPS, and a real one where SALEOPS_TEST_KUBECONFIG
names its kubeconfig (a cluster that may be written to: the tests work in a namespace of their own, and on a node object
that no machine stands behind)."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kube_double import kube_double, workload
from saleops import wiring
from saleops.domain.cluster import ObjectRef, Taint
from saleops.errors import ClusterError, ConfigError
from saleops.ports.cluster import Cluster

REAL = "SALEOPS_TEST_KUBECONFIG"


@dataclass
class Ground:
    cluster: Cluster
    namespace: str
    node: str


@pytest.fixture(params=["double", "real"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if request.param == "double":
        double = kube_double()
        with (
            double.serving(tmp_path) as kubeconfig,
            wiring.open_cluster(kubeconfig=str(kubeconfig)) as cluster,
        ):
            yield from _ground(cluster)
        return
    if not os.environ.get(REAL):
        pytest.skip(f"{REAL} names no kubeconfig of a real API server")
    with wiring.open_cluster(kubeconfig=os.environ[REAL]) as cluster:
        yield from _ground(cluster)


def _ground(cluster: Cluster) -> Iterator[Ground]:
    name = f"saleops-test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {"node.alibabacloud.com/spot-strategy": "SpotAsPriceGo"},
            },
            "spec": {"taints": [{"key": "saleops/test", "effect": "NoSchedule"}]},
        }
    )
    try:
        yield Ground(cluster, name, name)
    finally:
        cluster.delete(ObjectRef("v1", "Node", "", name))
        cluster.delete(ObjectRef("v1", "Namespace", "", name))


def _deployed(ground: Ground, *, replicas: int = 0) -> None:
    document = workload("order", replicas=replicas, cpu="250m", memory="128Mi", grace_s=60)
    document["metadata"]["namespace"] = ground.namespace
    ground.cluster.apply(document)


def _autoscaled(ground: Ground) -> None:
    _deployed(ground)
    ground.cluster.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "order", "namespace": ground.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "order"},
                "minReplicas": 2,
                "maxReplicas": 10,
            },
        }
    )


def test_the_version_proves_that_somebody_answers(ground: Ground) -> None:
    assert ground.cluster.version().startswith("v1.")


def test_a_workload_is_read_as_it_was_written(ground: Ground) -> None:
    _deployed(ground)

    found = ground.cluster.find_workload("Deployment", ground.namespace, "order")

    assert found is not None
    assert (found.wanted, found.template.grace_s) == (0, 60)
    assert (found.template.requests.cpu_millis, found.template.requests.memory_bytes) == (
        250,
        128 << 20,
    )
    assert [one.name for one in ground.cluster.workloads(ground.namespace, labels="app=order")] == [
        "order"
    ]
    assert ground.cluster.workloads(ground.namespace, labels="app=other") == ()


def test_what_is_not_there_is_none_and_no_error(ground: Ground) -> None:
    cluster, namespace = ground.cluster, ground.namespace

    assert cluster.find_workload("StatefulSet", namespace, "none") is None
    assert cluster.scale_of("Deployment", namespace, "none") is None
    assert cluster.find_hpa(namespace, "none") is None
    assert cluster.find_pod(namespace, "none") is None
    assert cluster.find_node("saleops-none") is None
    assert cluster.documents("example.invalid/v1", "Nothing") == ()
    assert cluster.delete(ObjectRef("v1", "ConfigMap", namespace, "none")) is False


def test_scaling_is_refused_when_the_workload_is_no_longer_what_it_was(ground: Ground) -> None:
    _deployed(ground)
    seen = ground.cluster.scale_of("Deployment", ground.namespace, "order")
    assert seen is not None
    ground.cluster.annotate(_order(ground), {"touched": "yes"})

    with pytest.raises(ClusterError) as refused:
        ground.cluster.set_replicas(
            "Deployment", ground.namespace, "order", 3, expected=seen.resource_version
        )

    assert refused.value.kind == "conflict"
    now = ground.cluster.scale_of("Deployment", ground.namespace, "order")
    assert now is not None
    assert now.wanted == 0


def test_scaling_with_the_version_just_seen_is_done(ground: Ground) -> None:
    _deployed(ground)
    for _ in range(5):  # a controller may write its status between the look and the change
        seen = ground.cluster.scale_of("Deployment", ground.namespace, "order")
        assert seen is not None
        try:
            scaled = ground.cluster.set_replicas(
                "Deployment", ground.namespace, "order", 3, expected=seen.resource_version
            )
            break
        except ClusterError as error:
            if error.kind != "conflict":
                raise

    assert scaled.wanted == 3


def test_a_dry_run_changes_nothing(ground: Ground) -> None:
    _deployed(ground)

    answered = ground.cluster.set_replicas("Deployment", ground.namespace, "order", 7, dry_run=True)
    ground.cluster.annotate(_order(ground), {"note": "x"}, dry_run=True)

    found = ground.cluster.find_workload("Deployment", ground.namespace, "order")
    assert answered.wanted == 7
    assert found is not None
    assert found.wanted == 0
    assert "note" not in found.annotations


def test_scaling_what_is_not_there_says_so(ground: Ground) -> None:
    with pytest.raises(ClusterError) as missing:
        ground.cluster.set_replicas("Deployment", ground.namespace, "none", 1)

    assert missing.value.kind == "missing"


def test_annotations_are_set_and_removed_and_the_others_stay(ground: Ground) -> None:
    _deployed(ground)

    ground.cluster.annotate(_order(ground), {"saleops/size": "3", "saleops/other": "b"})
    ground.cluster.annotate(_order(ground), {"saleops/size": None})

    found = ground.cluster.find_workload("Deployment", ground.namespace, "order")
    assert found is not None
    assert found.annotations.get("saleops/other") == "b"
    assert "saleops/size" not in found.annotations


def test_the_bounds_of_an_autoscaler_change_one_at_a_time(ground: Ground) -> None:
    _autoscaled(ground)

    raised = ground.cluster.set_hpa_bounds(ground.namespace, "order", min_replicas=5)
    frozen = ground.cluster.set_hpa_scale_down(ground.namespace, "order", disabled=True)
    freed = ground.cluster.set_hpa_scale_down(ground.namespace, "order", disabled=False)

    assert (raised.min_replicas, raised.max_replicas) == (5, 10)
    assert raised.target.name == "order"
    assert (frozen.scale_down_disabled, freed.scale_down_disabled) == (True, False)


def test_a_floor_above_the_ceiling_is_invalid(ground: Ground) -> None:
    _autoscaled(ground)

    with pytest.raises(ClusterError) as invalid:
        ground.cluster.set_hpa_bounds(ground.namespace, "order", min_replicas=11)

    assert invalid.value.kind == "invalid"


def test_a_node_is_cordoned_twice_and_uncordoned(ground: Ground) -> None:
    ground.cluster.set_unschedulable(ground.node, True)
    again = ground.cluster.set_unschedulable(ground.node, True)
    back = ground.cluster.set_unschedulable(ground.node, False)

    assert (again.unschedulable, back.unschedulable) == (True, False)
    assert again.is_spot


def test_taints_come_and_go_beside_those_of_others(ground: Ground) -> None:
    taint = Taint("saleops/reclaimed", "NoSchedule", "soon")

    ground.cluster.add_taint(ground.node, taint)
    twice = ground.cluster.add_taint(ground.node, taint)
    gone = ground.cluster.remove_taint(ground.node, taint.key)

    assert sum(one == taint for one in twice.taints) == 1
    assert taint not in gone.taints
    assert any(one.key == "saleops/test" for one in gone.taints)


def test_an_eviction_is_pinned_to_the_very_pod(ground: Ground) -> None:
    pod = _loose_pod(ground)

    assert ground.cluster.evict(replace(pod, uid=str(uuid.uuid4()))).outcome == "gone"
    assert ground.cluster.find_pod(ground.namespace, "loose") is not None
    assert ground.cluster.evict(pod, dry_run=True).outcome == "accepted"
    assert ground.cluster.find_pod(ground.namespace, "loose") is not None
    assert ground.cluster.evict(pod).outcome == "accepted"
    assert ground.cluster.evict(pod).outcome == "gone"
    assert ground.cluster.delete_pod(pod) is False


def test_a_field_of_another_manager_is_not_taken_without_force(ground: Ground) -> None:
    _deployed(ground)
    ref = _order(ground)
    ground.cluster.set_replicas("Deployment", ground.namespace, "order", 2)
    document = workload("order", replicas=2)
    document["metadata"]["namespace"] = ground.namespace
    ground.cluster.apply(document)  # nothing to take: the value is the same

    found = ground.cluster.find_document(ref)
    assert found is not None
    managers = {one["manager"] for one in found["metadata"]["managedFields"]}
    assert "saleops" in managers


def test_a_watch_tells_what_is_there_and_what_changes(ground: Ground) -> None:
    _deployed(ground)
    changes = ground.cluster.watch("deployments", namespace=ground.namespace, for_s=20)

    assert next(changes).type == "restarted"
    first = next(changes)
    ground.cluster.annotate(_order(ground), {"seen": "1"})
    second = next(one for one in changes if one.thing.annotations.get("seen") == "1")
    resumed = ground.cluster.watch(
        "deployments", namespace=ground.namespace, since=first.resource_version, for_s=20
    )
    third = next(one for one in resumed if one.thing.annotations.get("seen") == "1")

    assert (first.type, first.thing.name) == ("added", "order")
    assert second.type == third.type == "modified"


def test_a_watch_ends_when_its_time_is_over(ground: Ground) -> None:
    seen = list(ground.cluster.watch("pods", namespace=ground.namespace, for_s=1))

    assert [one.type for one in seen] == ["restarted"]


def test_an_event_is_recorded(ground: Ground) -> None:
    _deployed(ground)
    ground.cluster.record_event(
        replace(_order(ground)), reason="SaleopsTest", message="hello", action="Testing"
    )

    events = ground.cluster.documents("v1", "Event", ground.namespace)
    assert [one["message"] for one in events if one["reason"] == "SaleopsTest"] == ["hello"]


def test_an_admin_may_and_a_kind_found_by_discovery_is_listed(ground: Ground) -> None:
    assert ground.cluster.can_i(
        "create", "pods", subresource="eviction", namespace=ground.namespace
    )
    names = {one["metadata"]["name"] for one in ground.cluster.documents("v1", "Namespace")}
    assert ground.namespace in names


def test_a_wrong_token_is_told_from_no_answer(tmp_path: Path) -> None:
    double = kube_double()
    with (
        double.serving(tmp_path, token="wrong") as kubeconfig,
        wiring.open_cluster(kubeconfig=str(kubeconfig)) as cluster,
    ):
        with pytest.raises(ClusterError) as refused:
            cluster.nodes()
        assert refused.value.kind == "unauthenticated"
        assert "kubeconfig" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no kubeconfig"),
        ("[", "no YAML"),
        ("clusters: 3", "no kubeconfig"),
        ("clusters: []\ncontexts: []", "no current context"),
    ],
    ids=["empty", "yaml", "types", "context"],
)
def test_a_broken_kubeconfig_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)

    with pytest.raises(ConfigError) as wrong, wiring.open_cluster(kubeconfig=str(file)):
        pass

    assert said in wrong.value.message


def _order(ground: Ground) -> ObjectRef:
    return ObjectRef("apps/v1", "Deployment", ground.namespace, "order")


def _loose_pod(ground: Ground):
    ground.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "loose", "namespace": ground.namespace},
            "spec": {
                "nodeSelector": {"saleops/test": "nowhere"},
                "containers": [{"name": "app", "image": "registry.example/app:1"}],
            },
        }
    )
    pod = ground.cluster.find_pod(ground.namespace, "loose")
    assert pod is not None
    return pod
