"""What a sale's topics and groups are called on RocketMQ, and of which type each topic is.

A RocketMQ topic takes messages of one type: TRANSACTION for halves, NORMAL for messages to be seen at once, DELAY for
those that may wait for their time. Our topics know one type each (``TYPES``). A topic that is in no such table, and
every topic of the contract suite, takes halves and messages alike: two topics of RocketMQ stand behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from saleops.adapters.broker_rules import check_name
from saleops.domain.topics import SETTLED, TOPIC_MAX, TYPES, TopicType, fitting, group_name

__all__ = ["TYPES", "Names", "Place", "TopicType", "dead_letter_topic"]


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
        plain = fitting("topic", f"{self._sale}-{topic}", TOPIC_MAX)
        if only := self._types.get(topic):
            return (Place(topic, plain, only),)
        halves = fitting("topic", f"{self._sale}-{topic}-tx", TOPIC_MAX)
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
        return group_name(self._sale, group)

    def check_pair(self, place: Place, group: str) -> None:
        """A retried message waits under both names: too long, and RocketMQ drops it without a word."""
        fitting("retry topic", f"%RETRY%{self.group(group)}_{place.name}", TOPIC_MAX)

    @property
    def settled(self) -> Place:
        """Where we note which dead letters and discarded halves were looked after."""
        return Place(SETTLED, f"{self._sale}-{SETTLED}", TopicType.NORMAL)

    @property
    def known_topics(self) -> tuple[str, ...]:
        return tuple(self._types)


def dead_letter_topic(group: str) -> str:
    """Where RocketMQ keeps the dead letters of a group of its own naming."""
    return f"%DLQ%{group}"
