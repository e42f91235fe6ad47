"""What a sale's topics and groups are called on RocketMQ, and of which type each topic is.

One place for those who send and receive (adapters/rocketmq_*) and those who make them (``saleops provision queue``). A
RocketMQ topic takes messages of one type: TRANSACTION for halves, NORMAL for messages to be seen at once, DELAY for
those that may wait for their time.
"""

from collections.abc import Mapping
from enum import Enum

from saleops.domain.messages import DEADLINES, ORDERS, PAID, READERS, retry_topic

TOPIC_MAX = 127
GROUP_MAX = 120
MANAGED_TOPIC_MAX = 60
"""The longest topic name of an instance that Alibaba Cloud runs (reference section 7)."""

SETTLED = "settled"
"""Where we note which dead letters and discarded halves were looked after."""


class TopicType(Enum):
    TRANSACTION = "TRANSACTION"
    NORMAL = "NORMAL"
    DELAY = "DELAY"


TYPES: Mapping[str, TopicType] = {
    ORDERS: TopicType.TRANSACTION,
    PAID: TopicType.NORMAL,
    DEADLINES: TopicType.DELAY,
    retry_topic(ORDERS): TopicType.DELAY,
    retry_topic(PAID): TopicType.DELAY,
    retry_topic(DEADLINES): TopicType.DELAY,
}


def topic_name(sale: str, topic: str) -> str:
    """What ``topic`` of ``sale`` is called. Raises ValueError for a name RocketMQ would not take."""
    return fitting("topic", f"{sale}-{topic}", TOPIC_MAX)


def group_name(sale: str, group: str) -> str:
    return fitting("group", f"{sale}-{group}", GROUP_MAX)


def managed_dead_letters(sale: str, group: str) -> str:
    """The topic for the dead letters of ``group`` on an instance of Alibaba Cloud, where ``%DLQ%`` names cannot be made."""
    return topic_name(sale, f"{group}-dlq")


def managed_topics(sale: str) -> dict[str, TopicType]:
    """Every topic to make for ``sale`` on such an instance, dead letters last. Raises ValueError for a name too long."""
    topics = {topic_name(sale, topic): type for topic, type in TYPES.items()}
    topics[topic_name(sale, SETTLED)] = TopicType.NORMAL
    for _, group in READERS:
        topics[managed_dead_letters(sale, group)] = TopicType.NORMAL
    for topic in topics:
        fitting("topic", topic, MANAGED_TOPIC_MAX)
    return topics


def managed_groups(sale: str) -> dict[str, str]:
    """Every consumer group of ``sale``, with the topic for its dead letters."""
    return {group_name(sale, group): managed_dead_letters(sale, group) for _, group in READERS}


def fitting(kind: str, name: str, longest: int) -> str:
    if len(name) > longest:
        raise ValueError(f"{kind} {name!r} has {len(name)} characters, RocketMQ takes {longest}")
    return name
