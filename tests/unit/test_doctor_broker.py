"""What ``saleops doctor`` says of RocketMQ's settings: each limit from both sides, and what cannot be read."""

import pytest

from saleops.operations.doctor import report_of
from saleops.operations.doctor_broker import (
    RULES,
    check_broker_settings,
    check_topics,
    unreachable,
    unread,
)

GOOD = {
    "flushDiskType": "SYNC_FLUSH",
    "transactionTimeOut": "10000",
    "transactionCheckInterval": "30000",
    "transactionCheckMax": "2880",
    "timerWheelEnable": "true",
    "timerMaxDelaySec": "259200",
    "fileReservedTime": "72",
    "maxMessageSize": "4194304",
    "autoCreateTopicEnable": "false",
    "popConsumerKVServiceEnable": "false",
    "enablePopBufferMerge": "false",
}


def test_a_broker_as_it_should_be_is_one_line() -> None:
    [check] = check_broker_settings({"broker-a": GOOD, "broker-b": GOOD})
    assert (check.status, check.found) == ("ok", "as they should be on broker-a, broker-b")


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("flushDiskType", "ASYNC_FLUSH", "warning"),
        ("transactionTimeOut", "9999", "warning"),
        ("transactionTimeOut", "20000", ""),
        ("transactionTimeOut", "20001", "warning"),
        ("transactionCheckMax", "2879", "warning"),
        ("transactionCheckMax", "2881", ""),
        ("timerWheelEnable", "false", "problem"),
        ("timerMaxDelaySec", "86399", "warning"),
        ("timerMaxDelaySec", "86400", ""),
        ("fileReservedTime", "47", "warning"),
        ("maxMessageSize", "4194303", "warning"),
        ("autoCreateTopicEnable", "true", "warning"),
        ("popConsumerKVServiceEnable", "true", "warning"),
        ("enablePopBufferMerge", "true", "warning"),
    ],
)
def test_a_setting_is_held_to_what_a_sale_needs(name: str, value: str, status: str) -> None:
    checks = check_broker_settings({"broker-a": GOOD, "broker-b": {**GOOD, name: value}})

    wrong = [one for one in checks if one.status != "ok"]
    assert [(one.name, one.status) for one in wrong] == (
        [(f"broker {name}", status)] if status else []
    )
    for one in wrong:
        assert one.found == f"{value} on broker-b"
        assert one.cause
        assert name in one.fix


def test_a_short_interval_is_made_up_for_by_more_checks() -> None:
    often = {**GOOD, "transactionCheckInterval": "1000"}
    assert check_broker_settings({"a": often})[0].name == "broker transactionCheckMax"
    assert check_broker_settings({"a": {**often, "transactionCheckMax": "86400"}})[0].status == "ok"


def test_what_a_broker_does_not_tell_is_not_held_against_it() -> None:
    assert check_broker_settings({"a": {}})[0].status == "ok"
    assert check_broker_settings({"a": {"transactionTimeOut": "10s"}})[0].status == "ok"


def test_every_rule_would_be_content_with_the_value_it_asks_for() -> None:
    for rule in RULES:
        [check] = check_broker_settings({"a": {**GOOD, rule.name: rule.value}})
        assert check.status == "ok", rule.name


def test_a_name_server_without_brokers_or_out_of_reach_is_a_warning_and_none_is_fine() -> None:
    assert [check_broker_settings({})[0].status, unreachable("refused").status] == ["warning"] * 2
    assert report_of([unreachable("refused"), unread()]).healthy
    assert "namesrv" in unread().found


def test_topics_that_are_not_there_are_named_with_the_command_that_makes_them() -> None:
    assert check_topics([], sale="drop").status == "ok"
    check = check_topics(["drop-orders", "drop-paid"], sale="drop")
    assert (check.status, check.found) == ("warning", "missing: drop-orders, drop-paid")
    assert "saleops seed" in check.fix
