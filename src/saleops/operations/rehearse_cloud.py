"""The cloud's part of a rehearsal: what a sale provisions is made, planned again and taken away, on a cloud of this machine.

Making takes an hour of the cloud's time and a few seconds of ours. It runs in a thread while the shop is seeded; during the load
the cloud only waits, so that it takes nothing from what is measured. Taking away is the last thing of the day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import msgspec

from saleops.domain.cloud.resources import GROUPS
from saleops.domain.verdict import Check
from saleops.operations.provision.applying import apply_provision
from saleops.operations.provision.courier import Courier
from saleops.operations.provision.destroy_plan import plan_destroy
from saleops.operations.provision.destroying import apply_destroy, what_is_left
from saleops.operations.provision.leftovers import find_leftovers
from saleops.operations.provision.planning import plan_provision
from saleops.operations.provision.preflight import preflight
from saleops.operations.provision.survey import survey

if TYPE_CHECKING:
    from saleops.config.sale import Sale
    from saleops.operations.provision.blueprint import Blueprint
    from saleops.ports.cloud import Cloud
    from saleops.ports.cloud_journal import CloudJournal

NAMED = 3


@dataclass(frozen=True)
class Practice:
    """A cloud to practise on, and what the sale wants of it."""

    sale: Sale
    cloud: Cloud
    journal: CloudJournal
    blueprint: Blueprint


OpenPractice = Callable[[], AbstractContextManager[Practice]]


class CloudFigures(msgspec.Struct, frozen=True):
    """What practising on a cloud came to. ``cloud_s`` is the cloud's time for making it all, ``seconds`` ours for both ways."""

    preflight: str
    short: list[str]
    resources: int
    ready: int
    failed: list[str]
    second_plan_writes: int
    left: list[str]
    reads: int
    writes: int
    cloud_s: float
    seconds: float


@dataclass
class _Made:
    preflight: str
    short: list[str]
    resources: int
    ready: int
    failed: list[str]
    second_plan_writes: int
    cloud_s: float


class CloudRehearsal:
    """``begin`` starts making in a thread, ``made`` waits for it, ``destroy`` takes it away; ``close`` ends the cloud always."""

    def __init__(self, opened: OpenPractice, *, seed: int) -> None:
        self._opened = opened
        self._random = Random(seed)
        self._stack = ExitStack()
        self._making: asyncio.Task[_Made] | None = None
        self._practice: Practice | None = None
        self._courier: Courier | None = None
        self._made: _Made | None = None
        self._seconds = 0.0

    def begin(self) -> None:
        self._making = asyncio.create_task(asyncio.to_thread(self._make))

    async def made(self) -> str:
        """Wait until everything is made. Returns a line for people. Raises SaleopsError where the cloud cannot be opened."""
        assert self._making is not None
        self._made = await self._making
        made = self._made
        return (
            f"{made.ready} of {made.resources} resources running after {made.cloud_s / 60:,.0f} minutes of the cloud, "
            f"{self._seconds:.1f} s of ours; preflight {made.preflight}; a second run would write {made.second_plan_writes}"
        )

    async def destroy(self) -> CloudFigures:
        """Take everything away again, and look for what is left."""
        assert self._made is not None
        assert self._courier is not None
        left = await asyncio.to_thread(self._destroy)
        made, totals = self._made, self._courier.totals
        return CloudFigures(
            preflight=made.preflight,
            short=made.short,
            resources=made.resources,
            ready=made.ready,
            failed=made.failed,
            second_plan_writes=made.second_plan_writes,
            left=left,
            reads=totals.reads,
            writes=totals.writes,
            cloud_s=round(made.cloud_s, 1),
            seconds=round(self._seconds, 2),
        )

    async def close(self) -> None:
        """End the cloud. A thread that is still making is waited for: it cannot be stopped in the middle of a call."""
        if self._making is not None:
            await asyncio.gather(self._making, return_exceptions=True)
        await asyncio.to_thread(self._stack.close)

    def _make(self) -> _Made:
        began = time.perf_counter()
        practice = self._stack.enter_context(self._opened())
        sale, resources = practice.sale, practice.blueprint.resources
        courier = Courier(practice.cloud, practice.journal, random=self._random)
        self._practice, self._courier = practice, courier
        clock = practice.cloud.clock
        where = {"sale": sale.name, "cloud": practice.cloud.name, "region": practice.cloud.region}
        own = frozenset(one.key for one in resources)
        seen = survey(resources, courier.read)
        before = preflight(
            sale,
            practice.blueprint,
            courier.read,
            cloud=practice.cloud.name,
            groups=GROUPS,
            now_ms=clock.now_ms(),
            seen=seen,
        )
        plan = plan_provision(resources, own, seen, practice.journal.history, **where)
        report = apply_provision(plan, resources, seen, courier)
        courier.settle()
        seen = survey(resources, courier.read)
        again = plan_provision(resources, own, seen, practice.journal.history, **where)
        ready = len(again.of("none"))
        failed = [
            f"{one.kind} {one.name}: {one.why or one.result}"
            for one in report.steps
            if one.result in ("failed", "blocked", "left alone", "replace needed")
        ]
        self._seconds += time.perf_counter() - began
        return _Made(
            before.verdict,
            [f"{one.name}: {one.said}" for one in before.against],
            len(resources),
            ready,
            failed,
            again.writes_count,
            report.took_s,
        )

    def _destroy(self) -> list[str]:
        began = time.perf_counter()
        practice, courier = self._practice, self._courier
        assert practice is not None
        assert courier is not None
        everything = practice.blueprint.resources
        own = frozenset(one.key for one in everything)
        sale, region = practice.sale.name, practice.cloud.region
        courier.settle()
        seen = survey(everything, courier.read)
        strays = find_leftovers(courier.read, sale=sale, region=region, seen=seen)
        plan = plan_destroy(
            everything, own, seen, strays, sale=sale, cloud=practice.cloud.name, region=region
        )
        apply_destroy(plan, everything, seen, strays, courier)
        left = list(what_is_left(everything, own, courier, sale=sale))
        self._seconds += time.perf_counter() - began
        return left


def cloud_checks(figures: CloudFigures) -> list[Check]:
    """What practising adds to a verdict. Its preflight asks an account that is nobody's, so it only warns."""
    running = figures.ready == figures.resources and not figures.failed
    value = f"{figures.ready} of {figures.resources} running"
    if figures.failed:
        value += f": {_named(figures.failed)}"
    return [
        Check("the cloud is provisioned", running, value, "all running"),
        Check(
            "provisioning again changes nothing",
            figures.second_plan_writes == 0,
            f"{figures.second_plan_writes} writes",
            "0 writes",
        ),
        Check(
            "nothing is left of it",
            not figures.left,
            _named(figures.left) if figures.left else "nothing",
            "nothing",
        ),
        Check(
            "the preflight of the practice account",
            figures.preflight == "GO",
            _named(figures.short) if figures.short else figures.preflight,
            "GO",
            decides=False,
        ),
    ]


def _named(things: list[str]) -> str:
    more = len(things) - NAMED
    return "; ".join(things[:NAMED]) + (f"; and {more} more" if more > 0 else "")
