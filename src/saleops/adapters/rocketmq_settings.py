"""Asks RocketMQ's brokers for the settings in force and the topics they lack, over the remoting protocol."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from saleops.adapters.rocketmq_desk import Desk
from saleops.adapters.rocketmq_names import Names
from saleops.adapters.rocketmq_url import RocketmqUrl
from saleops.errors import StoreUnavailable

T = TypeVar("T")


async def read_settings(url: str, *, timeout_s: float) -> dict[str, dict[str, str]] | None:
    """Broker -> its settings; None where ``url`` names no name server to ask. Raises StoreUnavailable or ConfigError."""
    return await _asked(url, "doctor", Desk.settings, "settings", timeout_s)


async def read_missing_topics(url: str, sale: str, *, timeout_s: float) -> list[str] | None:
    """The topics of ``sale`` that are not there; None and errors as above."""
    return await _asked(url, sale, Desk.missing, "topics", timeout_s)


async def _asked(
    url: str, sale: str, ask: Callable[[Desk], Awaitable[T]], what: str, timeout_s: float
) -> T | None:
    parsed = RocketmqUrl.parse(url)
    desk = Desk(parsed, Names(sale), max_attempts=1, queues=1, timeout_s=timeout_s)
    if not desk.open:
        return None
    try:
        async with asyncio.timeout(timeout_s):
            return await ask(desk)
    except TimeoutError as error:
        raise StoreUnavailable(
            f"{parsed.namesrv} did not tell RocketMQ's {what} within {timeout_s:g} s"
        ) from error
    finally:
        await desk.close()
