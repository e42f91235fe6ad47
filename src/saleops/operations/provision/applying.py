"""Make what a plan says is missing, and bring back what it says has changed. One thread, many waits.

A resource starts as soon as all it needs are ready: it is looked at once more, and what ``decide`` says is sent. What is
on its way is looked at again when its patience says so, all of them on the cloud's clock, so a database, a cache, a broker
and a cluster come up side by side. A failure blocks what needs it and nothing else. Nothing that was made is ever taken
back: the next run finds it and goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from saleops.domain.cloud.resources import Condition, Found, Resource
from saleops.errors import CloudError, SaleopsError
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.provision.courier import LIST_LAG_S, Courier
from saleops.operations.provision.drift import Drift
from saleops.operations.provision.planning import Decision, ProvisionPlan, decide
from saleops.operations.provision.report import CallTotals, ProvisionReport, Result, StepReport
from saleops.operations.provision.survey import NotThere, Outputs, Survey, look_at

UNSEEN_S = 6 * LIST_LAG_S
"""So long something that was made may be missing from every list before we say that it is gone."""

SENDS_MAX = 4
"""A write that is answered by nothing is sent so often at most, each time after a look that did not show it."""

SLICE_S = 10.0
"""Waits are cut into pieces of this length, so that progress shows how long they have been going on."""

Stage = Literal["waiting", "under way", "done", "differs", "failed", "blocked"]


@dataclass(slots=True)
class Item:
    """One resource on its way. Times are the cloud's."""

    resource: Resource
    acts: bool  # whether the plan says to do something about it
    stage: Stage = "waiting"
    result: Result = "no change"
    found: Found | None = None
    drift: tuple[Drift, ...] = ()
    began_ms: int = 0
    next_ms: int = 0
    deadline_ms: int = 0
    sent_ms: int | None = None  # when the last write left that must show
    sends: int = 0
    unsure: bool = False  # a write that makes it left, and nobody knows what became of it
    taken: str = ""  # the cloud's words when it said that the name is taken
    changed_fields: frozenset[str] = frozenset()
    problem: str = ""
    code: str = ""
    request_id: str = ""
    retryable: bool = False
    hint: str = ""
    told: bool = False
    took_s: float = 0.0

    @property
    def task(self) -> str:
        return f"{self.resource.kind} {self.resource.name}"


def apply_provision(
    plan: ProvisionPlan,
    resources: Sequence[Resource],
    seen: Survey,
    courier: Courier,
    *,
    timeout_s: float | None = None,
    observe: Observer = silent,
    journal: str = "",
) -> ProvisionReport:
    """Carry out ``plan`` for ``resources`` (in dependency order). ``timeout_s``: how long to wait for each, instead of its own.

    Failures are in the report. Whatever stops the run (a signal, a full disk) leaves a state that the next one goes on from.
    """
    planned = {step.key: step for step in plan.steps}
    items = []
    for resource in resources:
        step = planned.get(resource.key)
        acts = step is not None and step.verdict != "none"
        item = Item(resource, acts, found=seen.found.get(resource.key))
        if step is not None:
            item.drift = step.drift
        if not acts:
            item.stage = "done"
        elif step is not None and step.verdict == "blocked":
            item.stage, item.result, item.problem = "blocked", "blocked", step.why
        items.append(item)
    run = _Run(items, courier, timeout_s, observe)
    began_ms = courier.cloud.clock.now_ms()
    try:
        run.run()
    except BaseException as stop:
        run.stopped(stop)
        raise
    totals = courier.totals
    steps = tuple(_report(item) for item in items if item.resource.key in planned)
    return ProvisionReport(
        plan.sale,
        plan.cloud,
        plan.region,
        totals.writes > 0,
        steps,
        CallTotals(totals.reads, totals.writes, totals.retries, totals.throttled),
        (courier.cloud.clock.now_ms() - began_ms) / 1000,
        journal,
    )


class _Run:
    def __init__(
        self, items: Sequence[Item], courier: Courier, timeout_s: float | None, observe: Observer
    ) -> None:
        self._items = items
        self._by_key = {item.resource.key: item for item in items}
        self._courier = courier
        self._clock = courier.cloud.clock
        self._timeout_s = timeout_s
        self._observe = observe
        self._found: dict[str, Found | None] = {}

    def run(self) -> None:
        for item in self._items:
            self._found[item.resource.key] = item.found
        while True:
            if self._start_what_can():
                continue
            under_way = [item for item in self._items if item.stage == "under way"]
            if not under_way:
                return
            self._sleep_until(min(item.next_ms for item in under_way), under_way)
            now_ms = self._clock.now_ms()
            for item in under_way:
                if item.next_ms <= now_ms:
                    self._guarded(item, self._look_again)

    def stopped(self, stop: BaseException) -> None:
        """Say what is under way, for whoever pressed Ctrl-C at this point."""
        details = {}
        for item in self._items:
            if item.stage == "under way":
                state = item.found.state if item.found else "sent"
                details[item.task] = f"{state}, {elapsed(self._elapsed_s(item))}"
        if isinstance(stop, Exception) and not isinstance(stop, SaleopsError):
            return
        if details:
            message = "stopped; these go on in the cloud by themselves, and the same command goes on from here"
        else:
            message = "stopped; the same command goes on from here"
        self._observe(Warned(message, details))

    # -- starting ------------------------------------------------------------------------------------------------------

    def _start_what_can(self) -> bool:
        """Start whatever has its needs ready, in order. Returns whether anything moved."""
        moved = False
        for item in self._items:
            if item.stage != "waiting":
                continue
            needs = [self._by_key[need] for need in item.resource.needs if need in self._by_key]
            bad = [one for one in needs if one.stage in ("failed", "blocked", "differs")]
            if bad:
                item.stage, item.result = "blocked", "blocked"
                item.problem = f"it needs {', '.join(map(_in_the_way, bad))}"
                moved = True
            elif all(one.stage == "done" for one in needs):
                item.began_ms = self._clock.now_ms()
                patience_s = self._timeout_s or item.resource.patience.timeout_s
                item.deadline_ms = item.began_ms + round(patience_s * 1000)
                item.stage = "under way"
                self._guarded(item, self._look_again)
                moved = True
        return moved

    def _guarded(self, item: Item, step: Callable[[Item], None]) -> None:
        """Take one step; a call that fails is this resource's failure, or a reason to look again later."""
        try:
            step(item)
        except CloudError as error:
            if error.retryable and self._clock.now_ms() < item.deadline_ms:
                # Not carried out, or nobody knows: after the lag of lists a look tells.
                self._later(item, LIST_LAG_S)
                return
            item.retryable = error.retryable
            self._fail(item, error.message, error.code, error.request_id, error.hint or "")
        except NotThere as missing:
            self._fail(item, f"{missing.key} is ready and does not say what this needs: {missing}")

    # -- looking and acting --------------------------------------------------------------------------------------------

    def _look_again(self, item: Item) -> None:
        resource, history = item.resource, self._courier.journal.history
        item.found = self._found[resource.key] = look_at(resource, self._found, self._courier.read)
        decision = decide(resource, item.found, Outputs(self._found), history)
        if item.found is not None and item.found.condition is not Condition.LEAVING:
            self._courier.resolve(resource.key, "create")
            if item.unsure and item.result == "no change":
                item.result = "created"
        item.drift = decision.drift
        match decision.verdict:
            case "none":
                self._done(item)
            case "wait":
                self._wait(item)
            case "create":
                self._create(item, decision)
            case "change":
                self._change(item, decision)
            case "replace-needed":
                self._done(item, "replace needed", decision.why)
            case "foreign":
                hint = f"Rename it, or tag it with saleops:sale if it is this sale's; then run this again. {resource.on_failure}"
                self._fail(item, decision.why, hint=hint.strip(), result="left alone")
            case "failed":
                self._fail(item, decision.why)

    def _create(self, item: Item, decision: Decision) -> None:
        now_ms = self._clock.now_ms()
        if item.found is not None:  # the one before it is on its way out
            self._wait(item)
            return
        if item.sent_ms is not None and item.result == "created":
            if now_ms - item.sent_ms > UNSEEN_S * 1000:
                gone = "it was made, and the cloud does not show it any more"
                self._fail(item, item.taken or gone)
            else:
                self._wait(item)
            return
        self._send(item, "create", decision)
        item.result = "created"
        self._tell_start(item)
        self._later(item, item.resource.patience.first_s)

    def _change(self, item: Item, decision: Decision) -> None:
        fields = frozenset(one.field for one in decision.drift) - frozenset(decision.stays)
        if item.sent_ms is not None and fields <= item.changed_fields:
            item.problem = f"changed and not there yet: {', '.join(sorted(fields))}"
            self._wait(item)
            return
        self._send(item, "change", decision)
        item.changed_fields |= fields
        if item.result != "created":
            item.result = "changed"
        self._tell_start(item)
        self._later(item, item.resource.patience.first_s)

    def _send(self, item: Item, action: Literal["create", "change"], decision: Decision) -> None:
        """Send the calls of ``decision``. One that is said to be made already counts as sent: the next look tells."""
        if item.sends >= SENDS_MAX:
            raise CloudError(
                f"sent {item.sends} times without an answer, and the cloud does not show it",
                kind="failed",
                code=item.code,
                request_id=item.request_id,
            )
        for call in decision.calls:
            try:
                self._courier.write(item.resource.key, action, call)
            except CloudError as error:
                item.code, item.request_id = error.code, error.request_id
                if error.kind == "exists" and action == "create":
                    item.taken = (
                        error.message
                    )  # an attempt before it came through, or somebody was faster
                    continue
                item.sends += error.kind == "unknown"
                item.unsure |= action == "create" and error.kind == "unknown"
                raise
        item.sends += 1
        item.sent_ms = self._clock.now_ms()
        item.code = item.request_id = ""

    # -- ends and waits ------------------------------------------------------------------------------------------------

    def _wait(self, item: Item) -> None:
        if item.result == "no change":
            item.result = "ready"
        now_ms = self._clock.now_ms()
        if now_ms >= item.deadline_ms:
            state = item.found.state if item.found else "not shown by the cloud yet"
            waited = elapsed(self._elapsed_s(item))
            item.retryable = True
            self._fail(item, item.problem or f"it is still {state} after {waited}")
            return
        self._tell_start(item)
        self._later(item, item.resource.patience.every_s)

    def _later(self, item: Item, seconds: float) -> None:
        now_ms = self._clock.now_ms()
        item.next_ms = max(now_ms + 1, min(now_ms + round(seconds * 1000), item.deadline_ms))

    def _done(self, item: Item, result: Result | None = None, why: str = "") -> None:
        item.stage, item.problem, item.code, item.request_id = "done", why, "", ""
        if result is not None and item.result != "created":
            item.stage, item.result = "differs", result
        item.took_s = self._elapsed_s(item)
        state = item.found.state if item.found else ""
        note = f"{state}, {elapsed(item.took_s)}" if item.took_s >= 1 else state
        self._tell_end(item, ok=True, note=note)

    def _fail(
        self,
        item: Item,
        why: str,
        code: str = "",
        request_id: str = "",
        hint: str = "",
        *,
        result: Result = "failed",
    ) -> None:
        item.stage, item.result, item.problem = "failed", result, why
        item.code, item.request_id = code or item.code, request_id or item.request_id
        item.hint = hint or item.resource.on_failure
        item.took_s = self._elapsed_s(item)
        self._tell_end(item, ok=False, note=why)

    def _elapsed_s(self, item: Item) -> float:
        return max(0.0, (self._clock.now_ms() - item.began_ms) / 1000)

    def _sleep_until(self, at_ms: int, under_way: Sequence[Item]) -> None:
        while (left_s := (at_ms - self._clock.now_ms()) / 1000) > 0:
            self._clock.sleep(min(left_s, SLICE_S))
            for item in under_way:
                if item.told:
                    elapsed_s = self._elapsed_s(item)
                    state = item.found.state if item.found else "sent"
                    note = f"{state}, {elapsed(elapsed_s)}"
                    self._observe(Advanced(item.task, int(elapsed_s), note))

    def _tell_start(self, item: Item) -> None:
        if not item.told:
            item.told = True
            self._observe(Started(item.task))

    def _tell_end(self, item: Item, *, ok: bool, note: str) -> None:
        if item.told or not ok:
            self._observe(Finished(item.task, note, ok=ok))
        item.told = False


def _in_the_way(need: Item) -> str:
    return f"{need.task}, which differs from its file" if need.stage == "differs" else need.task


def _report(item: Item) -> StepReport:
    resource, found = item.resource, item.found
    outputs: Mapping[str, str] = found.outputs if found else {}
    return StepReport(
        resource.key,
        resource.group,
        resource.kind,
        resource.name,
        item.result,
        found.state if found else "",
        outputs.get("id", ""),
        round(item.took_s, 3),
        item.problem,
        item.code,
        item.request_id,
        item.retryable,
        item.hint,
        tuple(one for one in item.drift if item.result != "changed" or one.accepted),
    )


def elapsed(seconds: float) -> str:
    """Cloud time for people: 40 s, 8 min 20 s, 1 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
