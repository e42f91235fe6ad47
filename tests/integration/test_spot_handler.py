"""The spot handler as a process, between a metadata service and a Kubernetes API that both misbehave as the real ones do."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from saleops.services.spot_handler.metadata_double import MetadataDouble
from spot_lab import SPOT, SpotLab, eventually, metadata_for, spot_lab

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(120)]

GOLDEN = Path(__file__).parents[1] / "golden" / "k8s"
RECORD = "saleops.io/spot-drain"
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
SHORT = {"margin_s": 3, "surge_s": 10}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[SpotLab]:
    with spot_lab(tmp_path, start_s=0.5, stop_s=0.3, hpa_sync_s=1.0) as one:
        one.double.add_nodes(1, prefix="spot", labels=SPOT)
        one.double.make_namespace("shop")
        yield one


@pytest.fixture
def metadata() -> Iterator[MetadataDouble]:
    with metadata_for() as one:
        yield one


def fill(lab: SpotLab, *, replicas: int = 2, app: str = "order", **more: Any) -> None:
    """``replicas`` pods on spot-0, and then a second node with room for their replacements."""
    lab.double.deploy(app, replicas=replicas, namespace="shop", **more)
    eventually(lambda: lab.ready(app) == replicas)
    if len(lab.double.call("GET", "/api/v1/nodes")[1]["items"]) == 1:
        lab.double.add_nodes(2, prefix="steady")


def gone(lab: SpotLab, node: str = "spot-0") -> bool:
    return not lab.pods(node)


def test_a_flip_cordons_within_six_seconds_with_the_default_poll(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab)
    handler = lab.start("spot-0", metadata, poll_s=5)
    eventually(lambda: handler.get("/readyz")[0] == 200)
    time.sleep(0.3)  # just after a poll: the longest wait there is

    metadata.flip(300)

    assert eventually(lambda: lab.cordoned("spot-0")) < 6.0
    eventually(lambda: lab.node("spot-0")["spec"].get("taints"))
    eventually(lambda: "saleops.io/spot-termination" in lab.node("spot-0")["metadata"]["labels"])
    eventually(lambda: handler.metric("saleops_spot_cordons_total") == 1)
    assert 0 < handler.metric("saleops_spot_seconds_to_cordon") < 1


def test_pods_leave_only_when_their_replacements_are_up(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab, replicas=3)
    handler = lab.start("spot-0", metadata, poll_s=0.5)
    metadata.flip(120)
    fewest = 99

    def all_left() -> bool:
        nonlocal fewest
        fewest = min(fewest, lab.ready("order"))
        return gone(lab)

    eventually(all_left, within_s=30)

    assert fewest >= 3
    eventually(lambda: lab.wanted("order") == 3)
    eventually(lambda: len(lab.pods(app="order")) == 3 and lab.ready("order") == 3)
    eventually(lambda: "Every pod has left" in str(lab.double.call("GET", "/api/v1/events")[1]))
    assert handler.metric('saleops_spot_evictions_total{outcome="accepted"}') == 3
    assert not lab.asked("delete", "pods")


def test_a_budget_is_honoured_until_the_switch_and_then_the_pod_is_deleted_in_time(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab, grace_s=4)
    lab.double.budget("order", namespace="shop", app="order", minAvailable=99)
    eventually(lambda: True)
    lab.start("spot-0", metadata, poll_s=0.5, **SHORT)
    ends = time.monotonic() + 22
    metadata.flip(22)

    eventually(lambda: lab.asked("create", "pods/eviction"))
    eventually(lambda: lab.asked("delete", "pods"), within_s=25)
    switched = time.monotonic()
    eventually(lambda: gone(lab))

    assert 22 - 3 - 4 - 3 - 1.5 <= switched - (ends - 22) <= 22 - 3 - 4 - 3 + 2
    assert time.monotonic() < ends - 3 + 0.5
    assert {call["status"] for call in lab.asked("create", "pods/eviction")} == {429}
    assert len(lab.asked("create", "pods/eviction")) >= 4


def test_a_refused_eviction_is_asked_again_and_then_granted(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab)
    lab.double.fault(verb="create", resource="pods/eviction", status=429, times=3,
                     message=REFUSED)  # fmt: skip
    lab.start("spot-0", metadata, poll_s=0.5)
    metadata.flip(120)

    eventually(lambda: gone(lab), within_s=30)

    assert not lab.asked("delete", "pods")


@pytest.mark.parametrize("settings", [
    {"hardened": True}, {"hardened": False}, {"hardened": False, "tokens": False},
], ids=["hardened", "tokens-optional", "no-tokens"])  # fmt: skip
def test_every_mode_of_the_metadata_service_is_heard(
    lab: SpotLab, settings: dict[str, bool]
) -> None:
    fill(lab, replicas=1)
    with metadata_for(**settings) as metadata:
        lab.start("spot-0", metadata, poll_s=0.5)
        eventually(lambda: metadata.requests)
        metadata.expire_tokens()
        metadata.fault("500")
        metadata.flip(120)

        eventually(lambda: lab.cordoned("spot-0"))


def test_a_failing_metadata_service_is_neither_a_notice_nor_safety(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab)
    metadata.flip(200)
    handler = lab.start("spot-0", metadata, poll_s=0.3, mode="cordon-only")
    eventually(lambda: lab.cordoned("spot-0"))

    metadata.fault("403", 60)
    time.sleep(2.5)

    assert lab.cordoned("spot-0")
    assert handler.metric('saleops_spot_polls_total{answer="unknown"}') > 0


def test_a_withdrawn_notice_takes_everything_back(lab: SpotLab, metadata: MetadataDouble) -> None:
    fill(lab)
    lab.double.fault(verb="create", resource="pods/eviction", status=429, times=500,
                     message=REFUSED)  # fmt: skip
    handler = lab.start("spot-0", metadata, poll_s=0.3)
    metadata.flip(200)
    eventually(lambda: lab.wanted("order") == 4)

    metadata.flip(None)

    eventually(lambda: not lab.cordoned("spot-0"))
    eventually(lambda: lab.wanted("order") == 2)
    eventually(lambda: RECORD not in lab.node("spot-0")["metadata"].get("annotations", {}))
    node = lab.node("spot-0")
    assert not node["spec"].get("taints")
    assert "saleops.io/spot-termination" not in node["metadata"]["labels"]
    eventually(lambda: handler.metric("saleops_spot_cancelled_total") == 1)


def test_a_node_that_somebody_had_cordoned_stays_so(lab: SpotLab, metadata: MetadataDouble) -> None:
    fill(lab)
    lab.double.patch("/api/v1/nodes/spot-0", {"spec": {"unschedulable": True}})
    lab.start("spot-0", metadata, poll_s=0.3, mode="cordon-only")
    metadata.flip(200)
    eventually(lambda: lab.node("spot-0")["spec"].get("taints"))
    eventually(lambda: "saleops.io/spot-termination" in lab.node("spot-0")["metadata"]["labels"])

    metadata.flip(None)

    eventually(lambda: RECORD not in lab.node("spot-0")["metadata"].get("annotations", {}))
    assert lab.cordoned("spot-0")


def test_a_handler_that_is_killed_goes_on_where_it_was(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab, replicas=3)
    lab.double.fault(verb="create", resource="pods/eviction", status=429, times=4,
                     message=REFUSED)  # fmt: skip
    first = lab.start("spot-0", metadata, poll_s=0.3)
    metadata.flip(120)
    eventually(lambda: lab.asked("create", "pods/eviction"))
    first.kill(signal.SIGKILL)

    second = lab.start("spot-0", metadata, poll_s=0.3)

    eventually(lambda: gone(lab), within_s=30)
    eventually(lambda: lab.wanted("order") == 3)
    eventually(lambda: lab.ready("order") == 3)
    assert second.metric("saleops_spot_notices_total") == 0
    assert second.metric("saleops_spot_cordons_total") == 0


def test_an_api_that_is_away_for_a_while_only_delays(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab, replicas=3)
    lab.start("spot-0", metadata, poll_s=0.3)
    metadata.flip(120)
    eventually(lambda: lab.cordoned("spot-0"))
    eventually(lambda: lab.wanted("order") == 6)

    lab.api_goes_away(for_s=4)

    eventually(lambda: gone(lab), within_s=40)
    eventually(lambda: lab.wanted("order") == 3)
    assert not lab.asked("delete", "pods")


def test_two_nodes_at_once_add_up_and_come_back_to_the_first_size(tmp_path: Path) -> None:
    with (
        spot_lab(tmp_path, start_s=0.5, stop_s=0.3) as lab,
        metadata_for() as one,
        metadata_for() as two,
    ):
        lab.double.add_nodes(2, prefix="spot", labels=SPOT)
        lab.double.deploy("order", replicas=4, namespace="shop")
        eventually(lambda: lab.ready("order") == 4)
        lab.double.add_nodes(2, prefix="steady")
        lab.start("spot-0", one, poll_s=0.3)
        lab.start("spot-1", two, poll_s=0.3)
        one.flip(120)
        two.flip(120)
        fewest = 99

        def both_empty() -> bool:
            nonlocal fewest
            fewest = min(fewest, lab.ready("order"))
            return gone(lab, "spot-0") and gone(lab, "spot-1")

        eventually(both_empty, within_s=40)

        assert fewest >= 4
        eventually(lambda: lab.wanted("order") == 4)
        eventually(lambda: lab.ready("order") == 4)


def test_an_autoscalers_floor_goes_up_and_back(lab: SpotLab, metadata: MetadataDouble) -> None:
    fill(lab, replicas=2)
    path = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
    lab.double.create(path, {
        "metadata": {"name": "order"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "order"},
            "minReplicas": 2, "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
        },
    })  # fmt: skip
    lab.start("spot-0", metadata, poll_s=0.3)
    metadata.flip(120)

    def bounds() -> tuple[int, int]:
        spec = lab.double.call("GET", f"{path}/order")[1]["spec"]
        return spec["minReplicas"], spec["maxReplicas"]

    eventually(lambda: bounds() == (4, 4))
    eventually(lambda: gone(lab), within_s=30)
    eventually(lambda: bounds() == (2, 2))
    eventually(lambda: "saleops.io/spot-floor" not in str(lab.double.call("GET", f"{path}/order")))


def test_daemon_set_pods_stay_and_a_dry_run_changes_nothing(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    lab.double.deploy("agent", kind="DaemonSet", namespace="shop")
    fill(lab, replicas=1)
    before = lab.node("spot-0")["spec"]
    dry = lab.start("spot-0", metadata, poll_s=0.3, mode="dry-run")
    metadata.flip(120)
    eventually(lambda: "eviction now: accepted" in dry.text)
    dry.kill(signal.SIGTERM)
    assert lab.node("spot-0")["spec"] == before
    assert lab.wanted("order") == 1

    lab.start("spot-0", metadata, poll_s=0.3)

    eventually(lambda: not lab.pods("spot-0", app="order"), within_s=30)
    assert lab.pods("spot-0", app="agent")


def test_the_rendered_rights_are_enough_for_all_of_it(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    documents = list(yaml.safe_load_all((GOLDEN / "spot-handler.yaml").read_text()))
    roles = [one for one in documents if one["kind"] in ("Role", "ClusterRole")]
    shop = next(
        one["metadata"]["namespace"] for one in roles if one["metadata"]["name"] == "spot-handler"
    )
    lab.double.deploy("order", replicas=2, namespace=shop, grace_s=3)
    eventually(lambda: lab.ready("order") == 2)
    lab.double.add_nodes(2, prefix="steady")
    lab.double.create(f"/apis/autoscaling/v2/namespaces/{shop}/horizontalpodautoscalers", {
        "metadata": {"name": "order"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "order"},
            "minReplicas": 2, "maxReplicas": 4,
        },
    })  # fmt: skip
    lab.double.budget("order", namespace=shop, app="order", minAvailable=99)
    lab.limit_to(roles)
    lab.start("spot-0", metadata, poll_s=0.3, **SHORT)
    metadata.flip(16)

    eventually(lambda: gone(lab), within_s=20)

    eventually(lambda: "SpotDrained" in str(lab.double.call("GET", "/api/v1/events")))
    assert [call for call in lab.double.calls if call["status"] == 403] == []
    assert lab.asked("delete", "pods")


def test_a_namespace_that_it_may_not_scale_is_drained_without_replacements(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    documents = list(yaml.safe_load_all((GOLDEN / "spot-handler.yaml").read_text()))
    fill(lab, replicas=2)
    lab.limit_to(one for one in documents if one["kind"] in ("Role", "ClusterRole"))
    lab.start("spot-0", metadata, poll_s=0.3)
    metadata.flip(120)

    eventually(lambda: gone(lab), within_s=30)

    assert lab.wanted("order") == 2


def test_a_node_that_is_not_named_is_found_by_its_instance(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    lab.double.add_nodes(1, prefix="own", provider_id="ap-southeast-1.i-double0001")
    handler = lab.start("", metadata, poll_s=0.3, mode="cordon-only")
    metadata.flip(200)

    eventually(lambda: lab.cordoned("own-0"))

    assert not lab.cordoned("spot-0")
    assert "watching over node own-0" in handler.text


@pytest.mark.parametrize(
    "text", ["2999-01-05T18:02:00Z", "2015-01-05T18:02:00Z"], ids=["far", "over"]
)
def test_a_notice_without_a_usable_time_drains_within_an_assumed_one(
    lab: SpotLab, metadata: MetadataDouble, text: str
) -> None:
    fill(lab, replicas=1)
    handler = lab.start("spot-0", metadata, poll_s=0.3)
    metadata.flip(None, text=text)

    eventually(lambda: gone(lab), within_s=20)

    assert 100 < handler.metric("saleops_spot_seconds_left") <= 180
    assert not lab.asked("delete", "pods")


def test_the_same_notice_read_again_is_no_second_drain_and_a_new_time_moves_the_end(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    fill(lab, replicas=1)
    handler = lab.start("spot-0", metadata, poll_s=0.2)
    metadata.flip(250)
    eventually(lambda: gone(lab), within_s=20)
    time.sleep(1)
    evictions = len(lab.asked("create", "pods/eviction"))

    metadata.flip(100)

    eventually(lambda: handler.metric("saleops_spot_seconds_left") < 101)
    time.sleep(1)
    assert handler.metric("saleops_spot_notices_total") == 1
    assert handler.metric("saleops_spot_cordons_total") == 1
    assert len(lab.asked("create", "pods/eviction")) == evictions


def test_wrong_settings_end_it_with_2_and_the_name_of_each(
    lab: SpotLab, metadata: MetadataDouble
) -> None:
    handler = lab.start("spot-0", metadata, poll_s="often", mode="maybe")

    assert handler.process.wait(15) == 2
    assert "SALEOPS_SPOT_POLL_S" in handler.text
    assert "SALEOPS_SPOT_MODE" in handler.text


def test_sigterm_ends_it_at_once_with_0(lab: SpotLab, metadata: MetadataDouble) -> None:
    handler = lab.start("spot-0", metadata, poll_s=5)
    eventually(lambda: handler.get("/livez")[0] == 200)
    began = time.monotonic()

    handler.kill(signal.SIGTERM)

    assert handler.process.returncode == 0
    assert time.monotonic() - began < 3
