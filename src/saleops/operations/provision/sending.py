"""Sends a call until it is answered: what may be sent again is, after a while, and never what could act twice.

"throttled" and "busy" calls were not carried out, so any may be repeated. Of an "unknown" one nobody knows: only a call that
reads, or one whose idempotency token makes a repeat harmless, is sent again; any other is raised, so that whoever
asked looks first. Waits grow at random between what the last one was and three times that ("decorrelated jitter", so that
many callers who were throttled together do not come back together), never come before the cloud's own x-acs-retry-after, and are
bounded in number and in sum. They pass on the cloud's clock, which may be virtual.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from saleops.cloudapi import api_of
from saleops.domain.cloud.calls import Answer, Call
from saleops.errors import CloudError, CloudErrorKind
from saleops.ports.cloud import Cloud

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Retries:
    """``attempts_max`` includes the first. ``waits_max_s`` bounds the sum of all waits of one call."""

    attempts_max: int = 8
    first_s: float = 0.5
    wait_max_s: float = 20.0
    waits_max_s: float = 90.0


RETRIES = Retries()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that failed and was followed by another, or by giving up; ``waited_s`` is the wait after it."""

    kind: CloudErrorKind
    code: str
    request_id: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer, and what it took: ``attempts`` are the failed ones before it."""

    answer: Answer
    attempts: tuple[Attempt, ...] = ()

    @property
    def retries_count(self) -> int:
        return len(self.attempts)

    @property
    def request_id(self) -> str:
        """The answer's own, in whichever spelling; empty where it has none."""
        return request_id_of(self.answer)


def request_id_of(answer: Answer) -> str:
    for name in ("RequestId", "requestId", "request_id"):
        value = answer.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


Retried = Callable[[CloudError, float], None]
"""Told of each attempt that failed and is repeated, with the seconds until then."""


def unheard(error: CloudError, wait_s: float) -> None:
    """For callers who do not want to hear of repeats."""


def send(
    cloud: Cloud,
    call: Call,
    *,
    token: str = "",
    random: Random,
    retries: Retries = RETRIES,
    retried: Retried = unheard,
) -> Sent:
    """Send ``call`` until it is answered. Raises the last CloudError when it may not be repeated, or often enough was.

    ``retried`` hears of each repeat before its wait, so that they can be counted although an error ends it all.
    """
    api = api_of(call.product, call.api)
    harmless = api.reads or bool(token and api.token)
    failed: list[Attempt] = []
    waited_s, wait_s = 0.0, retries.first_s
    while True:
        try:
            return Sent(cloud.send(call, token=token), tuple(failed))
        except CloudError as error:
            wait_s = _next_wait(wait_s, retries, random, error.retry_after_s)
            if (
                not may_repeat(error.kind, harmless=harmless)
                or len(failed) + 1 >= retries.attempts_max
                or waited_s + wait_s > retries.waits_max_s
            ):
                if failed:
                    raise _counted(error, len(failed) + 1) from error
                raise
            failed.append(Attempt(error.kind, error.code, error.request_id, wait_s))
            retried(error, wait_s)
        cloud.clock.sleep(wait_s)
        waited_s += wait_s


class Sender:
    """``send`` with its source of chance and its bounds, in the shape the engine's courier wants."""

    def __init__(self, random: Random, retries: Retries = RETRIES) -> None:
        self._random = random
        self._retries = retries

    def __call__(
        self, cloud: Cloud, call: Call, *, token: str = "", retried: Retried = unheard
    ) -> Answer:
        sent = send(
            cloud, call, token=token, random=self._random, retries=self._retries, retried=retried
        )
        return sent.answer


def takes_token(call: Call) -> bool:
    """Whether the API of ``call`` has a place for an idempotency token."""
    return bool(api_of(call.product, call.api).token)


def drive(
    cloud: Cloud,
    reading: Generator[Call, Answer, _Found],
    *,
    random: Random,
    retries: Retries = RETRIES,
    retried: Retried = unheard,
) -> _Found:
    """Run a generator of reading calls (``Resource.look``, ``every_page``) to its end, and return what it found. A call
    that fails is thrown into it; what it does not catch comes out."""
    try:
        call = next(reading)
        while True:
            try:
                sent = send(cloud, call, random=random, retries=retries, retried=retried)
            except CloudError as error:
                call = reading.throw(error)
            else:
                call = reading.send(sent.answer)
    except StopIteration as done:
        found: _Found = done.value
        return found


def may_repeat(kind: CloudErrorKind, *, harmless: bool) -> bool:
    """Whether a call that failed so may be sent again; ``harmless``: it reads, or has a token."""
    return kind in ("throttled", "busy") or (kind == "unknown" and harmless)


def _next_wait(last_s: float, retries: Retries, random: Random, asked_s: float | None) -> float:
    wait_s = min(retries.wait_max_s, random.uniform(retries.first_s, last_s * 3))
    if asked_s is not None and asked_s > wait_s:
        # A little after what was asked: everybody else was told the same.
        return asked_s + random.uniform(0, retries.first_s)
    return wait_s


def _counted(error: CloudError, attempts_count: int) -> CloudError:
    """``error`` with how often it was tried."""
    return CloudError(
        f"{error.message}; it was tried {attempts_count} times",
        kind=error.kind,
        code=error.code,
        request_id=error.request_id,
        status=error.status,
        retry_after_s=error.retry_after_s,
        hint=error.hint,
    )
