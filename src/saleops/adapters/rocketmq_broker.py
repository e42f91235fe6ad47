"""The broker on RocketMQ 5: half messages, delays, retries and dead letters are its own, we only speak to it.

Selling goes through a proxy (gRPC, port 8081). What gRPC does not offer (topics and groups, depth, browsing, dead
letters, discarded halves) goes over the remoting protocol to the broker itself, found through the name server: without
``namesrv=`` in the URL those parts raise ConfigError and the shop sells all the same.

How it differs from the embedded broker, and why that is safe:
- A committed half may become visible twice (``commits_once``): a commit that races a check-back. Consumers are
  idempotent on the order id.
- The proxy remembers a half for 30 s and answers OK whatever the broker did with a commit. A commit that was lost, came
  late, or reached a proxy that restarted is finished by check-back, as a crash's is.
- A tx_id used twice is noticed by the process that used it, not by RocketMQ.
- When halves are asked about, and how often, is the server's setting (transactionTimeOut, ...CheckInterval, ...CheckMax).
- An acknowledgement after the invisible time is refused, though nobody else got the message: it comes again.
- Dead letters are moved at the receive that would be one delivery too many, and that needs somebody who receives.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

from saleops.adapters import rocketmq_wire as wire
from saleops.adapters.rocketmq_client import Session, load_client
from saleops.adapters.rocketmq_desk import CLEARED_NOTE, Desk, half_note, letter_note
from saleops.adapters.rocketmq_names import TYPES, Names, TopicType
from saleops.adapters.rocketmq_receiving import Receiver
from saleops.adapters.rocketmq_transactions import Transactions
from saleops.adapters.rocketmq_url import RocketmqUrl
from saleops.domain.messages import replay_topic
from saleops.ports.broker import Checker, DeadLetter, Depth, Half, Message, Resolution
from saleops.ports.clock import Clock, WallClock


class RocketmqBroker:
    """One sale's messages. Made with ``from_url``; belongs to the event loop that first uses it.

    Sending, receiving, transactions and looking are a module each; this one is the port.
    """

    commits_once = False

    def __init__(
        self,
        url: RocketmqUrl,
        *,
        sale: str,
        max_attempts: int = 16,
        types: Mapping[str, TopicType] = TYPES,
        queues: int = 8,
        clock: Clock | None = None,
        timeout_s: float = 5.0,
        watch_s: float = 5.0,
    ) -> None:
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be 1 or more, not {max_attempts}")
        clock = clock or WallClock()
        self._names = Names(sale, types)
        self._session = Session(url, timeout_s=timeout_s, watch_s=watch_s)
        self._desk = Desk(
            url, self._names, max_attempts=max_attempts, queues=queues, timeout_s=timeout_s
        )
        self._session.restore_with(self._desk.restore)
        self._transactions = Transactions(self._session, self._names, self._desk, clock)
        self._sender = self._transactions.sender
        self._receiver = Receiver(self._session, self._sender, self._names, self._desk, clock)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        sale: str,
        max_attempts: int = 16,
        types: Mapping[str, TopicType] = TYPES,
        queues: int = 8,
        clock: Clock | None = None,
        timeout_s: float = 5.0,
    ) -> "RocketmqBroker":
        """The broker behind rocketmq://. Opens nothing yet. Raises ConfigError for a URL that cannot be right, and where
        the client is not installed."""
        parsed = RocketmqUrl.parse(url)
        load_client()
        return cls(
            parsed,
            sale=sale,
            max_attempts=max_attempts,
            types=types,
            queues=queues,
            clock=clock,
            timeout_s=timeout_s,
        )

    # -- selling -------------------------------------------------------------------------------------------

    async def send_half(self, topic: str, tx_id: str, body: bytes, *, trace: str = "") -> Half:
        return await self._transactions.send(topic, tx_id, body, trace=trace)

    async def commit(self, half: Half) -> None:
        await self._transactions.end(half, Resolution.COMMIT)

    async def rollback(self, half: Half) -> None:
        await self._transactions.end(half, Resolution.ROLLBACK)

    async def start_checks(self, topics: Sequence[str], checker: Checker) -> None:
        await self._transactions.start_checks(topics, checker)

    async def publish(self, topic: str, body: bytes, *, deliver_at_ms: int | None = None) -> None:
        await self._sender.publish(topic, body, deliver_at_ms=deliver_at_ms)

    async def receive(
        self, topic: str, group: str, *, max_messages: int, invisible_ms: int, wait_ms: int
    ) -> list[Message]:
        return await self._receiver.receive(
            topic, group, max_messages=max_messages, invisible_ms=invisible_ms, wait_ms=wait_ms
        )

    async def ack(self, messages: Sequence[Message]) -> None:
        await self._receiver.ack(messages)

    async def retry_later(self, message: Message, *, delay_ms: int) -> None:
        await self._receiver.retry_later(message, delay_ms=delay_ms)

    async def dead_letter(self, message: Message, *, reason: str) -> None:
        await self._receiver.dead_letter(message, reason=reason)

    # -- looking -------------------------------------------------------------------------------------------

    async def depth(self, topic: str, group: str) -> Depth:
        self._session.check_open()
        return await self._desk.depth(topic, group)

    def browse(self, topic: str) -> AsyncIterator[bytes]:
        return self._desk.browse(topic)

    def open_halves(self, topic: str) -> AsyncIterator[Half]:
        """The half messages of ``topic`` that have no end yet, in no order."""
        return self._desk.open_halves(topic)

    def dead_letters(self, topic: str, group: str) -> AsyncIterator[DeadLetter]:
        return self._desk.letters(topic, group)

    async def replay(self, topic: str, group: str, letter: DeadLetter) -> bool:
        there = await self._kept(topic, group, letter)
        if there is None:
            return False
        await self.publish(replay_topic(topic), there.body)
        await self._sender.note(letter_note(self._names.group(group), letter.message_id))
        return True

    async def drop(self, topic: str, group: str, letter: DeadLetter) -> bool:
        if await self._kept(topic, group, letter) is None:
            return False
        await self._sender.note(letter_note(self._names.group(group), letter.message_id))
        return True

    async def _kept(self, topic: str, group: str, letter: DeadLetter) -> DeadLetter | None:
        """The letter as the broker has it; None when it was sent again or dropped."""
        async for kept in self._desk.letters(topic, group):
            if kept.message_id == letter.message_id:
                return kept
        return None

    def discarded(self, topic: str) -> AsyncIterator[Half]:
        return self._desk.discarded(topic)

    async def forget_discarded(self, topic: str, tx_ids: Sequence[str]) -> None:
        for tx_id in tx_ids:
            await self._sender.note(half_note(topic, tx_id))

    # -- the whole -----------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make the sale's topics and groups, where the URL names the name server."""
        if self._desk.open:
            await self._desk.prepare()

    async def missing_topics(self) -> list[str]:
        """The sale's topics that RocketMQ does not have, by its names: it was set up anew, or nobody seeded yet."""
        return await self._desk.missing()

    async def clear(self) -> None:
        self._session.check_open()
        topics, groups = await self._receiver.clear()
        await self._desk.clear([*topics, *self._sender.used], groups)
        self._sender.forget()
        self._transactions.forget()
        await self._sender.note(CLEARED_NOTE)

    async def ping(self) -> None:
        producer = await self._transactions.producers.sending()
        # Whether the topic exists is not the question: any answer but "you may not" is a sign of life.
        name = self._names.places(next(iter(TYPES)))[0].name
        answer = await self._session.ask_route(producer, name, "asking for a sign of life")
        if wire.is_refusal(answer.status):
            self._session.check(answer.status, "asking for a sign of life")

    async def close(self) -> None:
        await self._receiver.close()
        await self._transactions.close()
        await self._desk.close()
        await self._session.close()
