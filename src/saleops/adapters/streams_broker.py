"""The embedded broker: RocketMQ's half messages, delays, retries and dead letters on a Redis or Valkey stream.

A topic's keys share the hash tag ``{SALE:TOPIC}``, so every act is one atomic Lua script, on a cluster too:

    half, born, asked, checks   half messages: bodies, birth, checks so far, next check
    log                         stream of every visible message, kept until ``clear``: the ledger reads it
    delay, delayed              messages that wait for their time; receive moves them to the log
    group:GROUP:cursor          how far into the log the group has read, from the log's start
    group:GROUP:flight          zset: handed-out messages by the time they may come again
    group:GROUP:attempts        deliveries of each of those, which also tells a good receipt from a stale one
    dead:GROUP, discarded       streams kept for a person: dead letters, halves nobody could resolve
    sent                        keys of the last minute: a send repeated after a lost reply is no second message

Groups keep their own cursor and deadlines instead of XREADGROUP's pending list: deadlines then run on the clock that
the caller passes (virtual in tests and rehearsals), depth is exact, and nothing is handed out without a deadline.
The log is not trimmed yet; trimming has to lower each cursor's ``read`` by what it removes.

Safe to send twice: every script but receive and lease, which are not repeated; what a lost reply held comes again after
its invisible time. A killed caller loses nothing: halves are asked about, deliveries come again. A killed server loses
what its append-only file lacks: at most the last second with ``appendfsync everysec``. Needs Redis 7 or Valkey.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any
from uuid import uuid4

from saleops.adapters.broker_rules import (
    POLL_MS,
    RECEIVE_BYTES_MAX,
    BrokerRules,
    check_body,
    check_delivery_time,
    check_name,
    check_receive,
    check_retry_delay,
    check_tx_id,
)
from saleops.adapters.check_back import LEASE_MAX, CheckBack, Lease
from saleops.adapters.streams_server import ScriptRefused, StreamsServer
from saleops.domain.messages import replay_topic
from saleops.ports.broker import Checker, DeadLetter, Depth, Half, Message
from saleops.ports.clock import Clock, WallClock

log = logging.getLogger(__name__)

_REMEMBER_MS = 60_000  # far above the time a send and its repeats take
_REMEMBER_REPLAY_MS = 7 * 24 * 3_600_000  # how long after a crash a replay may be run again
_PAGE = 32


class StreamsBroker:
    """One sale's messages. Made with ``from_url``; belongs to the event loop that first uses it."""

    commits_once = True

    def __init__(
        self, url: str, *, sale: str, rules: BrokerRules, clock: Clock, timeout_s: float
    ) -> None:
        if not sale or "{" in sale or "}" in sale:
            raise ValueError(f"sale {sale!r}: a name without braces, please")
        self._sale = sale
        self._rules = rules
        self._clock = clock
        self._server = StreamsServer(url, timeout_s=timeout_s)
        self._keys = cache(self._name_keys)
        self._checks: list[CheckBack] = []

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        sale: str,
        check_after_ms: int = 6_000,
        check_interval_ms: int = 5_000,
        check_max: int = 15,
        max_attempts: int = 16,
        clock: Clock | None = None,
        timeout_s: float = 5.0,
    ) -> "StreamsBroker":
        """The broker behind redis://, rediss:// or unix://. Opens nothing yet. The rules are BrokerRules'."""
        rules = BrokerRules(check_after_ms, check_interval_ms, check_max, max_attempts)
        return cls(url, sale=sale, rules=rules, clock=clock or WallClock(), timeout_s=timeout_s)

    # -- half messages -------------------------------------------------------------------------------------

    async def send_half(self, topic: str, tx_id: str, body: bytes, *, trace: str = "") -> Half:
        # Messages have no properties here; a trace travels in the body.
        check_tx_id(tx_id)
        check_body(body)
        keys = self._keys(topic, "half born checks sent")
        now = self._clock.now_ms()
        args = [tx_id, body, now, now + self._rules.check_after_ms, now + _REMEMBER_MS]
        doing = f"sending half {tx_id}"
        try:
            await self._server.run("half", keys, [*args, 0], doing, again=[*args, 1])
        except ScriptRefused as refused:
            raise ValueError(f"tx_id {tx_id!r} was used before on {topic}") from refused
        return Half(topic=topic, tx_id=tx_id, body=body, born_ms=now)

    async def commit(self, half: Half) -> None:
        keys = self._keys(half.topic, "half born asked checks log")
        await self._server.run("commit", keys, [half.tx_id], f"committing {half.tx_id}")

    async def rollback(self, half: Half) -> None:
        keys = self._keys(half.topic, "half born asked checks")
        await self._server.run("rollback", keys, [half.tx_id], f"rolling back {half.tx_id}")

    async def start_checks(self, topics: Sequence[str], checker: Checker) -> None:
        for topic in topics:
            check_name("topic", topic)
        loop = CheckBack(self, topics, checker, clock=self._clock)
        loop.start()
        self._checks.append(loop)

    async def lease(self, topic: str) -> Lease:
        """The halves to ask about now; they are not due again before the next interval is over."""
        rules = self._rules
        keys = self._keys(topic, "half born asked checks discarded")
        now, longest = self._clock.now_ms(), rules.check_interval_max_ms
        args = [
            now,
            rules.check_interval_ms,
            longest,
            rules.check_max,
            LEASE_MAX,
            RECEIVE_BYTES_MAX,
        ]
        reply = await self._server.run("lease", keys, args, f"leasing halves of {topic}", tries=1)
        next_ms, discarded_count = int(reply[0]), int(reply[1])
        rows = reply[2 + discarded_count :]
        halves = [
            Half(topic, rows[i].decode(), rows[i + 3], int(rows[i + 1]), int(rows[i + 2]))
            for i in range(0, len(rows), 4)
        ]
        discarded = [tx_id.decode() for tx_id in reply[2 : 2 + discarded_count]]
        return Lease(halves, discarded, next_ms if next_ms >= 0 else None)

    # -- normal messages -----------------------------------------------------------------------------------

    async def publish(self, topic: str, body: bytes, *, deliver_at_ms: int | None = None) -> None:
        check_body(body)
        keys = self._keys(topic, "log delay delayed sent")
        now = self._clock.now_ms()
        visible_ms = check_delivery_time(deliver_at_ms, now)
        args = [uuid4().hex, body, now, visible_ms, now + _REMEMBER_MS]
        await self._server.run("publish", keys, args, f"publishing on {topic}")

    async def receive(
        self, topic: str, group: str, *, max_messages: int, invisible_ms: int, wait_ms: int
    ) -> list[Message]:
        wanted = check_receive(max_messages, invisible_ms, wait_ms)
        keys = self._keys(topic, "log delay delayed cursor flight attempts dead", group)
        give_up_ms = self._clock.now_ms() + wait_ms
        while True:
            now = self._clock.now_ms()
            args = [now, wanted, invisible_ms, self._rules.max_attempts, RECEIVE_BYTES_MAX]
            cursor, next_ms, died, *rows = await self._server.run(
                "receive", keys, args, f"receiving {topic} for {group}", tries=1
            )
            if died:
                log.warning("%d messages of %s are dead letters of %s now", died, topic, group)
            if rows:
                return [
                    _message(topic, group, rows[i].decode(), int(rows[i + 1]), rows[i + 2])
                    for i in range(0, len(rows), 3)
                ]
            more_is_due = 0 <= next_ms <= now  # all that was looked at went to the dead letters
            if now >= give_up_ms and not more_is_due:
                return []
            # Counted from before the look: what arrives while we look must not wait longer than that.
            again_ms = min(give_up_ms, now + POLL_MS)
            if next_ms >= 0:
                again_ms = min(again_ms, next_ms)
            pause_ms = again_ms - self._clock.now_ms()
            if pause_ms > 0:
                await self._wait_for_news(keys[0], cursor, pause_ms)

    async def _wait_for_news(self, log_key: str, cursor: bytes, pause_ms: int) -> None:
        """Until the log grows past ``cursor`` or ``pause_ms`` of the clock's time are over, whichever comes first."""
        news = asyncio.create_task(self._server.listen(log_key, cursor, pause_ms))
        nap = asyncio.create_task(self._clock.sleep(pause_ms / 1000))
        try:
            await asyncio.wait((news, nap), return_when=asyncio.FIRST_COMPLETED)
            if news.done():
                news.result()
        finally:
            news.cancel()
            nap.cancel()
            await asyncio.gather(news, nap, return_exceptions=True)

    async def ack(self, messages: Sequence[Message]) -> None:
        places: dict[tuple[str, str], list[str]] = {}
        for message in messages:
            places.setdefault((message.topic, message.group), []).extend(_delivery(message))
        for (topic, group), receipts in places.items():
            keys = self._keys(topic, "flight attempts", group)
            done = await self._server.run("ack", keys, receipts, f"acknowledging on {topic}")
            if 2 * done < len(receipts):
                log.info("%d stale receipts of %s on %s", len(receipts) // 2 - done, group, topic)

    async def retry_later(self, message: Message, *, delay_ms: int) -> None:
        check_retry_delay(delay_ms)
        keys = self._keys(message.topic, "flight attempts", message.group)
        args = [*_delivery(message), self._clock.now_ms() + delay_ms]
        await self._server.run("retry", keys, args, f"putting off {message.message_id}")

    async def dead_letter(self, message: Message, *, reason: str) -> None:
        keys = self._keys(message.topic, "log flight attempts dead", message.group)
        args = [*_delivery(message), reason, self._clock.now_ms()]
        await self._server.run("bury", keys, args, f"giving up {message.message_id}")

    # -- looking -------------------------------------------------------------------------------------------

    async def depth(self, topic: str, group: str) -> Depth:
        keys = self._keys(topic, "half delay log cursor flight dead", group)
        reply = await self._server.run("depth", keys, [self._clock.now_ms()], f"measuring {topic}")
        return Depth(*map(int, reply))

    async def browse(self, topic: str) -> AsyncIterator[bytes]:
        async for _, fields in self._pages(self._keys(topic, "log")[0]):
            yield fields.get(b"body", b"")  # an entry of a stranger's making: no body is no order

    async def dead_letters(self, topic: str, group: str) -> AsyncIterator[DeadLetter]:
        async for entry_id, fields in self._pages(self._keys(topic, "dead", group)[0]):
            yield _letter(topic, entry_id.decode(), fields)

    async def replay(self, topic: str, group: str, letter: DeadLetter) -> bool:
        """Published first, dropped afterwards: the two topics may live on two nodes of a cluster. The message's key is
        made from the letter, so whoever replays again after a crash in between, or at the same time, sends nothing."""
        if not letter.receipt:
            raise ValueError("a dead letter without a receipt did not come from this broker")
        [dead] = self._keys(topic, "dead", group)
        doing, where = f"replaying {letter.message_id}", letter.receipt
        kept = await self._server.command(doing, "XRANGE", dead, where, where)
        if not kept:
            return False
        now = self._clock.now_ms()
        key = f"replay:{topic}:{group}:{where}"
        keys = self._keys(replay_topic(topic), "log delay delayed sent")
        args = [key, kept[0][1].get(b"body", b""), now, now, now + _REMEMBER_REPLAY_MS]
        sent = await self._server.run("publish", keys, args, doing)
        dropped = await self._server.command(doing, "XDEL", dead, where)
        return bool(sent or dropped)

    async def drop(self, topic: str, group: str, letter: DeadLetter) -> bool:
        [dead] = self._keys(topic, "dead", group)
        doing = f"dropping {letter.message_id}"
        return bool(await self._server.command(doing, "XDEL", dead, letter.receipt))

    async def open_halves(self, topic: str) -> AsyncIterator[Half]:
        bodies, born, asked = self._keys(topic, "half born asked")
        cursor: Any = 0
        seen: set[bytes] = set()  # a scan may name one twice
        while True:
            cursor, found = await self._server.command(
                "looking at halves", "HSCAN", born, cursor, "COUNT", _PAGE
            )
            since = {tx: at for tx, at in found.items() if tx not in seen}
            seen.update(since)
            if since:
                doing = ("looking at halves", "HMGET")
                texts = await self._server.command(*doing, bodies, *since)
                counts = await self._server.command(*doing, asked, *since)
                for (tx, at), body, checks in zip(since.items(), texts, counts, strict=True):
                    if body is not None:  # else it ended while we looked
                        yield Half(topic, tx.decode(), body, int(at), int(checks or 0))
            if not int(cursor):
                return

    async def discarded_count(self, topic: str) -> int:
        """How many halves of ``topic`` were given up unresolved."""
        return int(await self._server.command("looking", "XLEN", self._keys(topic, "discarded")[0]))

    async def discarded(self, topic: str) -> AsyncIterator[Half]:
        """The halves of ``topic`` that were given up unresolved, oldest first."""
        async for _, row in self._pages(self._keys(topic, "discarded")[0]):
            tx_id, born_ms, checks = row[b"tx"].decode(), int(row[b"born"]), int(row[b"checks"])
            yield Half(topic, tx_id, row[b"body"], born_ms, checks)

    async def forget_discarded(self, topic: str, tx_ids: Sequence[str]) -> None:
        forgotten = {tx_id.encode() for tx_id in tx_ids}
        [key] = self._keys(topic, "discarded")
        async for entry_id, row in self._pages(key):
            if row[b"tx"] in forgotten:
                await self._server.command("forgetting a half", "XDEL", key, entry_id)

    async def _pages(self, key: str) -> AsyncIterator[tuple[bytes, dict[bytes, bytes]]]:
        start = b"-"
        while page := await self._server.command(
            "reading", "XRANGE", key, start, "+", "COUNT", _PAGE
        ):
            for entry_id, fields in page:
                yield entry_id, fields
            start = b"(" + page[-1][0]

    # -- the whole -----------------------------------------------------------------------------------------

    async def clear(self) -> None:
        pattern = f"mq:{{{_escaped(self._sale)}:*}}:*"
        async for name in self._server.keys("clearing", pattern):
            await self._server.command("clearing", "UNLINK", name)

    async def ping(self) -> None:
        await self._server.ping("asking for a sign of life")

    async def close(self) -> None:
        while self._checks:
            await self._checks.pop().stop()
        await self._server.close()

    def _name_keys(self, topic: str, nouns: str, group: str | None = None) -> tuple[str, ...]:
        """The full names of ``nouns``; those of a group need ``group``."""
        check_name("topic", topic)
        if group is not None:
            check_name("group", group)
        tag = f"mq:{{{self._sale}:{topic}}}"
        own = {noun: f"{tag}:group:{group}:{noun}" for noun in ("cursor", "flight", "attempts")}
        own["dead"] = f"{tag}:dead:{group}"
        return tuple(own.get(noun, f"{tag}:{noun}") for noun in nouns.split())


def _message_id(topic: str, entry_id: str) -> str:
    return f"{topic}/{entry_id}"


def _letter(topic: str, entry_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    """The dead letter in an entry; one of a stranger's making has what it has, and died when it was written."""
    return DeadLetter(
        message_id=_message_id(
            topic, fields.get(b"id", entry_id.encode()).decode(errors="replace")
        ),
        body=fields.get(b"body", b""),
        reason=fields.get(b"reason", b"not written by saleops").decode(errors="replace"),
        attempt=_whole(fields.get(b"attempt"), 0),
        dead_ms=_whole(fields.get(b"at"), int(entry_id.partition("-")[0])),
        receipt=entry_id,
    )


def _whole(text: bytes | None, otherwise: int) -> int:
    return int(text) if text and text.isdigit() else otherwise


def _message(topic: str, group: str, entry_id: str, attempt: int, body: bytes) -> Message:
    receipt = f"{entry_id}:{attempt}"
    return Message(topic, group, _message_id(topic, entry_id), body, attempt, receipt)


def _delivery(message: Message) -> list[str]:
    """The log id and attempt a receipt stands for."""
    entry_id, colon, attempt = message.receipt.partition(":")
    if not colon:
        raise ValueError(f"{message.receipt!r} is no receipt of this broker")
    return [entry_id, attempt]


def _escaped(text: str) -> str:
    """``text`` for a glob pattern, meaning itself."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
