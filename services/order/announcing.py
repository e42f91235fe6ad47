"""Finds committed orders whose message nobody has seen, and sends it again from the database.

A half message may be lost although its orders are committed: RocketMQ gives up asking about it after its last check-back, and a
broker may lose what it acknowledged. Payment writes down whose messages have arrived, so what nobody has seen for longer
than any check-back takes stands out. It may be late only, behind a long queue, and a second copy would be handled in vain;
so it counts as lost when the message of a commit a minute younger has arrived, or when nothing is on its way at all.

The copy is a half message of its own under a new id, committed at once: a crash in between leaves a half that check-back rolls
back, and the next pass begins again. Its body carries the tx_id of the commit, so its arrival is written down there.
"""

import logging
import secrets
from functools import partial

from saleops.domain.messages import (
    ORDERS,
    PAYMENT_GROUP,
    announcement,
    encode_batch,
    retry_topic,
)
from saleops.ports.broker import Broker
from saleops.ports.clock import Clock
from saleops.services.book import BookThread

log = logging.getLogger("saleops.order")

LATER_MS = 60_000
"""By how much a younger commit's message must have overtaken one that counts as lost."""

COMMITS_A_PASS = 50


class Announcer:
    """``sweep`` sends lost messages again; ``messages_resent`` and ``orders_resent`` count them."""

    def __init__(
        self, *, book: BookThread, broker: Broker, clock: Clock, announce_after_ms: int
    ) -> None:
        self._book = book
        self._broker = broker
        self._clock = clock
        self._after_ms = announce_after_ms
        self.messages_resent = 0
        self.orders_resent = 0

    async def sweep(self) -> None:
        before_ms = self._clock.now_ms() - self._after_ms
        for tx_id in await self._lost(before_ms):
            # Whoever takes it on has as long again as a message may take; a crash now costs that time.
            take_on = partial(self._book.book.announce_again, tx_id, before_ms=before_ms)
            if await self._book.run(take_on):
                await self._send_again(tx_id)

    async def _lost(self, before_ms: int) -> list[str]:
        waiting = await self._unannounced(before_ms)
        if not waiting:
            return []
        newest_ms = await self._book.run(self._book.book.newest_announced_ms)
        overtaken = await self._unannounced(min(before_ms, newest_ms - LATER_MS))
        if overtaken:
            return overtaken
        for topic in (ORDERS, retry_topic(ORDERS)):
            depth = await self._broker.depth(topic, PAYMENT_GROUP)
            if depth.busy or depth.delayed:
                return []  # late, perhaps
        return waiting

    async def _unannounced(self, before_ms: int) -> list[str]:
        return await self._book.run(
            partial(self._book.book.unannounced, before_ms=before_ms, limit=COMMITS_A_PASS)
        )

    async def _send_again(self, tx_id: str) -> None:
        orders = await self._book.run(self._book.book.orders_of_tx, tx_id)
        if not orders:
            return  # a repair took them away
        body = encode_batch(announcement(tx_id, orders))
        half = await self._broker.send_half(ORDERS, f"again-{secrets.token_hex(12)}", body)
        await self._broker.commit(half)
        self.messages_resent += 1
        self.orders_resent += len(orders)
        log.warning(
            "nobody had seen the message of %s with %d orders: it was sent again",
            tx_id,
            len(orders),
        )
