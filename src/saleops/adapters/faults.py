"""Faults on purpose: every act of the order path gets a name, and something can go wrong just before or after it.

A point is ``ACTOR.ACT.before`` or ``ACTOR.ACT.after``: who acts (order, sweep, checkback, payment, ...), what it asks
of an engine (reserve, half, place, commit, ...), and on which side of the act we stand. The ports are wrapped, so an act
that somebody adds to a service has a point without being told; fault_points.py lists those we know, and a test holds the
list to what really happens. What may strike:

    kill          the process ends there (SIGKILL, no farewell)
    lost-request  the act never reaches its engine; the caller hears that it is out of reach
    lost-reply    the act happens; the caller hears that it is out of reach
    twice         the act happens twice (a client repeats it); for a receive: its messages are handed out again
    slow          the act, or its reply, takes ``length_ms``
    late          a message is accepted now and becomes visible ``length_ms`` later
    down          the engine is out of reach for everybody for ``length_ms``

For the crash matrix and for rehearsing chaos. Without faults nothing here is installed: no wrapper, no cost.
"""

import asyncio
import logging
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import parse_qsl

from saleops.adapters.fault_points import FITTING
from saleops.config.settings import Fault
from saleops.domain.messages import DEADLINES, PAID
from saleops.errors import ConfigError, StoreUnavailable
from saleops.ports.broker import Broker, Checker, Half, Message, Resolution
from saleops.ports.clock import Clock, WallClock
from saleops.ports.orders import UnknownOutcome
from saleops.ports.payments import PaymentProvider
from saleops.ports.stock import StockStore

log = logging.getLogger("saleops.faults")

T = TypeVar("T")
Act = Callable[[], Awaitable[T]]

_ACTOR: ContextVar[str] = ContextVar("saleops_fault_actor", default="")
_TASKS = {
    "upkeep-learn_epoch": "epoch",
    "upkeep-refresh_board": "board",
    "upkeep-settle_loans": "loans",
    "upkeep-announce_lost": "announce",
    "halves-watch": "halves",
    "order-gather": "order",
    "order-commit": "order",
}
_ACTS = {
    "send_half": "half",
    "retry_later": "retry",
    "dead_letter": "bury",
    "begin_payment": "begin",
    "end_payment": "end",
    "cancel_unpaid": "cancel",
}
_TOPICS = {PAID: "publish-paid", DEADLINES: "publish-deadline"}
_SHARD_ACTS = {"lending": "lend", "borrowing": "borrow", "settling": "settle"}
_NO_ACTS = frozenset({"close", "ping"})


class Faults:
    """The faults of one process. Wrap its ports with ``stock``, ``broker``, ``book`` and ``payments``."""

    def __init__(
        self, faults: Sequence[Fault], *, service: str, clock: Clock | None = None
    ) -> None:
        """``service`` names the actor of what no named task does: requests, and work beside them."""
        for fault in faults:
            check(fault)
        self._faults = tuple(faults)
        self._service = service
        self._clock: Clock = clock or WallClock()
        self._passed: Counter[str] = Counter()
        self._down_until_ms: dict[str, int] = {}
        self._late: set[asyncio.Task[Any]] = set()

    # -- the ports -----------------------------------------------------------------------------------------

    def stock(self, store: StockStore) -> StockStore:
        """``store`` with its points; the loans between shards have their own."""
        server = getattr(store, "_server", None)
        if server is not None:
            store._server = _Shards(server, self)  # type: ignore[attr-defined]  # Redis': its calls are acts too
        return cast(StockStore, _Port(store, self, "stock"))

    def broker(self, broker: Broker) -> Broker:
        return cast(Broker, _Broker(broker, self, "broker"))

    def payments(self, provider: PaymentProvider) -> PaymentProvider:
        return cast(PaymentProvider, _Port(provider, self, "provider"))

    def book(self, book: T) -> T:
        """The orders database behind its thread: something with ``run(call, *args)``."""
        return cast(T, _Book(book, self))

    # -- passing a point -----------------------------------------------------------------------------------

    async def perform(self, engine: str, name: str, act: Act[T]) -> T:
        """Do ``act``, the act ``name`` on ``engine``, with what strikes before and after it."""
        point = f"{self._actor()}.{name}"
        fault = await self._pass(f"{point}.before", engine)
        if fault is not None:
            if fault.action == "late":
                return self._do_late(fault, act)
            await self._strike(fault, engine)
        if self._down_until_ms:
            self._check_up(engine, point)
        answer = await act()
        fault = await self._pass(f"{point}.after", engine)
        if fault is None:
            return answer
        if fault.action == "twice":
            return await act()
        if fault.action in ("lost-reply", "down"):
            if fault.action == "down":
                self._take_down(fault, engine)
            error = UnknownOutcome if engine == "book" else StoreUnavailable
            raise error(f"{point}: the reply was lost on purpose; the act happened")
        await self._strike(fault, engine)
        return answer

    def _actor(self) -> str:
        """Who acts here: by the name of the task; the tasks that it starts inherit it."""
        task = asyncio.current_task()
        actor = _actor_of(task.get_name() if task else "")
        if actor:
            _ACTOR.set(actor)
        return actor or _ACTOR.get() or self._service

    async def _pass(self, point: str, engine: str) -> Fault | None:
        self._passed[point] += 1
        for fault in self._faults:
            if fault.point == point and self._passed[point] == fault.at and _first(fault):
                log.critical("FAULT ON PURPOSE: %s at %s", fault.action, point)
                return fault
        return None

    async def _strike(self, fault: Fault, engine: str) -> None:
        if fault.action == "kill":
            await self._die()
        elif fault.action == "slow":
            await self._clock.sleep(fault.length_ms / 1000)
        elif fault.action == "down":
            self._take_down(fault, engine)
        elif fault.action == "lost-request":
            raise StoreUnavailable(f"{fault.point}: lost on purpose; nothing was sent")

    async def _die(self) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable: the process is gone")

    def _take_down(self, fault: Fault, engine: str) -> None:
        self._down_until_ms[engine] = self._clock.now_ms() + fault.length_ms

    def _check_up(self, engine: str, point: str) -> None:
        if self._clock.now_ms() < self._down_until_ms.get(engine, 0):
            raise StoreUnavailable(f"{point}: the engine is down on purpose; nothing was sent")

    def _do_late(self, fault: Fault, act: Act[T]) -> T:
        async def later() -> None:
            await self._clock.sleep(fault.length_ms / 1000)
            await act()

        task = asyncio.create_task(later(), name="fault-late")
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return cast(T, None)  # only acts without an answer can be late

    def checker(self, checker: Checker) -> Checker:
        """``checker``, whose acts are those of check-back in whatever task the broker asks."""

        async def asked(half: Half) -> Resolution:
            _ACTOR.set("checkback")
            return await checker(half)

        return asked


def _actor_of(task: str) -> str:
    """The actor that a named task is; empty for one without a name of ours."""
    if task in _TASKS:
        return _TASKS[task]
    if task.startswith("upkeep-"):
        return task.removeprefix("upkeep-").replace("_", "-")
    group, colon, _ = task.partition(":")
    return group if colon else ""


class _Port:
    """A port whose async methods pass their points; everything else is the port's own."""

    def __init__(self, port: Any, faults: Faults, engine: str) -> None:
        self._port = port
        self._faults = faults
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name.startswith("_") or name in _NO_ACTS or not callable(found):
            return found

        def call(*args: Any, **options: Any) -> Any:
            answer = partial(found, *args, **options)
            act = self._name(name, args)
            if name in _STREAMS:
                return self._stream(act, answer)
            return self._faults.perform(self._engine, act, answer)

        return call

    def _name(self, method: str, args: Sequence[Any]) -> str:
        return _ACTS.get(method, method.strip("_").replace("_", "-"))

    async def _stream(self, act: str, rows: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        async def begun() -> AsyncIterator[T]:
            return rows()

        async for row in await self._faults.perform(self._engine, act, begun):
            yield row


_STREAMS = frozenset({"counts", "reservations", "browse", "dead_letters", "discarded"})


class _Broker(_Port):
    def __init__(self, port: Any, faults: Faults, engine: str) -> None:
        super().__init__(port, faults, engine)
        self._again: dict[tuple[str, str], list[Message]] = {}

    def _name(self, method: str, args: Sequence[Any]) -> str:
        if method == "publish":
            topic = str(args[0])
            retry = "publish-retry" if topic.endswith("-retry") else f"publish-{topic}"
            return _TOPICS.get(topic, retry)
        return super()._name(method, args)

    async def start_checks(self, topics: Sequence[str], checker: Checker) -> None:
        await self._port.start_checks(topics, self._faults.checker(checker))

    async def receive(self, topic: str, group: str, **options: Any) -> list[Message]:
        """A receive that is struck by ``twice`` hands the same messages out again at the next one."""
        kept = self._again.pop((topic, group), None)
        if kept:
            return kept
        asked = 0

        async def ask() -> list[Message]:
            nonlocal asked
            asked += 1
            if asked == 1:
                messages: list[Message] = await self._port.receive(topic, group, **options)
                self._again[topic, group] = messages
            return self._again[topic, group]

        messages = await self._faults.perform(self._engine, "receive", ask)
        if asked == 1:
            self._again.pop((topic, group), None)
        return messages


class _Book:
    """The thread of the orders database: each call it runs is an act, named after the method."""

    def __init__(self, thread: Any, faults: Faults) -> None:
        self._thread = thread
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._thread, name)

    async def run(self, call: Callable[..., T], *args: object) -> T:
        method = _method_of(call)
        name = _ACTS.get(method, method.strip("_").replace("_", "-"))
        act: Act[T] = partial(self._thread.run, call, *args)
        return await self._faults.perform("book", name, act)


def _method_of(call: Callable[..., Any]) -> str:
    while isinstance(call, partial):
        call = call.func
    name = str(getattr(call, "__name__", "call"))
    return "call" if name == "<lambda>" else name


class _Shards:
    """The server of a stock store: lending between shards is several acts, each with its own points."""

    def __init__(self, server: Any, faults: Faults) -> None:
        self._server = server
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    async def run(self, calls: Sequence[Any], doing: str) -> list[Any]:
        act: Act[list[Any]] = partial(self._server.run, calls, doing)
        name = _SHARD_ACTS.get(doing)
        return await (self._faults.perform("stock", name, act) if name else act())


def check(fault: Fault) -> None:
    """Raises ConfigError for a fault that cannot strike."""
    side = fault.point.rpartition(".")[2]
    if fault.action not in FITTING.get(side, ()):
        raise ConfigError(
            f"the fault {fault.action!r} at {fault.point!r} cannot strike; nothing was started",
            hint="A point ends with .before (kill, lost-request, slow, late, down) or .after (kill, lost-reply, twice, "
            "slow, down); docs/crash-matrix.md lists them.",
        )
    if fault.at < 1 or fault.length_ms < 0:
        raise ConfigError(
            f"the fault at {fault.point!r} counts from 1 and lasts 0 ms or more; nothing was started"
        )


def check_near(urls: Mapping[str, str]) -> None:
    """Raises ConfigError unless every host that ``urls`` name is this machine: faults are for rehearsals."""
    for name, url in urls.items():
        for host in _hosts_of(url):
            if host not in _LOOPBACK:
                raise ConfigError(
                    f"faults on purpose are refused: the {name} at {host} is not on this machine; nothing was started",
                    hint="Take SALEOPS_FAULTS out of the environment.",
                )


_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _hosts_of(url: str) -> list[str]:
    """Every host in ``url``: a cluster names several, a RocketMQ its name servers beside its proxies."""
    scheme, _, rest = url.partition("://")
    if scheme in ("unix", "sqlite"):
        return []
    place, _, query = rest.partition("?")
    places = [place.partition("/")[0].rpartition("@")[2]]
    places += [value for name, value in parse_qsl(query) if name == "namesrv"]
    return [
        (one.partition("]")[0].lstrip("[") if one.startswith("[") else one.partition(":")[0])
        for text in places
        for one in re.split("[,;]", text)
        if one
    ]


def _first(fault: Fault) -> bool:
    """Whether ``fault`` may strike: one with a mark strikes once in all processes that share it."""
    if not fault.mark:
        return True
    try:
        os.close(os.open(Path(fault.mark), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True
