"""Alibaba Cloud, the real one or the local one: send a call, and wait on its clock."""

from typing import Protocol

from saleops.domain.cloud.calls import Answer, Call


class CloudClock(Protocol):
    """The time a cloud lives in: the wall clock, or a local cloud's virtual time."""

    def now_ms(self) -> int:
        """Unix time in whole milliseconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Come back after ``seconds`` of this clock's time."""
        ...


class Cloud(Protocol):
    @property
    def region(self) -> str: ...

    @property
    def name(self) -> str:
        """Who answers, for people: "Alibaba Cloud (ap-southeast-1)", "the local cloud at http://127.0.0.1:8400"."""
        ...

    @property
    def clock(self) -> CloudClock: ...

    def send(self, call: Call, *, token: str = "") -> Answer:
        """Send ``call`` once, with ``token`` in its idempotency field where the API has one.

        The call is checked against the API tables first: ValueError for a parameter the API does not have (a bug).
        Raises CloudError; never retries.
        """
        ...
