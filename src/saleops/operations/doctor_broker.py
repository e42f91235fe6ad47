"""What RocketMQ's brokers must be set to for a sale, and which of their settings are otherwise.

Only settings a sale's promise hangs on: that an order's message is on disk, that a half message is asked about soon, and for
as long as an outage may last. Defaults are those of RocketMQ 5.3.3 (org.apache.rocketmq.common.BrokerConfig and
MessageStoreConfig, read 2026-11); a setting that a broker does not name is left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from saleops.operations.doctor import OK, PROBLEM, WARNING, Check

NAME = "broker settings"
TOPICS = "broker topics"
TIMEOUT_MIN_MS, TIMEOUT_MAX_MS = 10_000, 20_000
CHECKED_FOR_MIN_MS = 24 * 3_600_000
KEPT_MIN_H = 48
DELAY_MIN_S = 24 * 3_600
BODY_MIN = 4 * 2**20
BACK_BY_UPDATE = "mqadmin updateBrokerConfig -n NAMESERVER -c CLUSTER -k {name} -v {value}"
BACK_BY_RESTART = "{name}={value} in broker.conf, then restart the broker."

Settings = Mapping[str, str]


@dataclass(frozen=True)
class _Rule:
    """``good`` answers for a broker's settings; it may raise KeyError or ValueError for what a broker does not tell."""

    name: str
    good: Callable[[Settings], bool]
    value: str  # what to set it to
    cause: str
    status: str = WARNING
    fix: str = BACK_BY_UPDATE


def _number(settings: Settings, name: str) -> int:
    return int(settings[name])


def _checked_for_ms(settings: Settings) -> int:
    return _number(settings, "transactionCheckMax") * _number(settings, "transactionCheckInterval")


RULES = (
    _Rule(
        "flushDiskType",
        lambda s: s["flushDiskType"] == "SYNC_FLUSH",
        "SYNC_FLUSH",
        "a broker that loses power loses messages it has accepted: orders wait for a repair",
        fix=BACK_BY_RESTART,
    ),
    _Rule(
        "transactionTimeOut",
        lambda s: TIMEOUT_MIN_MS <= _number(s, "transactionTimeOut") <= TIMEOUT_MAX_MS,
        str(TIMEOUT_MIN_MS),
        f"half messages are first asked about after this; below {TIMEOUT_MIN_MS // 1000} s orders are asked about that are "
        f"just being written, above {TIMEOUT_MAX_MS // 1000} s a crashed worker's buyers wait longer",
    ),
    _Rule(
        "transactionCheckMax",
        lambda s: _checked_for_ms(s) >= CHECKED_FOR_MIN_MS,
        "2880",
        "times transactionCheckInterval (30000 ms) this is how long a half message is asked about: below 24 h a long outage "
        "leaves orders to `saleops mq recheck`",
        fix=f"{BACK_BY_UPDATE}, and transactionCheckInterval to 30000.",
    ),
    _Rule(
        "timerWheelEnable",
        lambda s: s["timerWheelEnable"] == "true",
        "true",
        "without it nothing is delayed: unpaid orders are never cancelled",
        status=PROBLEM,
        fix=BACK_BY_RESTART,
    ),
    _Rule(
        "timerMaxDelaySec",
        lambda s: _number(s, "timerMaxDelaySec") >= DELAY_MIN_S,
        "259200",
        "deadlines and retries are delayed for up to a day",
        fix=BACK_BY_RESTART,
    ),
    _Rule(
        "fileReservedTime",
        lambda s: _number(s, "fileReservedTime") >= KEPT_MIN_H,
        "72",
        f"messages are kept for this many hours: below {KEPT_MIN_H} a reconcile after the sale misses the first",
    ),
    _Rule(
        "maxMessageSize",
        lambda s: _number(s, "maxMessageSize") >= BODY_MIN,
        str(BODY_MIN),
        "a group commit's message may have 4 MiB",
    ),
    _Rule(
        "autoCreateTopicEnable",
        lambda s: s["autoCreateTopicEnable"] == "false",
        "false",
        "a topic that is made by its first message is of type NORMAL and refuses half messages for good",
    ),
    _Rule(
        "popConsumerKVServiceEnable",
        lambda s: s["popConsumerKVServiceEnable"] == "false",
        "false",
        "what consumers hold is not counted: `mq status` and `rehearse` take it for done",
        fix=BACK_BY_RESTART,
    ),
    _Rule(
        "enablePopBufferMerge",
        lambda s: s["enablePopBufferMerge"] == "false",
        "false",
        "what consumers hold is not counted: `mq status` and `rehearse` take it for done",
    ),
)


def check_broker_settings(brokers: Mapping[str, Settings]) -> list[Check]:
    """One check a setting that is otherwise on some of ``brokers`` (name -> what is in force), or one that says all is well."""
    checks = []
    for rule in RULES:
        wrong = [name for name, settings in brokers.items() if not _holds(rule, settings)]
        if wrong:
            found = ", ".join(f"{brokers[name][rule.name]} on {name}" for name in wrong)
            fix = rule.fix.format(name=rule.name, value=rule.value)
            checks.append(Check(f"broker {rule.name}", rule.status, found, rule.cause, fix))
    if checks:
        return checks
    if not brokers:
        return [Check(NAME, WARNING, "none", "the name server knows no broker", "Start one.")]
    return [Check(NAME, OK, f"as they should be on {', '.join(sorted(brokers))}")]


def _holds(rule: _Rule, settings: Settings) -> bool:
    if rule.name not in settings:
        return True
    try:
        return rule.good(settings)
    except (KeyError, ValueError):  # another version's word for it: nothing to compare
        return True


def check_topics(missing: Sequence[str], *, sale: str) -> Check:
    """Whether the brokers have the sale's topics. Before the first seed they do not."""
    if not missing:
        return Check(TOPICS, OK, f"those of {sale} are there")
    return Check(
        TOPICS,
        WARNING,
        f"missing: {', '.join(missing)}",
        "not seeded yet, or RocketMQ was set up anew; no order is taken without them",
        "saleops seed SALE, which makes them",
    )


def unread() -> Check:
    """What is said of brokers that nobody can ask: a managed RocketMQ without the remoting protocol."""
    return Check(NAME, OK, "not read: the URL names no name server (?namesrv=HOST:9876)")


def unreachable(cause: str) -> Check:
    """A name server that the URL names, and that leads nowhere: a sale cannot make its topics there."""
    fix = "Correct ?namesrv= in the broker's URL, or leave it out where others make topics and groups."
    return Check(NAME, WARNING, "not read", cause, fix)
