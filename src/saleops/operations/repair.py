"""Mends what the ledger named: reads the rows of what is broken, plans, applies, reads the ledger again; and turns it round.

``plan_repair`` only reads. ``apply`` carries out the steps of a plan, or of an undo file, one after another. Each is guarded
by the rows it was planned on (domain/repair.py), so one that meets a living sale is skipped and named, and harms nothing. A
repair that was cut off is resumed by planning again: what was done is no break any more.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from saleops.domain.ledger import Ledger
from saleops.domain.messages import ORDERS, announcement, encode_batch
from saleops.domain.orders import OrderState
from saleops.domain.repair import (
    Accept,
    Amend,
    Announce,
    ChargeOrder,
    Forget,
    Rebuild,
    Refund,
    Settle,
    Step,
    Swap,
)
from saleops.domain.repair_plan import plan_from
from saleops.errors import Refused
from saleops.events import Advanced, Finished, Started
from saleops.operations.audit import PORTION, Trail
from saleops.operations.rebuild import rebuild
from saleops.operations.repair_engines import RepairEngines
from saleops.operations.repair_facts import read_facts
from saleops.operations.repair_report import RepairPlan, RepairReport
from saleops.operations.undo import UNDONE, begun_line, ended_line
from saleops.ports.orders import Accepted
from saleops.ports.payments import ChargeRequest, ChargeVerdict, RefundRequest
from saleops.ports.repair import Changed, Fate, StepLog
from saleops.ports.stock import StaleEpoch

TASK = "repairing"
CANCEL_YOUNGEST = "cancel-youngest"
_CHARGE_TRIES = 8  # a busy provider; a key captures once however often it is sent
_LOAN_MS = 5_000  # older loans belong to nobody who is still at it


async def plan_repair(
    engines: RepairEngines, ledger: Ledger, *, accept: str = "", decide: Iterable[str] = ()
) -> RepairPlan:
    """What would mend ``ledger``. ``decide`` holds "oversold=cancel-youngest" where a person decided so. Only reads."""
    epoch = ""
    with suppress(StaleEpoch):  # partitions disagree: that is a break, and its repair is a rebuild
        epoch = (await engines.stock.seed_state()).epoch
    facts = await read_facts(engines, ledger.breaks, cancel=f"oversold={CANCEL_YOUNGEST}" in decide)
    plan = plan_from(ledger.breaks, facts, accept=accept)
    return RepairPlan(engines.sale, epoch, ledger, plan.steps, plan.people)


async def apply(
    engines: RepairEngines,
    plan: RepairPlan,
    *,
    who: str,
    undo_file: str = "",
    log: StepLog | None = None,
    grace_ms: int = 0,
) -> RepairReport:
    """Carry out ``plan`` and read the ledger again. Raises StoreUnavailable when an engine goes away meanwhile: what
    was done stays done, and the same command goes on from there. ``log`` adds to the undo file what becomes of each step."""
    command = "reconcile --undo" if plan.undo else "reconcile --repair"
    trail = Trail(
        engines.books.book, sale=engines.sale, who=who, command=command, now_ms=engines.clock.now_ms
    )
    counts = Counter(step.action for step in plan.steps)
    await engines.books.run(
        trail.begin, f"{len(plan.steps)} steps; undo file {undo_file}", dict(counts)
    )
    work = _Work(engines, plan, who, trail.run_id)
    outcomes: list[Changed | None] = []
    engines.observe(Started(TASK, total=len(plan.steps), unit="steps"))
    for at in range(0, len(plan.steps), PORTION):
        part = plan.steps[at : at + PORTION]
        named = [f"{step.action} {step.id or step.sku or plan.sale}" for step in part]
        await engines.books.run(trail.act, named)
        if log is not None and not plan.undo:
            log.add(begun_line(at + len(part)), sync=True)
        for step in part:
            outcome = await work.do(step)
            if log is not None:
                _keep(log, plan, len(outcomes), outcome, last=step is part[-1])
            outcomes.append(outcome)
            engines.observe(Advanced(TASK, len(outcomes), step.action))
    ledger = await engines.ledger(grace_ms=grace_ms)
    report = plan.report(outcomes=outcomes, applied=True, undo_file=undo_file, ledger=ledger)
    await engines.books.run(trail.end, f"{ledger.breaks_count} breaks left", report.outcomes)
    engines.observe(Finished(TASK, f"{ledger.breaks_count} breaks left", ok=ledger.balanced))
    return report


def _keep(log: StepLog, plan: RepairPlan, number: int, outcome: Changed, *, last: bool) -> None:
    """Say in the undo file what became of a step; of an undo only what cannot be undone once more."""
    if not plan.undo:
        log.add(ended_line(number, outcome.fate.value), sync=last)
    elif outcome.fate in (Fate.DONE, Fate.ALREADY):
        log.add(ended_line(plan.numbers[number], UNDONE), sync=last)


class _Work:
    """Carries out steps, one at a time."""

    def __init__(self, engines: RepairEngines, plan: RepairPlan, who: str, run_id: str) -> None:
        self._bench = engines
        self._plan = plan
        self._who = who
        self._run_id = run_id
        self._sent = 0
        self._visible: frozenset[str] | None = None
        self._left_alone: set[str] = set()

    async def do(self, step: Step) -> Changed:
        """Carry out ``step``, unless one before it was not done for the same order: an order that could not be cancelled
        must keep its units."""
        ids = {step.id} if step.id else set()
        if isinstance(step.act, Amend):
            ids |= {one.name for one in step.act.fields if one.place == "held"}
        if isinstance(step.act, Swap):
            ids |= {one.key for one in step.act.rows if one.table == "orders"}
        if waits_for := ids & self._left_alone:
            self._left_alone |= ids
            return Changed(Fate.CHANGED, f"a step before it was not done for {min(waits_for)}")
        changed = await self._act(step)
        if changed.fate in (Fate.CHANGED, Fate.SHORT):
            self._left_alone |= ids
        return changed

    async def _act(self, step: Step) -> Changed:
        engines = self._bench
        run, book = engines.books.run, engines.books.book
        match step.act:
            case Swap() as act:
                return await run(engines.book_rows.swap, act)
            case Amend() as act:
                return await self._amend(act)
            case Refund() as act:
                return await self._refund(act)
            case ChargeOrder() as act:
                return await self._charge(act)
            case Announce() as act:
                return await self._announce(act)
            case Accept() as act:
                there = {(one.kind, one.id, one.sku) for one in await run(book.accepted)}
                if there.issuperset(map(tuple, act.keys)):
                    return Changed(Fate.ALREADY)
                now_ms = engines.clock.now_ms()
                rows = [
                    Accepted(kind=k, id=i, sku=s, who=self._who, why=act.why, at_ms=now_ms)
                    for k, i, s in act.keys
                ]
                await run(book.accept, rows)
                return Changed(Fate.DONE)
            case Forget() as act:
                await run(book.unaccept, act.keys)
                return Changed(Fate.DONE)
            case Settle():
                return await self._settle()
            case Rebuild():
                return await self._rebuild()

    async def _amend(self, act: Amend) -> Changed:
        engines = self._bench
        try:
            return await engines.stock_rows.amend(
                self._plan.epoch, act, now_ms=engines.clock.now_ms()
            )
        except StaleEpoch as error:
            return Changed(Fate.CHANGED, error.message)

    async def _refund(self, act: Refund) -> Changed:
        request = RefundRequest(act.charge_id, act.order_id, act.amount_fen)
        [result] = await self._bench.payments.refund([request])
        fates = {"refunded": Fate.DONE, "already": Fate.ALREADY}
        return Changed(fates.get(result.outcome, Fate.CHANGED), result.reason)

    async def _charge(self, act: ChargeOrder) -> Changed:
        engines = self._bench
        # An order that is not paid any more owes nothing.
        order = (await engines.books.run(engines.books.book.orders, [act.order_id])).get(
            act.order_id
        )
        owes = order is not None and order.state in (OrderState.PAID, OrderState.SHIPPED)
        if order is None or not owes or order.amount_fen != act.amount_fen:
            return Changed(Fate.CHANGED, f"order {act.order_id} does not owe that any more")
        rows = await engines.books.run(
            engines.book_rows.rows, "charges", "order_id", [act.order_id]
        )
        if any(row["state"] == "captured" for row in rows):
            return Changed(Fate.ALREADY)
        request = ChargeRequest(act.key, act.order_id, act.amount_fen, act.token)
        for _ in range(_CHARGE_TRIES):
            [result] = await engines.payments.charge([request])
            if result.verdict is not ChargeVerdict.BUSY:
                break
        if result.verdict is ChargeVerdict.CAPTURED:
            return Changed(Fate.DONE)
        return Changed(Fate.SHORT, f"the payment provider says: {result.reason}")

    async def _announce(self, act: Announce) -> Changed:
        engines = self._bench
        if self._visible is None:
            wanted = [s.act.order_ids for s in self._plan.steps if isinstance(s.act, Announce)]
            self._visible = await engines.announced(
                order_id for part in wanted for order_id in part
            )
        silent_ids = [order_id for order_id in act.order_ids if order_id not in self._visible]
        if not silent_ids:
            return Changed(Fate.ALREADY)
        found = await engines.books.run(engines.books.book.orders, silent_ids)
        orders = [
            order for _, order in sorted(found.items()) if order.state != OrderState.TOMBSTONE
        ]
        if not orders:
            return Changed(Fate.CHANGED, "the orders are gone")
        self._sent += 1
        # The half has an id of its own: one that is cut off is rolled back, for nobody committed under it. The body names
        # the group commit, so that its message counts as arrived.
        half = await engines.broker.send_half(
            ORDERS,
            f"repair-{self._run_id}-{self._sent}",
            encode_batch(announcement(act.tx_id, orders)),
        )
        await engines.broker.commit(half)
        return Changed(Fate.DONE)

    async def _settle(self) -> Changed:
        engines = self._bench
        try:
            settled = await engines.stock.settle_transfers(
                self._plan.epoch, older_than_ms=_LOAN_MS, now_ms=engines.clock.now_ms()
            )
        except StaleEpoch as error:
            return Changed(Fate.CHANGED, error.message)
        return Changed(Fate.DONE if settled else Fate.ALREADY, f"{settled} loans")

    async def _rebuild(self) -> Changed:
        engines = self._bench
        try:
            report = await rebuild(
                engines.sale,
                books=engines.books,
                stock=engines.stock,
                reason="saleops reconcile --repair",
                who=self._who,
                verify=False,  # the ledger has looked already
                observe=engines.observe,
                now_ms=engines.clock.now_ms,
            )
        except Refused as error:
            return Changed(Fate.CHANGED, error.message)
        if report is None:
            return Changed(Fate.CHANGED, "somebody else rebuilds the store at this moment")
        return Changed(Fate.DONE, f"{report.skus_count:,} SKUs, {report.orders_count:,} orders")
