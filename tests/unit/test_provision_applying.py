"""The engine that makes things: order, side by side, failures, mishaps, and a kill at every point."""

from collections import Counter
from random import Random

import pytest

from saleops.cloudapi import api_of
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.masking import document_of
from saleops.domain.cloud.resources import Resource
from saleops.errors import CloudError, Refused
from saleops.events import Finished, Warned
from saleops.operations.provision.applying import apply_provision
from saleops.operations.provision.log import provision_log
from saleops.operations.provision.planning import plan_provision, with_needs
from small_cloud import Base, Bench, Killed, Pool, SmallCloud, Topic, results


def sale() -> list[Resource]:
    """A net, two things in it, a broker with topics, and a pool that needs both sides."""
    return [
        Base("net"),
        Base("left", parent="net"),
        Base("right", parent="net"),
        Base("broker", parent="net"),
        Topic("orders", parent="broker"),
        Topic("paid", parent="broker"),
        Pool("pool", parent="left", needs=("right",)),
    ]


def test_what_is_missing_is_made_after_what_it_needs() -> None:
    bench = Bench(sale())

    report = bench.apply()

    assert set(results(report).values()) == {"created"}
    assert [call.params["name"] for call in bench.cloud.writes] == [
        f"sale-{one.key}" for one in bench.resources
    ]


def test_a_second_run_changes_nothing_and_writes_nothing() -> None:
    bench = Bench(sale())
    bench.apply()
    writes = len(bench.cloud.writes)

    report = bench.apply()

    assert set(results(report).values()) == {"no change"}
    assert not report.changed
    assert len(bench.cloud.writes) == writes


def test_a_dry_run_shows_the_calls_that_a_run_sends() -> None:
    bench = Bench(sale())
    plan = bench.plan()
    shown = [call for step in plan.steps for call in step.calls]
    assert bench.cloud.writes == []
    bench.apply()

    ids = {f"${{{one.key}.id}}": bench.cloud.thing(one.name).id for one in bench.resources}
    expected = [
        {
            **call,
            "params": {name: ids.get(value, value) for name, value in call["params"].items()},
        }
        for call in shown
    ]

    assert [document_of(call) for call in bench.cloud.writes] == expected
    assert plan.writes_count == len(expected)


def test_a_plan_is_the_same_each_time() -> None:
    bench = Bench(sale())

    assert bench.plan() == bench.plan()


def test_slow_things_come_up_side_by_side() -> None:
    bench = Bench(sale())
    bench.cloud.takes_ms = {"sale-left": 300_000, "sale-right": 300_000, "sale-broker": 240_000}

    report = bench.apply()

    assert set(results(report).values()) == {"created"}
    assert 300 <= report.took_s < 330


def test_a_broken_thing_blocks_what_needs_it_and_nothing_else() -> None:
    bench = Bench(sale())
    bench.cloud.ends = {"sale-left": "Broken"}

    report = bench.apply()

    assert results(report)["left"] == "failed"
    assert results(report)["pool"] == "blocked"
    assert results(report)["orders"] == "created"
    (failed,) = report.of("failed")
    assert failed.why == "it broke"
    assert failed.hint == "Look at the base."
    (blocked,) = report.of("blocked")
    assert "left" in blocked.why


def test_what_takes_too_long_fails_with_its_state() -> None:
    bench = Bench(sale())
    bench.cloud.takes_ms = {"sale-broker": 3_600_000}

    report = bench.apply(timeout_s=120)

    (failed,) = report.of("failed")
    assert failed.key == "broker"
    assert "still Creating after 2 min" in failed.why
    assert results(report)["pool"] == "created"


def test_what_is_on_its_way_already_is_waited_for_and_not_made_again() -> None:
    bench = Bench(sale())
    bench.cloud.takes_ms = {"sale-broker": 600_000}
    bench.apply(timeout_s=60)
    bench.cloud.takes_ms = {}

    report = bench.apply()

    assert results(report)["broker"] == "ready"
    assert results(report)["orders"] == "created"
    assert len([one for one in bench.cloud.things if one.name == "sale-broker"]) == 1


def test_a_thing_with_our_name_and_another_owner_is_left_alone() -> None:
    bench = Bench(sale())
    bench.apply()
    bench.cloud.thing("sale-left").ours = False

    plan = bench.plan()
    report = bench.apply()

    assert [step.key for step in plan.of("foreign")] == ["left"]
    assert results(report)["left"] == "left alone"
    assert report.calls.writes == 0


def test_a_drifted_field_is_changed_back_and_waited_for() -> None:
    bench = Bench(sale())
    bench.apply()
    bench.cloud.thing("sale-right").settings["size"] = 7

    plan = bench.plan()
    report = bench.apply()

    (step,) = plan.of("change")
    assert [(one.field, one.wanted, one.seen) for one in step.drift] == [("size", 1, 7)]
    assert results(report)["right"] == "changed"
    assert bench.cloud.thing("sale-right").settings["size"] == 1
    assert len(bench.plan().of("none")) == len(bench.resources)


def test_a_field_that_only_a_new_thing_would_have_needs_a_person() -> None:
    bench = Bench([Base("net", fixed=True), Base("in", parent="net")])
    bench.apply()
    bench.cloud.thing("sale-net").settings["size"] = 7

    report = bench.apply()

    assert results(report) == {"net": "replace needed", "in": "no change"}
    assert report.calls.writes == 0


def test_an_unasked_group_is_not_made_but_named() -> None:
    bench = Bench(sale())
    chosen, own = with_needs(bench.resources, ["queue"])
    bench.resources = chosen
    assert [one.key for one in chosen] == ["net", "broker", "orders", "paid"]

    with pytest.raises(Refused) as refused:
        plan_provision(
            chosen, own, bench.look(), bench.journal.history, sale="sale", cloud="", region=""
        )

    assert "base sale-net, base sale-broker" in refused.value.message
    assert "saleops provision network" in (refused.value.hint or "")
    assert bench.cloud.writes == []


# -- mishaps -----------------------------------------------------------------------------------------------------------


def once_each(cloud: SmallCloud) -> None:
    """Every thing that lives exists once."""
    counts = Counter(one.name for one in cloud.alive())
    assert set(counts.values()) == {1}, counts


@pytest.mark.parametrize("phase", ["out", "back"])
def test_a_kill_at_any_call_and_a_second_run_end_alike(phase: str) -> None:
    whole = Bench(sale())
    whole.cloud.takes_ms = {"sale-left": 40_000}
    whole.apply()
    calls = len(whole.cloud.log)
    assert calls > 20
    for at in range(1, calls + 1):
        bench = Bench(sale())
        bench.cloud.takes_ms = dict(whole.cloud.takes_ms)

        def kill(number: int, call: Call, where: str, at: int = at) -> None:
            if (number, where) == (at, phase):
                raise Killed

        bench.cloud.mishap = kill
        with pytest.raises(Killed):
            bench.apply()
        assert bench.journal.history.last_number <= len(whole.cloud.writes)

        report = bench.apply()

        assert not report.of("failed", "blocked"), (at, report)
        once_each(bench.cloud)
        assert {one.name for one in bench.cloud.alive()} == {
            f"sale-{r.key}" for r in bench.resources
        }
        again = bench.apply()
        assert again.calls.writes == 0


@pytest.mark.parametrize("seed", range(12))
def test_lost_answers_and_throttling_end_right_and_are_counted(seed: int) -> None:
    bench = Bench(sale(), seed=seed)
    random = Random(1000 + seed)

    def mishap(number: int, call: Call, phase: str) -> None:
        if phase == "out" and random.random() < 0.3:
            raise CloudError("too fast", kind="throttled", code="Throttling.User", status=400)
        if random.random() < 0.1:
            raise CloudError("no answer", kind="unknown", status=502)

    bench.cloud.mishap = mishap

    report = bench.apply()

    assert not report.of("failed", "blocked"), report
    once_each(bench.cloud)
    assert report.calls.throttled > 0
    lines = [one for one in bench.journal.lines if one["type"] in ("outcome", "read")]
    sent_again = sum(one["type"] == "intent" for one in bench.journal.lines) - report.calls.writes
    repeated = sum(sum(one.get("retries", {}).values()) for one in lines)
    assert repeated + sent_again == report.calls.retries
    told = provision_log(bench.journal.lines, sale="sale", journal="", limit=1).totals
    assert (told.writes, told.retries) == (report.calls.writes, report.calls.retries)
    assert report.calls.writes == len(sale())
    assert "Throttling.User" in {code for one in lines for code in one.get("retries", {})}


def test_a_lost_answer_is_repeated_with_the_same_token() -> None:
    bench = Bench([Base("net")])
    bench.cloud.mishap = _lose_writes_until_killed()
    with pytest.raises(Killed):
        bench.apply()
    bench.cloud.mishap = lambda number, call, phase: None
    bench.cloud.things.clear()  # it never happened, as far as lists tell
    bench.cloud.tokens.clear()
    bench.apply()

    tokens = {token for call, token in bench.cloud.log if call.api == "CreateVpc"}
    assert len(tokens) == 1
    once_each(bench.cloud)


def test_an_intent_of_another_call_is_not_repeated() -> None:
    bench = Bench([Base("net")])
    bench.cloud.mishap = _lose_writes_until_killed()
    with pytest.raises(Killed):
        bench.apply()
    bench.cloud.mishap = lambda number, call, phase: None
    bench.cloud.things.clear()
    bench.cloud.tokens.clear()
    bench.resources = [Base("net", size=3)]
    bench.apply()

    tokens = [token for call, token in bench.cloud.log if call.api == "CreateVpc"]
    assert tokens[-1] not in tokens[:-1]
    assert bench.cloud.thing("sale-net").settings["size"] == 3


def _lose_writes_until_killed():  # type: ignore[no-untyped-def]
    def mishap(number: int, call: Call, phase: str) -> None:
        if phase == "back" and not api_of(call.product, call.api).reads:
            raise Killed

    return mishap


def test_a_write_that_never_answers_is_given_up_within_bounds() -> None:
    bench = Bench([Pool("pool")])

    def mishap(number: int, call: Call, phase: str) -> None:
        if phase == "out" and not api_of(call.product, call.api).reads:
            raise CloudError("no answer", kind="unknown", status=502, request_id="R-x")

    bench.cloud.mishap = mishap

    report = bench.apply()

    (failed,) = report.of("failed")
    assert "4 times" in failed.why
    assert failed.request_id == "R-x"


def test_a_refused_call_is_told_with_code_and_request_id() -> None:
    bench = Bench(sale())

    def mishap(number: int, call: Call, phase: str) -> None:
        if call.params.get("name") == "sale-broker" and call.api == "CreateVpc":
            raise CloudError("no", kind="quota", code="QuotaExceeded", request_id="R-9", status=400)

    bench.cloud.mishap = mishap

    report = bench.apply()

    (failed,) = report.of("failed")
    assert (failed.code, failed.request_id) == ("QuotaExceeded", "R-9")
    assert results(report)["pool"] == "created"


def test_an_interrupt_says_what_is_under_way_and_the_next_run_goes_on() -> None:
    bench = Bench(sale())
    bench.cloud.takes_ms = {"sale-broker": 600_000}
    sleep, slept = bench.cloud.clock.sleep, [0]

    def interrupted(seconds: float) -> None:
        slept[0] += 1
        if slept[0] == 20:
            raise KeyboardInterrupt
        sleep(seconds)

    bench.cloud.clock.sleep = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.apply()

    (warned,) = [one for one in bench.events if isinstance(one, Warned)]
    assert "base sale-broker" in warned.details
    assert not any(isinstance(one, Finished) and not one.ok for one in bench.events)
    bench.cloud.clock.sleep = sleep  # type: ignore[method-assign]
    assert not bench.apply().of("failed", "blocked")
    once_each(bench.cloud)


def test_what_was_written_just_before_a_crash_is_not_missed_by_a_lagging_list() -> None:
    bench = Bench([Pool("pool")])

    def kill(number: int, call: Call, phase: str) -> None:
        if call.api == "DescribeClusterNodePools" and bench.cloud.things:
            raise Killed  # after the pool was made and its outcome written

    bench.cloud.mishap = kill
    with pytest.raises(Killed):
        bench.apply()
    bench.cloud.clock.ms -= 1_900  # the next run starts at once
    bench.cloud.mishap = lambda number, call, phase: None

    bench.apply()

    once_each(bench.cloud)


def test_what_needs_a_thing_that_only_a_new_one_would_mend_is_blocked_and_nothing_is_sent() -> None:
    bench = Bench(
        [Base("net", fixed=True), Base("left", parent="net"), Topic("orders", parent="left")]
    )
    bench.apply()
    bench.cloud.things[0].settings["size"] = 9
    bench.cloud.things[2].gone_ms = 0
    writes = len(bench.cloud.writes)
    verdicts = {step.key: step.verdict for step in bench.plan().steps}
    assert verdicts == {"net": "replace-needed", "left": "none", "orders": "blocked"}

    report = bench.apply()

    assert results(report) == {"net": "replace needed", "left": "no change", "orders": "blocked"}
    assert "base sale-net" in report.of("blocked")[0].why
    assert len(bench.cloud.writes) == writes


def test_a_group_whose_network_differs_says_so_and_sends_nothing() -> None:
    bench = Bench([Base("net", fixed=True), Topic("orders", parent="net")])
    bench.apply()
    bench.cloud.things[0].settings["size"] = 9
    bench.cloud.things[1].gone_ms = 0
    courier = bench.courier()
    seen = bench.look(courier)
    plan = plan_provision(
        bench.resources,
        frozenset({"orders"}),
        seen,
        bench.journal.history,
        sale="sale",
        cloud="c",
        region="r",
    )
    writes = len(bench.cloud.writes)

    report = apply_provision(plan, bench.resources, seen, courier)

    assert results(report) == {"net": "replace needed", "orders": "blocked"}
    assert len(bench.cloud.writes) == writes
