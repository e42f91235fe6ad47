"""The API double: versions, ownership, budgets, watches and controllers, as Kubernetes has them."""

from typing import Any

import pytest

from kube_double import KubeDouble, kube_double, workload
from saleops.domain.cluster import Taint
from saleops.errors import ClusterError

ORDER = "/apis/apps/v1/namespaces/default/deployments/order"


@pytest.fixture
def double() -> KubeDouble:
    made = kube_double()
    made.add_nodes(3, zones=("zone-a", "zone-b"))
    return made


def _ready(double: KubeDouble, name: str = "order") -> int:
    found = double.cluster().find_workload("Deployment", "default", name)
    assert found is not None
    return found.ready


# -- versions -----------------------------------------------------------------------------------------------


def test_a_put_of_an_old_version_is_a_conflict(double: KubeDouble) -> None:
    made = double.deploy("order")
    double.patch(ORDER, {"metadata": {"labels": {"x": "y"}}})

    status, said = double.call("PUT", ORDER, made)

    assert (status, said["reason"]) == (409, "Conflict")
    assert "please apply your changes to the latest version" in said["message"]


def test_the_generation_rises_with_the_spec_alone(double: KubeDouble) -> None:
    double.deploy("order")

    _, labelled = double.patch(ORDER, {"metadata": {"labels": {"x": "y"}}})
    _, scaled = double.patch(ORDER, {"spec": {"replicas": 2}})

    assert (labelled["metadata"]["generation"], scaled["metadata"]["generation"]) == (1, 2)


def test_a_patch_of_nothing_leaves_the_version(double: KubeDouble) -> None:
    double.deploy("order")
    double.advance(5)
    _, before = double.call("GET", ORDER)

    _, after = double.patch(ORDER, {"spec": {"replicas": 1}})

    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_list_comes_in_pages(double: KubeDouble) -> None:
    double.deploy("order", replicas=5)

    _, first = double.call("GET", "/api/v1/pods", query="limit=2")
    _, second = double.call(
        "GET", "/api/v1/pods", query=f"limit=9&continue={first['metadata']['continue']}"
    )

    names = [one["metadata"]["name"] for one in (*first["items"], *second["items"])]
    assert (len(first["items"]), len(set(names))) == (2, 5)
    assert "continue" not in second["metadata"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("labelSelector=app%3Dorder", 2),
        ("labelSelector=app+in+(order,web)", 3),
        ("labelSelector=app!%3Dorder", 1),
        ("labelSelector=!app", 0),
        ("labelSelector=app,app+notin+(web)", 2),
        ("fieldSelector=spec.nodeName%3D", 3),
        ("fieldSelector=status.phase!%3DPending", 0),
    ],
    ids=["equal", "in", "unequal", "absent", "notin", "unbound", "phase"],
)
def test_selectors_choose(query: str, count: int) -> None:
    double = kube_double()
    double.deploy("order", replicas=2)
    double.deploy("web")

    _, found = double.call("GET", "/api/v1/pods", query=query)

    assert len(found["items"]) == count


def test_a_field_that_cannot_be_selected_by_is_refused(double: KubeDouble) -> None:
    assert double.call("GET", "/api/v1/pods", query="fieldSelector=spec.foo%3Da")[0] == 400


# -- server-side apply --------------------------------------------------------------------------------------


def _apply(
    double: KubeDouble, manager: str, *, force: bool = False, **spec: Any
) -> tuple[int, Any]:
    document = workload("order")
    document["spec"] = {**document["spec"], **spec}
    return double.patch(
        ORDER, document, "apply", query=f"fieldManager={manager}&force={str(force).lower()}"
    )


def test_two_managers_who_want_the_same_share_it(double: KubeDouble) -> None:
    assert _apply(double, "one", replicas=2)[0] == 201
    assert _apply(double, "two", replicas=2)[0] == 200


def test_two_managers_who_want_different_things_conflict(double: KubeDouble) -> None:
    _apply(double, "one", replicas=2)

    status, said = _apply(double, "two", replicas=3)

    assert (status, said["reason"]) == (409, "Conflict")
    assert 'conflict with "one": .spec.replicas' in said["message"]
    assert said["details"]["causes"][0]["field"] == ".spec.replicas"


def test_force_takes_the_field_and_the_other_loses_it(double: KubeDouble) -> None:
    _apply(double, "one", replicas=2)

    status, changed = _apply(double, "two", force=True, replicas=3)

    owners = {
        one["manager"]: "f:replicas" in one["fieldsV1"].get("f:spec", {})
        for one in changed["metadata"]["managedFields"]
        if one["operation"] == "Apply"
    }
    assert (status, changed["spec"]["replicas"]) == (200, 3)
    assert owners == {"one": False, "two": True}


def test_a_scaled_workload_conflicts_with_the_next_apply(double: KubeDouble) -> None:
    _apply(double, "render", replicas=2)
    double.patch(f"{ORDER}/scale", {"spec": {"replicas": 9}})

    status, said = _apply(double, "render", replicas=2)

    assert status == 409
    assert '"test"' in said["message"]


def test_what_an_apply_no_longer_names_goes(double: KubeDouble) -> None:
    document = workload("order")
    document["metadata"]["labels"] = {"app": "order", "old": "yes"}
    pod = document["spec"]["template"]["spec"]
    pod["containers"].append({"name": "log", "image": "log:1"})
    query = "fieldManager=render"
    double.patch(ORDER, document, "apply", query=query)
    double.patch(ORDER, {"metadata": {"labels": {"by-hand": "1"}}})
    del document["metadata"]["labels"]["old"]
    pod["containers"].pop()

    _, changed = double.patch(ORDER, document, "apply", query=query)

    assert changed["metadata"]["labels"] == {"app": "order", "by-hand": "1"}
    assert [one["name"] for one in changed["spec"]["template"]["spec"]["containers"]] == ["app"]


def test_an_apply_without_a_manager_is_refused(double: KubeDouble) -> None:
    assert double.patch(ORDER, workload("order"), "apply")[0] == 422


def test_our_apply_says_whose_field_it_would_take(double: KubeDouble) -> None:
    _apply(double, "helm", replicas=2)
    document = workload("order", replicas=5)
    document["metadata"]["namespace"] = "default"

    with pytest.raises(ClusterError) as refused:
        double.cluster().apply(document)

    assert refused.value.kind == "conflict"
    assert "helm" in refused.value.message
    assert double.cluster().apply(document, force=True)["spec"]["replicas"] == 5


# -- evictions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "pods", "allowed"),
    [
        ({"minAvailable": 2}, 3, 1),
        ({"minAvailable": 3}, 3, 0),
        ({"minAvailable": 5}, 3, 0),
        ({"minAvailable": "50%"}, 3, 1),
        ({"minAvailable": "100%"}, 3, 0),
        ({"maxUnavailable": 0}, 3, 0),
        ({"maxUnavailable": 1}, 3, 1),
        ({"maxUnavailable": "30%"}, 10, 3),
        ({"maxUnavailable": "25%"}, 3, 1),
        ({"maxUnavailable": "100%"}, 3, 3),
    ],
    ids=[
        "min",
        "min-all",
        "min-more",
        "min-half",
        "min-100",
        "max-0",
        "max-1",
        "max-30",
        "max-25-up",
        "max-100",
    ],
)
def test_a_budget_allows(double: KubeDouble, spec: dict[str, Any], pods: int, allowed: int) -> None:
    double.deploy("order", replicas=pods)
    double.budget("order", app="order", **spec)
    double.advance(5)

    found = double.cluster().disruption_budgets("default")[0]

    assert (found.current_healthy, found.disruptions_allowed) == (pods, allowed)


def test_an_eviction_beyond_the_budget_is_refused_with_the_reason(double: KubeDouble) -> None:
    double.deploy("order", replicas=3)
    double.budget("order", app="order", minAvailable=2)
    double.advance(5)
    cluster = double.cluster()
    first, second, _ = cluster.pods("default")

    assert cluster.evict(first).outcome == "accepted"
    refused = cluster.evict(second)

    assert refused.outcome == "refused"
    assert "needs 2 healthy pods and has 2 currently" in refused.message
    assert sum(call.get("resource") == "pods/eviction" for call in double.calls) == 2  # not retried


def test_two_budgets_on_a_pod_are_a_misconfiguration(double: KubeDouble) -> None:
    double.deploy("order", replicas=3)
    double.budget("one", app="order", minAvailable=1)
    double.budget("two", app="order", minAvailable=1)
    double.advance(5)

    evicted = double.cluster().evict(double.cluster().pods("default")[0])

    assert evicted.outcome == "misconfigured"


def test_a_sick_pod_goes_where_the_budget_lets_sick_pods_go(double: KubeDouble) -> None:
    double.deploy("order", replicas=2)
    double.budget("order", app="order", minAvailable=2, unhealthyPodEvictionPolicy="AlwaysAllow")
    double.advance(5)
    cluster = double.cluster()
    pod = cluster.pods("default")[0]
    path = f"/api/v1/namespaces/default/pods/{pod.name}/status"
    sick = {"status": {"containerStatuses": [{"name": "app", "ready": False}]}}
    assert double.patch(path, sick)[0] == 200
    double.advance(0)
    found = cluster.find_pod("default", pod.name)
    assert found is not None
    assert not found.ready

    assert cluster.evict(found).outcome == "accepted"


def test_a_throttled_eviction_is_tried_again(double: KubeDouble) -> None:
    double.deploy("order")
    double.advance(5)
    double.fault(verb="create", resource="pods/eviction", status=429, retry_after_s=1)

    assert double.cluster().evict(double.cluster().pods("default")[0]).outcome == "accepted"


# -- failures -----------------------------------------------------------------------------------------------


def test_a_scaling_whose_answer_was_lost_is_done_once(double: KubeDouble) -> None:
    double.deploy("order")
    double.advance(5)
    cluster = double.cluster()
    seen = cluster.scale_of("Deployment", "default", "order")
    assert seen is not None
    double.fault(verb="patch", resource="deployments/scale", when="lost")

    scaled = cluster.set_replicas(
        "Deployment", "default", "order", 4, expected=seen.resource_version
    )

    assert scaled.wanted == 4


def test_reads_are_tried_again_and_then_say_what_failed(double: KubeDouble) -> None:
    double.fault(verb="list", resource="nodes", status=503, times=2)
    assert len(double.cluster().nodes()) == 3
    double.fault(verb="list", resource="nodes", status=500, times=99)

    with pytest.raises(ClusterError) as failed:
        double.cluster().nodes()

    assert failed.value.kind == "unknown"


def test_an_event_of_unknown_outcome_is_not_sent_twice(double: KubeDouble) -> None:
    double.fault(verb="create", resource="events", status=500, when="after")
    node = double.cluster().nodes()[0]

    with pytest.raises(ClusterError):
        double.cluster().record_event(node.ref, reason="Test", message="once")

    assert len(double.cluster().documents("v1", "Event", "default")) == 1


def test_what_a_role_does_not_grant_is_denied_by_verb_and_resource(double: KubeDouble) -> None:
    role = {"rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}]}
    cluster = double.cluster(token=double.token_for(role))

    with pytest.raises(ClusterError) as denied:
        cluster.set_unschedulable("node-0", True)

    assert denied.value.kind == "denied"
    assert 'cannot patch resource "nodes"' in denied.value.message
    assert cluster.can_i("list", "nodes")
    assert not cluster.can_i("patch", "nodes")


# -- watches ------------------------------------------------------------------------------------------------


def test_a_watch_from_a_forgotten_version_hears_410(double: KubeDouble) -> None:
    double.api.store.forget_past()
    double.deploy("order")
    query = "watch=true&resourceVersion=2&timeoutSeconds=1"

    answer = double.api.handle(_request("/api/v1/pods", query))
    assert answer.watch is not None
    lines = answer.watch.take()

    assert b'"code":410' in lines[0]
    assert answer.watch.closed


def test_our_watch_begins_anew_where_the_past_is_forgotten(double: KubeDouble) -> None:
    double.deploy("order")
    double.advance(5)
    double.api.store.forget_past()
    changes = double.cluster().watch("deployments", since="3", for_s=5)

    assert [next(changes).type, next(changes).type] == ["restarted", "added"]


def test_an_object_that_leaves_the_selector_is_deleted_to_its_watch(double: KubeDouble) -> None:
    double.deploy("order")
    query = "watch=true&labelSelector=app%3Dorder&timeoutSeconds=5"
    answer = double.api.handle(_request("/apis/apps/v1/deployments", query))
    assert answer.watch is not None
    double.patch(ORDER, {"metadata": {"labels": {"app": "other"}}})

    events = b"".join(answer.watch.take())

    assert [events.count(word) for word in (b'"ADDED"', b'"DELETED"')] == [1, 1]


# -- controllers --------------------------------------------------------------------------------------------


def test_pods_that_do_not_fit_wait_and_say_why(double: KubeDouble) -> None:
    double.deploy("order", replicas=5, cpu="2500m")
    double.advance(5)

    waiting = [pod for pod in double.cluster().pods("default") if not pod.ready]

    assert len(waiting) == 2
    assert "Insufficient cpu" in waiting[0].reasons[0]
    double.add_nodes(2, prefix="more")
    double.advance(5)
    assert _ready(double) == 5


def test_pods_keep_off_taints_and_cordons(double: KubeDouble) -> None:
    cluster = double.cluster()
    cluster.add_taint("node-0", Taint("spot", "NoSchedule", "true"))
    cluster.set_unschedulable("node-1", True)
    double.deploy("order", replicas=4)
    double.advance(5)

    assert {pod.node for pod in cluster.pods("default")} == {"node-2"}


def test_a_floor_raises_the_workload_at_the_next_sync(double: KubeDouble) -> None:
    double.deploy("order", replicas=2)
    hpa = {
        "metadata": {"name": "order"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "order"},
            "minReplicas": 2,
            "maxReplicas": 10,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 50},
                    },
                }
            ],
        },
    }
    double.create("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", hpa)
    double.advance(20)
    double.cluster().set_hpa_bounds("default", "order", min_replicas=6)
    double.advance(20)
    assert _ready(double) == 6

    double.api.controllers.autoscaler.tell_load(
        "default", "order", 600
    )  # 100 % of six pods' requests
    double.advance(60)
    assert _ready(double) == 10


def test_a_rollout_keeps_its_promise_of_availability(double: KubeDouble) -> None:
    double.deploy("order", replicas=8)
    double.advance(5)
    image = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}}
    double.patch(ORDER, image, "strategic")
    lowest, most = 8, 0
    for _ in range(60):
        double.advance(0.5)
        pods = [pod for pod in double.cluster().pods("default") if not pod.terminating]
        lowest, most = min(lowest, sum(pod.ready for pod in pods)), max(most, len(pods))

    found = double.cluster().find_workload("Deployment", "default", "order")
    assert found is not None
    assert (found.ready, found.updated) == (8, 8)
    assert (lowest >= 6, most <= 10) == (True, True)


def test_a_terminating_pod_leaves_after_its_hook_within_its_grace(double: KubeDouble) -> None:
    hook = {"preStop": {"sleep": {"seconds": 15}}}
    spec = {"containers": [{"name": "app", "image": "app:1", "lifecycle": hook}]}
    double.deploy("order", grace_s=60, spec=spec)
    double.advance(5)
    pod = double.cluster().pods("default")[0]
    double.cluster().evict(pod)
    double.advance(14)
    assert double.cluster().find_pod("default", pod.name) is not None
    double.advance(3)
    assert double.cluster().find_pod("default", pod.name) is None


def test_pods_of_a_lost_node_wait_until_it_is_gone(double: KubeDouble) -> None:
    from saleops.services.kube_api.machines import remove_node, set_node_ready

    double.deploy("order", replicas=3)
    double.advance(5)
    set_node_ready(double.api, "node-0", None)
    assert _ready(double) == 2
    double.advance(310)  # they tolerate it for five minutes, then others take their place
    assert _ready(double) == 3
    stuck = double.cluster().pods(node="node-0")
    assert [pod.terminating for pod in stuck] == [True]
    remove_node(double.api, "node-0")
    assert double.cluster().pods(node="node-0") == ()


def test_a_pool_is_made_what_its_feed_says(double: KubeDouble) -> None:
    from saleops.services.kube_api.machines import Machine, feed_pool

    feed_pool(double.api, "np-1", [Machine(name="a"), Machine(name="b")])
    changed = feed_pool(double.api, "np-1", [Machine(name="b"), Machine(name="c")])

    assert changed == {"added": ["c"], "removed": ["a"]}
    assert [node.name for node in double.cluster().nodes() if node.pool == "np-1"] == ["b", "c"]


def test_real_pods_take_the_room_of_headroom_pods(double: KubeDouble) -> None:
    double.create(
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {"metadata": {"name": "headroom"}, "value": -10},
    )
    double.deploy("headroom", replicas=3, cpu="3", spec={"priorityClassName": "headroom"})
    double.advance(5)
    double.deploy("order", replicas=3, cpu="3")
    double.advance(10)

    assert (_ready(double), _ready(double, "headroom")) == (3, 0)


def test_a_deleted_deployment_takes_its_pods_along(double: KubeDouble) -> None:
    double.deploy("order", replicas=2)
    double.advance(5)
    assert double.call("DELETE", ORDER)[0] == 200
    double.advance(5)

    assert double.cluster().pods("default") == ()
    assert double.cluster().documents("apps/v1", "ReplicaSet") == ()


def _request(path: str, query: str):
    from kube_double import TOKEN
    from saleops.services.kube_api.wire import Request

    return Request("GET", path, query, {"authorization": f"Bearer {TOKEN}"})
