"""The handler step by step in virtual time, killed before and after every change that it makes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kube_double import KubeDouble, kube_double
from saleops.adapters.lightkube_cluster import LightkubeCluster
from saleops.errors import ConfigError
from saleops.services.spot_handler.handler import Handler
from saleops.services.spot_handler.metadata import Answer, Notice, Safe, Unknown
from saleops.services.spot_handler.metrics import Metrics
from saleops.services.spot_handler.probes import Probes
from saleops.services.spot_handler.record import Raised, Record, read_record
from saleops.services.spot_handler.settings import METADATA_URL, Settings, load_settings

DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/order"
HPA = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
CHANGES = (
    "set_unschedulable", "add_taint", "remove_taint", "label", "annotate", "set_replicas",
    "set_hpa_bounds", "evict", "delete_pod",
)  # fmt: skip


class Killed(BaseException):
    """The process is gone."""


class Fragile:
    """The cluster, until the ``at``-th change: the handler dies before it, or between it and its answer."""

    def __init__(self, inner: LightkubeCluster, at: int, *, after: bool) -> None:
        self._inner = inner
        self._left = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        return self._guarded(method) if name in CHANGES else method

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            answer = method(*given, **named)
            if self._left == 0:
                raise Killed
            return answer

        return call


class Said:
    """A metadata service that says what it is told to."""

    def __init__(self) -> None:
        self.answer: Answer = Safe()

    def termination(self) -> Answer:
        return self.answer

    def instance_id(self) -> str:
        return ""


class Stage:
    def __init__(self, *, hpa: bool = False, replicas: int = 3) -> None:
        self.double: KubeDouble = kube_double(start_s=2.0, stop_s=1.0)
        self.double.add_nodes(1, prefix="spot", cpu="4")
        self.double.deploy("order", replicas=replicas, namespace="shop")
        self.double.advance(10)
        self.double.add_nodes(2, prefix="steady")
        if hpa:
            target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "order"}
            spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": replicas}
            self.double.create(HPA, {"metadata": {"name": "order"}, "spec": spec})
        self.said = Said()
        self.metrics = Metrics()

    def now_s(self) -> float:
        return self.double.api.time.now_ms() / 1000

    def notice(self, in_s: float) -> None:
        at = datetime.fromtimestamp(self.now_s() + in_s, UTC)
        self.said.answer = Notice(at, at.isoformat())

    def handler(self, cluster: Any = None, **settings: Any) -> Handler:
        return Handler(
            cluster or self.double.cluster(),
            self.said,  # type: ignore[arg-type]  # as much of it as is asked
            Settings(node="spot-0", **settings),
            self.metrics,
            wall_s=self.now_s,
            monotonic_s=self.now_s,
        )

    def play(self, handler: Handler, seconds: int) -> int:
        """Poll, step and let a second pass; the fewest ready pods there were."""
        fewest = 99
        for _ in range(seconds):
            handler.poll()
            handler.step()
            self.double.advance(1)
            fewest = min(fewest, self.ready())
        return fewest

    def pods(self, node: str = "") -> list[dict[str, Any]]:
        items = self.double.call("GET", "/api/v1/pods")[1]["items"]
        return [one for one in items if not node or one["spec"].get("nodeName") == node]

    def ready(self) -> int:
        return sum(
            1
            for one in self.pods()
            if "deletionTimestamp" not in one["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"].get("conditions", []))
        )  # fmt: skip

    def wanted(self) -> int:
        return int(self.double.call("GET", DEPLOYMENT)[1]["spec"]["replicas"])

    def node(self) -> dict[str, Any]:
        return dict(self.double.call("GET", "/api/v1/nodes/spot-0")[1])

    def bounds(self) -> tuple[int, int]:
        spec = self.double.call("GET", f"{HPA}/order")[1]["spec"]
        return spec["minReplicas"], spec["maxReplicas"]


@pytest.mark.parametrize("after", [False, True], ids=["before-the-change", "before-its-answer"])
@pytest.mark.parametrize("at", range(1, 24))
@pytest.mark.parametrize("hpa", [False, True], ids=["deployment", "autoscaler"])
def test_a_handler_killed_at_any_change_ends_its_drain_in_its_next_life(
    at: int, after: bool, hpa: bool
) -> None:
    stage = Stage(hpa=hpa)
    stage.notice(250)
    first = stage.handler(Fragile(stage.double.cluster(), at, after=after))
    fewest = 99
    try:
        fewest = min(fewest, stage.play(first, 60))
    except Killed:
        pass
    finally:
        first.stop()

    fewest = min(fewest, stage.play(stage.handler(), 120))

    assert stage.pods("spot-0") == []
    assert stage.node()["spec"]["unschedulable"] is True
    record = read_record(stage.node()["metadata"]["annotations"])
    assert record is not None
    assert record.finished
    assert fewest >= 3
    # A handler that dies while it raises a Deployment may leave that one surge behind; it never lowers what it did not raise.
    assert 3 <= stage.wanted() <= 6
    if hpa:
        assert stage.bounds() == (1, 3)
        assert "spot-floor" not in str(stage.double.call("GET", f"{HPA}/order")[1]["metadata"])


@pytest.mark.parametrize("hpa", [False, True], ids=["deployment", "autoscaler"])
def test_an_undisturbed_drain_leaves_every_size_as_it_was(hpa: bool) -> None:
    stage = Stage(hpa=hpa)
    stage.notice(250)

    assert stage.play(stage.handler(), 60) >= 3

    assert stage.pods("spot-0") == []
    if not hpa:
        assert stage.wanted() == 3
    else:
        assert stage.bounds() == (1, 3)


def test_nothing_is_done_without_a_notice() -> None:
    stage = Stage()
    before = stage.double.api.calls.count

    stage.play(stage.handler(), 20)

    changes = [one for one in stage.double.calls[before:] if one.get("verb") not in ("get", "list")]
    assert changes == []


def test_unknown_answers_neither_start_nor_end_anything() -> None:
    stage = Stage()
    handler = stage.handler(mode="cordon-only")
    stage.said.answer = Unknown("no answer")
    stage.play(handler, 10)
    assert "unschedulable" not in stage.node()["spec"]
    stage.notice(200)
    stage.play(handler, 2)
    stage.said.answer = Unknown("no answer")

    stage.play(handler, 20)

    assert stage.node()["spec"]["unschedulable"] is True


def test_two_safe_answers_are_no_withdrawal() -> None:
    stage = Stage()
    handler = stage.handler(mode="cordon-only")
    stage.notice(200)
    stage.play(handler, 2)
    stage.said.answer = Safe()
    stage.play(handler, 2)
    assert stage.node()["spec"]["unschedulable"] is True

    stage.play(handler, 2)

    assert "unschedulable" not in stage.node()["spec"]


def test_a_withdrawal_after_the_switch_is_not_believed_until_the_machine_has_outlived_its_end() -> (
    None
):
    stage = Stage(replicas=1)
    stage.double.budget("order", namespace="shop", app="order", minAvailable=9)
    handler = stage.handler()
    stage.notice(80)  # deadline 50, the grace is 30: the switch is at 17
    stage.play(handler, 30)
    assert stage.pods("spot-0") == []
    stage.said.answer = Safe()
    stage.play(handler, 30)
    assert stage.node()["spec"]["unschedulable"] is True

    stage.play(handler, 60)

    assert "unschedulable" not in stage.node()["spec"]


def test_what_an_owner_scaled_meanwhile_stays() -> None:
    stage = Stage()
    handler = stage.handler()
    stage.notice(250)
    stage.play(handler, 1)
    assert stage.wanted() == 6
    stage.double.patch(DEPLOYMENT, {"spec": {"replicas": 10}})  # four more for the sale

    stage.play(handler, 60)

    assert stage.wanted() == 7


def test_bounds_that_somebody_else_set_meanwhile_stay() -> None:
    stage = Stage(hpa=True)
    handler = stage.handler()
    stage.notice(250)
    stage.play(handler, 1)
    stage.double.patch(f"{HPA}/order", {"spec": {"minReplicas": 8, "maxReplicas": 20}})

    stage.play(handler, 60)

    assert stage.bounds() == (8, 20)


def test_a_pod_under_two_budgets_is_deleted_at_the_switch() -> None:
    stage = Stage(replicas=1)
    for name in ("one", "two"):
        stage.double.budget(name, namespace="shop", app="order", minAvailable=0)
    handler = stage.handler()
    stage.notice(100)  # the switch is at 37
    stage.play(handler, 30)
    assert stage.pods("spot-0")

    stage.play(handler, 15)

    assert stage.pods("spot-0") == []
    assert stage.metrics.of("saleops_spot_evictions_total", "misconfigured") >= 1
    assert stage.metrics.of("saleops_spot_evictions_total", "deleted") >= 1


def test_a_clock_that_is_behind_the_clouds_does_not_make_it_late() -> None:
    stage = Stage(replicas=1)
    stage.double.budget("order", namespace="shop", app="order", minAvailable=9)
    handler = stage.handler()
    at = datetime.fromtimestamp(stage.now_s() + 100 + 60, UTC)
    stage.said.answer = Notice(
        at, at.isoformat(), skew_s=60.0
    )  # theirs is a minute ahead: 100 s are left

    stage.play(handler, 45)

    assert stage.pods("spot-0") == []


def held() -> Stage:
    """A pod that its budget never lets go."""
    stage = Stage(replicas=1)
    stage.double.budget("order", namespace="shop", app="order", minAvailable=9)
    return stage


@pytest.mark.parametrize("skew_s", [3600.0, -3600.0])
@pytest.mark.parametrize("at", [0, 1, 5])
def test_one_wrong_clock_moves_no_deadline(at: int, skew_s: float) -> None:
    stage = held()
    handler = stage.handler()
    stage.play(handler, at)
    stage.notice(300)
    right = stage.said.answer
    assert isinstance(right, Notice)
    stage.said.answer = Notice(right.terminates, right.text, skew_s)
    stage.play(handler, 1)
    stage.said.answer = right

    stage.play(handler, 60)

    assert stage.metrics.of("saleops_spot_evictions_total", "deleted") == 0
    record = read_record(stage.node()["metadata"]["annotations"])
    assert record is not None
    assert abs(record.termination_s - right.terminates.timestamp()) < 3


@pytest.mark.parametrize("in_s", [-1e6, -1.0, 2.0, 1e6])
def test_one_answer_with_an_odd_time_deletes_nothing_at_once(in_s: float) -> None:
    stage = held()
    handler = stage.handler()
    stage.notice(in_s)
    stage.play(handler, 1)
    stage.said.answer = Unknown("no answer")

    stage.play(handler, 60)

    assert stage.metrics.of("saleops_spot_evictions_total", "deleted") == 0


def test_a_record_whose_end_is_long_over_deletes_nothing() -> None:
    stage = held()
    record = Record(180.0, 0.0)
    path = "/api/v1/nodes/spot-0"
    stage.double.patch(path, {"metadata": {"annotations": {"saleops.io/spot-drain": record.encoded()}}})  # fmt: skip

    stage.play(stage.handler(), 10)

    assert stage.pods("spot-0")
    assert "unschedulable" not in stage.node()["spec"]


def test_a_pod_that_lands_after_the_drain_goes_too() -> None:
    stage = Stage()
    handler = stage.handler()
    stage.notice(250)
    stage.play(handler, 60)
    assert stage.pods("spot-0") == []
    spec = {"nodeName": "spot-0", "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "a", "image": "x/y:1"}]}  # fmt: skip
    stage.double.create(
        "/api/v1/namespaces/shop/pods", {"metadata": {"name": "late"}, "spec": spec}
    )
    assert stage.pods("spot-0")

    stage.play(handler, 60)

    assert stage.pods("spot-0") == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\x00", '{"termination_s": "soon"}'])
def test_a_record_that_cannot_be_read_is_none(text: str) -> None:
    assert read_record({"saleops.io/spot-drain": text}) is None


def test_a_record_comes_back_as_it_was_written() -> None:
    record = Record(1.0, 2.0, "x", True, surged={"shop/order": Raised(2, 5, True, "order")})

    assert read_record({"saleops.io/spot-drain": record.encoded()}) == record


def test_another_metadata_service_has_to_be_on_loopback() -> None:
    for url in (
        "http://10.0.0.1",
        "https://127.0.0.1:80",
        "http://127.0.0.1:1/x",
        "http://[::",
        "x",
    ):
        with pytest.raises(ConfigError, match="SALEOPS_METADATA_URL"):
            load_settings({"SALEOPS_METADATA_URL": url})
    assert load_settings({"SALEOPS_METADATA_URL": "http://127.0.0.1:99/"}).metadata_url.endswith(
        "99"
    )
    assert load_settings({}).metadata_url == METADATA_URL


@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf", "1e9"])
def test_every_wrong_number_is_named(value: str) -> None:
    names = ("POLL_S", "TICK_S", "MARGIN_S", "SURGE_S", "GRACE_MAX_S", "ADMIN_PORT")

    with pytest.raises(ConfigError) as raised:
        load_settings({f"SALEOPS_SPOT_{name}": value for name in names})

    assert all(f"SALEOPS_SPOT_{name}" in raised.value.message for name in names)


def test_probes_say_why() -> None:
    why = ["", "", ""]
    probes = Probes(lambda: why[0], lambda: why[1], lambda: why[2])
    assert [probes.answer(path)[0] for path in ("/livez", "/readyz", "/metrics", "/x")] == [
        200, 200, 200, 404,
    ]  # fmt: skip
    why[0] = "polling has not moved"

    assert probes.answer("/livez") == (503, "polling has not moved\n")


def test_loops_that_stand_still_are_dead_and_a_silent_service_is_not_ready() -> None:
    stage = Stage()
    handler = stage.handler()
    stage.play(handler, 2)
    assert (handler.why_dead(), handler.why_not_ready()) == ("", "")
    stage.said.answer = Unknown("no answer")
    stage.play(handler, 40)
    assert "does not answer" in handler.why_not_ready()

    stage.double.advance(400)

    assert "has not moved" in handler.why_dead()


def test_metrics_are_prometheus_text() -> None:
    metrics = Metrics()
    metrics.count("saleops_spot_evictions_total", "refused", 3)

    text = metrics.text()

    assert 'saleops_spot_evictions_total{outcome="refused"} 3\n' in text
    assert "saleops_spot_seconds_left -1\n" in text
    assert text.count("# TYPE") == text.count("# HELP") == 11
