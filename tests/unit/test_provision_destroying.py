"""Taking away: order, only what is ours, waiting until it is gone, and a kill at every point."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.resources import Group, Resource
from saleops.errors import CloudError, Refused
from saleops.operations.provision.destroy_plan import DestroyPlan, plan_destroy, refuse_half
from saleops.operations.provision.destroying import apply_destroy
from saleops.operations.provision.leftovers import find_leftovers
from saleops.operations.provision.report import ProvisionReport
from saleops.operations.provision.survey import Survey
from small_cloud import Base, Bench, Killed, Pool, Topic, results


def sale() -> list[Resource]:
    return [
        Base("net"),
        Base("left", parent="net"),
        Base("broker", parent="net"),
        Topic("orders", parent="broker"),
        Pool("pool", parent="left"),
    ]


def plan_of(bench: Bench, seen: Survey) -> DestroyPlan:
    own = frozenset(one.key for one in bench.resources)
    return plan_destroy(bench.resources, own, seen, (), sale="sale", cloud="c", region="r")


def destroy(bench: Bench, *, timeout_s: float | None = None) -> ProvisionReport:
    courier = bench.courier()
    seen = bench.look(courier)
    return apply_destroy(
        plan_of(bench, seen), bench.resources, seen, (), courier, timeout_s=timeout_s
    )


def made() -> Bench:
    bench = Bench(sale())
    bench.apply()
    return bench


def test_what_was_made_last_goes_first_and_nothing_is_left() -> None:
    bench = made()
    before = len(bench.cloud.writes)
    ids = {one.id: one.name for one in bench.cloud.things}

    report = destroy(bench)

    assert set(results(report).values()) == {"deleted"}
    assert bench.cloud.alive() == []
    gone = [ids[call.params["id"]] for call in bench.cloud.writes[before:]]
    assert gone.index("sale-pool") < gone.index("sale-left") < gone.index("sale-net")
    assert gone.index("sale-orders") < gone.index("sale-broker") < gone.index("sale-net")


def test_a_plan_shows_the_calls_that_are_sent() -> None:
    bench = made()
    plan = plan_of(bench, bench.look())
    before = len(bench.cloud.writes)

    destroy(bench)

    shown = [(call["api"], call["params"]["id"]) for step in plan.steps for call in step.calls]
    assert sorted((c.api, c.params["id"]) for c in bench.cloud.writes[before:]) == sorted(shown)
    assert plan.writes_count == len(shown)


class Store(Base):
    group: ClassVar[Group] = "database"
    kind: ClassVar[str] = "PolarDB cluster"


def test_the_plan_names_what_holds_data() -> None:
    bench = Bench([Base("net"), Store("db", parent="net")])
    bench.apply()

    assert plan_of(bench, bench.look()).data == ("PolarDB cluster sale-db",)


def test_a_stranger_stays_and_what_it_stands_on_too() -> None:
    bench = made()
    bench.cloud.thing("sale-pool").ours = False

    report = destroy(bench)

    assert results(report) == {
        "pool": "left alone",
        "left": "blocked",
        "net": "blocked",
        "orders": "deleted",
        "broker": "deleted",
    }
    assert bench.cloud.thing("sale-pool")


def test_destroying_twice_is_harmless() -> None:
    bench = made()
    destroy(bench)
    writes = len(bench.cloud.writes)

    report = destroy(bench)

    assert report.steps == ()
    assert len(bench.cloud.writes) == writes


@pytest.mark.parametrize("phase", ["out", "back"])
def test_a_kill_at_any_call_and_a_second_run_leave_nothing(phase: str) -> None:
    whole = made()
    first = len(whole.cloud.log)
    destroy(whole)
    for at in range(first + 1, len(whole.cloud.log) + 1):
        bench = made()

        def kill(number: int, call: Call, where: str, at: int = at) -> None:
            if (number, where) == (at, phase):
                raise Killed

        bench.cloud.mishap = kill
        with pytest.raises(Killed):
            destroy(bench)

        destroy(bench)

        assert bench.cloud.alive() == [], at


def test_what_cannot_go_fails_with_the_clouds_reason() -> None:
    bench = made()

    def mishap(number: int, call: Call, phase: str) -> None:
        if call.api == "DeleteTopic":
            raise CloudError("not yours", kind="denied", code="Forbidden", request_id="R-1")

    bench.cloud.mishap = mishap

    report = destroy(bench)

    (failed,) = report.of("failed")
    assert (failed.key, failed.code, failed.request_id) == ("orders", "Forbidden", "R-1")
    assert results(report)["broker"] == "blocked"
    assert results(report)["left"] == "deleted"


def test_what_is_refused_while_others_go_is_tried_again() -> None:
    bench = made()
    refused = [0]

    def mishap(number: int, call: Call, phase: str) -> None:
        if call.api == "DeleteVpc" and refused[0] < 3:
            refused[0] += 1
            raise CloudError("in use", kind="failed", code="DependencyViolation")

    bench.cloud.mishap = mishap

    assert set(results(destroy(bench)).values()) == {"deleted"}


class _Lists:
    """Answers of list calls by API."""

    def __init__(self, rows: dict[str, list[dict[str, object]]]) -> None:
        self.rows = rows
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> dict[str, object]:
        self.calls.append(call)
        rows: Sequence[dict[str, object]] = self.rows.get(call.api, ())
        return {"Vpcs": {"Vpc": rows}, "clusters": rows, "data": {"list": rows}}


def test_left_overs_are_found_by_the_tag_and_the_blueprints_own_are_not_among_them() -> None:
    def row(id: str, sale: str) -> dict[str, object]:
        return {"VpcId": id, "Tags": {"Tag": [{"Key": "saleops:sale", "Value": sale}]}}

    lists = _Lists(
        {"DescribeVpcs": [row("vpc-1", "sale"), row("vpc-2", "sale"), row("vpc-3", "other")]}
    )
    bench = Bench([Base("net")])
    bench.apply()
    seen = bench.look()
    found = seen.found["net"]
    assert found is not None
    seen.found["net"] = type(found)(found.condition, found.state, {"id": "vpc-1"})

    strays = find_leftovers(lists, sale="sale", region="r", seen=seen)

    assert [(one.kind, one.id) for one in strays] == [("VPC", "vpc-2")]
    assert [call.api for call in strays[0].calls] == ["DeleteVpc"]


def test_a_twin_goes_too_and_is_not_waited_for_as_if_it_were_the_first() -> None:
    bench = Bench([Base("net")])
    bench.apply()
    first = bench.cloud.things[0]
    bench.cloud.things.append(replace(first, id="id-2"))

    report = destroy(bench)

    assert results(report) == {"net": "deleted"}
    assert bench.cloud.alive() == []
    assert report.took_s < 120


def test_a_group_that_others_stand_on_is_refused_with_their_names() -> None:
    bench = made()
    own = frozenset(
        {"net", "left", "broker"}
    )  # the group network; the topic and the pool stand on it

    with pytest.raises(Refused) as refused:
        refuse_half(bench.resources, own, bench.look(), ("network",))

    assert "topic sale-orders" in refused.value.message
    assert "pool sale-pool" in refused.value.message
    assert "`saleops provision destroy SALE --group network --group queue --group nodepool`" in (
        refused.value.hint or ""
    )
    refuse_half(bench.resources, frozenset({"pool"}), bench.look(), ("nodepool",))
