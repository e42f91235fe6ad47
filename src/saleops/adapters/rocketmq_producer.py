"""The client's producer, asked about halves on our loop instead of on its one thread.

Nothing here imports the client before a producer is made: the package is optional.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from saleops.adapters.rocketmq_client import Session

Ask = Callable[[Any, Any, str], None]  # endpoints, message, transaction id


class Producers:
    """The producers of one broker object. Check-backs are handed to ``ask``, called on the client's loop."""

    def __init__(self, session: Session, ask: Ask) -> None:
        self._session = session
        self._ask = ask
        self._answering = 0

    async def sending(self) -> Any:
        """The one that sends. It names no topic, so it is never asked about a half."""
        return await self._client("producer", ())

    async def answering(self, names: Sequence[str]) -> Any:
        """A new one, which answers for the halves of ``names``, topics of RocketMQ's.

        It names them from the start: told later, the client would pass them on with its next settings, after up to 300 s.
        """
        self._answering += 1
        return await self._client(f"checks {self._answering}", names)

    async def _client(self, name: str, topics: Sequence[str]) -> Any:
        def make(package: Any, configuration: Any) -> Any:
            return _producer_class()(configuration, topics, self._ask, tls=self._session.url.tls)

        return await self._session.client(name, make, topics)


@cache
def _producer_class() -> Any:
    """The class, made on first use: its base comes with the optional package."""
    from rocketmq import Producer, TransactionChecker, TransactionResolution

    class Unasked(TransactionChecker):  # type: ignore[misc]  # the client has no types
        """A producer without checker refuses to end a transaction; ours is asked in another way."""

        def check(self, message: Any) -> Any:
            return TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED

    class AskedProducer(Producer):  # type: ignore[misc]  # the client has no types
        def __init__(
            self, configuration: Any, topics: Sequence[str], ask: Ask, *, tls: bool
        ) -> None:
            super().__init__(configuration, topics, Unasked(), tls_enable=tls)
            self._ask = ask

        def on_recover_orphaned_transaction_command(
            self, endpoints: Any, msg: Any, transaction_id: str
        ) -> None:
            self._ask(endpoints, msg, transaction_id)

    return AskedProducer
