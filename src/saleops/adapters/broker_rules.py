"""What both embedded brokers hold messages to: RocketMQ 5's limits and arithmetic.

The figures are those of RocketMQ 5.3 (bodies of 4 MiB, 32 messages a receive, delays of a day, invisibility of
twelve hours, 15 checks), so that what passes here passes there. Two are looser on purpose: a message may be invisible
for less than 10 s, because a rehearsal has no time for more, and a check interval doubles up to
``CHECK_INTERVAL_MAX_MS``, because RocketMQ's fixed one gives a half up after eight minutes of a database that is away.
"""

import re
from dataclasses import dataclass

BODY_BYTES_MAX = 4 * 2**20
RECEIVE_MAX = 32
RECEIVE_BYTES_MAX = (
    8 * 2**20
)  # bodies of one receive; the first message is handed out whatever its size
DELAY_MAX_MS = 24 * 3_600_000
INVISIBLE_MAX_MS = 12 * 3_600_000
CHECK_INTERVAL_MAX_MS = 600_000
POLL_MS = 1_000  # the longest a waiter sleeps before it looks again

_NAME = re.compile(r"[%|a-zA-Z0-9_-]{1,127}")


@dataclass(frozen=True, slots=True)
class BrokerRules:
    """How patient a broker is. Times in milliseconds.

    A half is asked about once it is ``check_after_ms`` old, again after ``check_interval_ms`` and then after twice as
    long each time; after ``check_max`` checks it is discarded. A message is delivered ``max_attempts`` times.
    """

    check_after_ms: int = 6_000
    check_interval_ms: int = 5_000
    check_max: int = 15
    max_attempts: int = 16

    def __post_init__(self) -> None:
        for name in ("check_after_ms", "check_interval_ms", "check_max", "max_attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")

    @property
    def check_interval_max_ms(self) -> int:
        return max(self.check_interval_ms, CHECK_INTERVAL_MAX_MS)


def check_name(kind: str, name: str) -> None:
    """Raises ValueError unless RocketMQ would take ``name`` for a topic or a group."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r}: 1 to 127 of the characters a-z A-Z 0-9 _ - % |")


def check_body(body: bytes) -> None:
    """Raises ValueError for a body that is empty or above 4 MiB."""
    if not body:
        raise ValueError("a message body must not be empty")
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(
            f"a message body holds at most {BODY_BYTES_MAX} bytes (4 MiB), not {len(body)}"
        )


def check_tx_id(tx_id: str) -> None:
    if not tx_id:
        raise ValueError("a half message needs a tx_id")


def check_delivery_time(deliver_at_ms: int | None, now_ms: int) -> int:
    """When a message becomes visible. Raises ValueError for a time more than a day ahead."""
    if deliver_at_ms is None:
        return now_ms
    if deliver_at_ms - now_ms > DELAY_MAX_MS:
        raise ValueError(
            f"a message may be delayed by 24 hours at most, not {deliver_at_ms - now_ms} ms"
        )
    return deliver_at_ms


def check_receive(max_messages: int, invisible_ms: int, wait_ms: int) -> int:
    """How many messages to hand out: never more than 32. Raises ValueError for impossible wishes."""
    if max_messages < 1:
        raise ValueError(f"max_messages must be 1 or more, not {max_messages}")
    if not 1 <= invisible_ms <= INVISIBLE_MAX_MS:
        raise ValueError(f"invisible_ms must be 1 to {INVISIBLE_MAX_MS}, not {invisible_ms}")
    if wait_ms < 0:
        raise ValueError(f"wait_ms must not be negative: {wait_ms}")
    return min(max_messages, RECEIVE_MAX)


def check_retry_delay(delay_ms: int) -> None:
    if not 0 <= delay_ms <= INVISIBLE_MAX_MS:
        raise ValueError(f"delay_ms must be 0 to {INVISIBLE_MAX_MS}, not {delay_ms}")
