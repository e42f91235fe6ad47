"""What goes wrong on purpose: shares, rules, rate limits, and what a caller can know of each."""

from collections import Counter
from typing import Any

import pytest

from local_cloud import AnswerLost, CloudRefusal, InProcessCloud, local_cloud
from saleops.services.cloud.answers import ANSWERERS, LocalCall
from saleops.services.cloud.faults import FaultPlan, Limit, Rule
from saleops.services.cloud.products import load_product
from saleops.services.cloud.world import World


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of CreateVpc that were carried out."""
    made: list[str] = []

    def answerer(call: LocalCall, world: World) -> dict[str, Any]:
        made.append(call.request_id)
        return {"VpcId": "vpc-1"}

    load_product("vpc")
    monkeypatch.setitem(ANSWERERS, ("vpc", "CreateVpc"), answerer)
    return made


def outcome(cloud: InProcessCloud) -> str:
    try:
        cloud.call("vpc", "CreateVpc", RegionId="cn-hangzhou")
    except CloudRefusal as error:
        return f"{error.status} {error.code}"
    except AnswerLost:
        return "lost"
    return "ok"


def test_shares_come_out_as_asked(counted: list[str]) -> None:
    cloud = local_cloud(faults=FaultPlan(throttle=0.3, fail=0.1, lose=0.05, seed=7))

    seen = Counter(outcome(cloud) for _ in range(2_000))

    throttled = seen["400 Throttling.User"] + seen["429 Throttling.User"]
    assert 520 < throttled < 680
    assert min(seen["400 Throttling.User"], seen["429 Throttling.User"]) > 200
    assert 60 < seen["503 ServiceUnavailable"] < 140
    assert 60 < seen["500 InternalError"] < 140
    assert 60 < seen["lost"] < 140
    assert len(counted) == seen["ok"] + seen["500 InternalError"] + seen["lost"]


def test_the_same_seed_strikes_the_same_calls() -> None:
    plan = FaultPlan(throttle=0.3, fail=0.2, lose=0.1, seed=11)
    first, again = local_cloud(faults=plan), local_cloud(faults=plan)

    assert [outcome(first) for _ in range(100)] == [outcome(again) for _ in range(100)]


def test_a_throttled_call_says_sometimes_when_to_come_back() -> None:
    cloud = local_cloud(faults=FaultPlan(throttle=1.0))
    waits = []
    for _ in range(50):
        with pytest.raises(CloudRefusal) as error:
            cloud.call("vpc", "CreateVpc", RegionId="cn-hangzhou")
        waits.append(error.value.headers.get("x-acs-retry-after"))

    assert None in waits
    assert all(200 <= int(wait) <= 2_000 for wait in waits if wait)
    assert any(waits)


def test_a_rule_strikes_the_next_calls_of_its_api_and_no_other() -> None:
    plan = FaultPlan(rules=[Rule(api="CreateVpc", times=2, code="OperationConflict", skip=1)])
    cloud = local_cloud(faults=plan)

    assert cloud.call("sts", "GetCallerIdentity")
    assert [outcome(cloud) for _ in range(4)] == [
        "ok",
        "400 OperationConflict",
        "400 OperationConflict",
        "ok",
    ]


@pytest.mark.parametrize(("when", "done"), [("before", 0), ("after", 1), ("lost", 1)])
def test_a_rule_says_whether_the_call_was_carried_out(
    when: Any, done: int, counted: list[str]
) -> None:
    cloud = local_cloud(
        faults=FaultPlan(rules=[Rule(api="vpc.CreateVpc", when=when, status=500, code="X")])
    )

    assert outcome(cloud) == ("lost" if when == "lost" else "500 X")
    assert len(counted) == done


def test_a_rate_limit_refills_with_the_clouds_time() -> None:
    cloud = local_cloud(faults=FaultPlan(limits={"vpc.CreateVpc": Limit(per_s=2, burst=3)}))

    burst = [outcome(cloud) for _ in range(4)]
    cloud.advance(0.5)
    later = [outcome(cloud) for _ in range(2)]

    assert burst == ["ok", "ok", "ok", "429 Throttling.Api"]
    assert later == ["ok", "429 Throttling.Api"]


def test_faults_change_while_the_cloud_runs() -> None:
    cloud = local_cloud()
    cloud.control("PUT", "faults", {"throttle": 1})
    throttled = outcome(cloud)
    cloud.control("DELETE", "faults")

    assert "Throttling" in throttled
    assert outcome(cloud) == "ok"


@pytest.mark.parametrize(
    "plan",
    [
        {"throttle": 2},
        {"throttle": 0.6, "fail": 0.6},
        {"latency_ms": -1},
        {"rules": [{"api": ""}]},
        {"rules": [{"api": "X", "status": 200}]},
        {"limits": {"X": {"per_s": 0}}},
        {"thrott1e": 0.5},
        {"rules": "all"},
    ],
)
def test_a_plan_that_cannot_be_is_refused_and_changes_nothing(plan: dict[str, Any]) -> None:
    cloud = local_cloud()

    with pytest.raises(CloudRefusal) as error:
        cloud.control("PUT", "faults", plan)

    assert error.value.status == 400
    assert outcome(cloud) == "ok"


def test_the_call_log_names_the_fault() -> None:
    cloud = local_cloud(faults=FaultPlan(lose=1.0))
    outcome(cloud)

    assert cloud.calls[-1]["fault"] == "answer lost"
    assert cloud.calls[-1]["outcome"] == "OK"
