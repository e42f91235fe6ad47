"""A buyer who never stops ordering, to see when the shop serves again.

Each lane sends an order every ``PAUSE_S`` through the gateway, each under a key of its own, and notes when it was sent and
whether it was served. An answer that no buyer could live with (a 5xx, no answer within ``PATIENCE_S``) counts as
not served, from the moment it was sent.
"""

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

PAUSE_S = 0.05
PATIENCE_S = 3.0
SERVED = (201, 409)
CALM_S = 2.0


@dataclass(frozen=True, slots=True)
class Try:
    sent_s: float  # time.monotonic()
    ended_s: float
    status: int  # 0: no answer

    @property
    def served(self) -> bool:
        return self.status in SERVED


class Prober:
    """``tries`` grows while it runs. Orders that were answered 201 are in ``promised``: they must be durable."""

    def __init__(
        self, url: str, tokens: Sequence[str], skus: Sequence[str], *, lanes: int = 4
    ) -> None:
        self._url = url
        self._tokens = tokens
        self._skus = skus
        self._lanes = lanes
        self.tries: list[Try] = []
        self.promised: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    def __enter__(self) -> "Prober":
        """Order from a thread of its own until the block ends."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="prober")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S * 3)

    async def _run(self) -> None:
        async with self:
            await asyncio.to_thread(self._over.wait)

    async def __aenter__(self) -> "Prober":
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
            connector=aiohttp.TCPConnector(limit=self._lanes),
        )
        self._tasks = [asyncio.create_task(self._lane(number)) for number in range(self._lanes)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _lane(self, number: int) -> None:
        turn = number
        while True:
            await self._order(
                self._tokens[turn % len(self._tokens)], self._skus[turn % len(self._skus)]
            )
            turn += self._lanes
            await asyncio.sleep(PAUSE_S)

    async def _order(self, token: str, sku: str) -> None:
        sent = time.monotonic()
        status = 0
        try:
            async with self._session.post(
                f"{self._url}/orders",
                json={"sku": sku, "units": 1, "payment_token": "tok_visa"},
                headers={
                    "authorization": f"Bearer {token}",
                    "idempotency-key": secrets.token_hex(12),
                },
            ) as answer:
                body = await answer.json(content_type=None)
                status = answer.status
                if status == 201:
                    self.promised.append(body["order_id"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            status = 0
        self.tries.append(Try(sent, time.monotonic(), status))

    def out_s(self, since_s: float, until_s: float) -> float:
        """Seconds from ``since_s`` to the end of the outage that began then: failures less than ``CALM_S`` apart. 0: none."""
        end_s = since_s
        for one in sorted(self.tries, key=lambda one: one.ended_s):
            if one.served or one.ended_s < since_s or one.sent_s >= until_s:
                continue
            if one.sent_s > end_s + CALM_S:
                break
            end_s = one.ended_s
        return end_s - since_s

    def unserved(self) -> dict[int, int]:
        """Status -> how many tries ended with it, of those that no buyer could live with. 0: no answer."""
        return dict(Counter(one.status for one in self.tries if not one.served))
