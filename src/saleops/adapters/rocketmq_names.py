"""What a sale's topics and groups are called on RocketMQ, and of which type each topic is.

A RocketMQ topic takes messages of one type: TRANSACTION for halves, NORMAL for messages to be seen at once, DELAY for
those that may wait for their time. Our topics know one type each (``TYPES``). A topic that is in no such table, and
every topic of the contract suite, takes halves and messages alike: two topics of RocketMQ stand behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from saleops.adapters.broker_rules import check_name
from saleops.domain.messages import DEADLINES, ORDERS, PAID, retry_topic

_NAME_MAX = 127
_GROUP_MAX = 120


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


@dataclass(frozen=True, slots=True)
class Place:
    """A topic of RocketMQ's behind a topic of ours."""

    topic: str
    name: str
    type: TopicType


class Names:
    """The names of one sale. ``types`` says which topics are of one type only."""

    def __init__(self, sale: str, types: Mapping[str, TopicType] = TYPES) -> None:
        check_name("sale", sale)
        self._sale = sale
        self._types = types

    def places(self, topic: str) -> tuple[Place, ...]:
        """Where messages of ``topic`` may be. Raises ValueError for a name RocketMQ would not take."""
        check_name("topic", topic)
        if topic == self.settled.topic:
            raise ValueError(f"topic {topic!r} is taken: the broker keeps its own notes there")
        plain = _fitting("topic", f"{self._sale}-{topic}", _NAME_MAX)
        if only := self._types.get(topic):
            return (Place(topic, plain, only),)
        halves = _fitting("topic", f"{self._sale}-{topic}-tx", _NAME_MAX)
        return (
            Place(topic, halves, TopicType.TRANSACTION),
            Place(topic, plain, TopicType.DELAY),
        )

    def halves(self, topic: str) -> Place:
        """Where halves of ``topic`` go. Raises ValueError for a topic that takes none."""
        for place in self.places(topic):
            if place.type is TopicType.TRANSACTION:
                return place
        raise ValueError(f"topic {topic!r} takes no half messages on RocketMQ: it is not for them")

    def messages(self, topic: str) -> Place:
        """Where messages of ``topic`` go. Raises ValueError for a topic that takes halves only."""
        for place in self.places(topic):
            if place.type is not TopicType.TRANSACTION:
                return place
        raise ValueError(f"topic {topic!r} takes half messages only on RocketMQ")

    def group(self, group: str) -> str:
        check_name("group", group)
        return _fitting("group", f"{self._sale}-{group}", _GROUP_MAX)

    def check_pair(self, place: Place, group: str) -> None:
        """A retried message waits under both names: too long, and RocketMQ drops it without a word."""
        _fitting("retry topic", f"%RETRY%{self.group(group)}_{place.name}", _NAME_MAX)

    @property
    def settled(self) -> Place:
        """Where we note which dead letters and discarded halves were looked after."""
        return Place("settled", f"{self._sale}-settled", TopicType.NORMAL)

    @property
    def known_topics(self) -> tuple[str, ...]:
        return tuple(self._types)


def dead_letter_topic(group: str) -> str:
    """Where RocketMQ keeps the dead letters of a group of its own naming."""
    return f"%DLQ%{group}"


def _fitting(kind: str, name: str, longest: int) -> str:
    if len(name) > longest:
        raise ValueError(f"{kind} {name!r} has {len(name)} characters, RocketMQ takes {longest}")
    return name
