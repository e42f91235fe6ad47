"""Take away what a sale has in the cloud, last made first, and nothing that is not the sale's.

What goes is what the survey found with our tag, then whatever else carries the tag and is no longer in the blueprint
(leftovers.py). A resource goes when all that need it are gone; many go side by side. At the end everything is looked for again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.resources import Condition, Found, Resource
from saleops.errors import CloudError, SaleopsError
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.provision.applying import SLICE_S, elapsed
from saleops.operations.provision.courier import LIST_LAG_S, Courier
from saleops.operations.provision.destroy_plan import DestroyPlan
from saleops.operations.provision.leftovers import Leftover, find_leftovers
from saleops.operations.provision.report import CallTotals, ProvisionReport, Result, StepReport
from saleops.operations.provision.survey import NotThere, Outputs, Survey, look_at

HOPELESS = ("denied", "invalid", "quota")
"""Kinds of errors that another attempt does not cure."""


@dataclass(slots=True)
class _Doomed:
    key: str
    group: str
    kind: str
    name: str
    timeout_s: float
    every_s: float
    hint: str
    look: Callable[[], Found | None]
    calls: Callable[[Found], Sequence[Call]]
    after: list[str] = field(default_factory=list)  # keys that must be gone first
    stage: str = "waiting"  # under way, gone, failed, blocked, left
    found: Found | None = None
    began_ms: int = 0
    next_ms: int = 0
    deadline_ms: int = 0
    sent: str | None = None  # the id that was told to go
    error: CloudError | None = None
    result: Result = "deleted"
    problem: str = ""
    took_s: float = 0.0

    @property
    def task(self) -> str:
        return f"{self.kind} {self.name}"


def apply_destroy(
    plan: DestroyPlan,
    resources: Sequence[Resource],
    seen: Survey,
    leftovers: Sequence[Leftover],
    courier: Courier,
    *,
    timeout_s: float | None = None,
    observe: Observer = silent,
    journal: str = "",
) -> ProvisionReport:
    """Carry out ``plan``. Failures are in the report; what could not go stays, and so does what it stands on."""
    found = dict(seen.found)
    planned = {step.key: step for step in plan.steps}
    doomed: dict[str, _Doomed] = {}
    for resource in resources:
        if resource.key in planned:
            doomed[resource.key] = _of_resource(resource, found, courier, timeout_s)
    for resource in resources:
        for need in resource.needs:
            if resource.key in doomed and need in doomed:
                doomed[need].after.append(resource.key)
    for key, one in doomed.items():
        one.found = found[key]
        if not planned[key].goes:
            one.stage, one.result, one.problem = "left", "left alone", planned[key].why
    before_all = [key for key, one in doomed.items() if one.stage == "waiting"]
    earlier: list[str] = []
    for leftover in leftovers:
        one = _of_leftover(leftover, courier, timeout_s)
        # A stray thing may stand on our network (a database in a vSwitch), or ours on a stray network; strays themselves
        # are in the order that they must go.
        one.after = [*before_all, *earlier] if leftover.last else []
        if not leftover.last:
            for key in before_all:
                if doomed[key].group == "network":
                    doomed[key].after.append(leftover.key)
        doomed[leftover.key] = one
        earlier.append(leftover.key)
    began_ms = courier.cloud.clock.now_ms()
    run = _Teardown(doomed, courier, observe)
    try:
        run.run()
    except BaseException as stop:
        run.stopped(stop)
        raise
    totals = courier.totals
    order = [doomed[step.key] for step in plan.steps]
    return ProvisionReport(
        plan.sale,
        plan.cloud,
        plan.region,
        totals.writes > 0,
        tuple(_report(one) for one in order),
        CallTotals(totals.reads, totals.writes, totals.retries, totals.throttled),
        (courier.cloud.clock.now_ms() - began_ms) / 1000,
        journal,
    )


def what_is_left(
    resources: Sequence[Resource],
    own: frozenset[str],
    courier: Courier,
    *,
    sale: str,
    observe: Observer = silent,
) -> list[str]:
    """What the cloud still shows of the sale after the teardown, for people: looked for anew, after the lag of lists."""
    from saleops.operations.provision.survey import survey

    courier.settle()
    seen = survey(resources, courier.read, observe=observe, task="look again")
    left = [
        f"{one.kind} {one.name}"
        for one in resources
        if one.key in own
        and (found := seen.found[one.key]) is not None
        and found.condition is not Condition.FOREIGN
    ]
    if {one.key for one in resources} == own:
        strays = find_leftovers(courier.read, sale=sale, region=courier.cloud.region, seen=seen)
        left += [f"{one.kind} {one.id}" for one in strays]
    return left


def _of_resource(
    resource: Resource,
    found: dict[str, Found | None],
    courier: Courier,
    timeout_s: float | None,
) -> _Doomed:
    def look() -> Found | None:
        found[resource.key] = look_at(resource, found, courier.read)
        return found[resource.key]

    def calls(seen: Found) -> Sequence[Call]:
        return resource.delete(Outputs(found), seen)

    patience = resource.patience
    return _Doomed(
        resource.key,
        resource.group,
        resource.kind,
        resource.name,
        timeout_s or max(patience.timeout_s, 600.0),
        patience.every_s,
        resource.on_failure,
        look,
        calls,
    )


def _of_leftover(leftover: Leftover, courier: Courier, timeout_s: float | None) -> _Doomed:
    def look() -> Found | None:
        return leftover.look(courier.read)

    return _Doomed(
        leftover.key,
        "leftover",
        leftover.kind,
        leftover.id,
        timeout_s or 1800.0,
        10.0,
        f"Look at {leftover.id} in the console.",
        look,
        lambda seen: leftover.calls,
    )


class _Teardown:
    def __init__(self, doomed: Mapping[str, _Doomed], courier: Courier, observe: Observer) -> None:
        self._doomed = doomed
        self._courier = courier
        self._clock = courier.cloud.clock
        self._observe = observe

    def run(self) -> None:
        while True:
            if self._start_what_can():
                continue
            under_way = [one for one in self._doomed.values() if one.stage == "under way"]
            if not under_way:
                return
            self._sleep_until(min(one.next_ms for one in under_way), under_way)
            now_ms = self._clock.now_ms()
            for one in under_way:
                if one.next_ms <= now_ms:
                    self._step(one)

    def stopped(self, stop: BaseException) -> None:
        details = {}
        for one in self._doomed.values():
            if one.stage == "under way":
                details[one.task] = one.found.state if one.found else "sent"
        if not isinstance(stop, Exception) or isinstance(stop, SaleopsError):
            self._observe(Warned("stopped; the same command goes on from here", details))

    def _start_what_can(self) -> bool:
        moved = False
        for one in reversed(list(self._doomed.values())):
            if one.stage != "waiting":
                continue
            before = [self._doomed[key] for key in one.after]
            if any(other.stage in ("failed", "blocked", "left") for other in before):
                names = ", ".join(
                    o.task for o in before if o.stage in ("failed", "blocked", "left")
                )
                one.stage, one.result = "blocked", "blocked"
                one.problem = f"{names} stands on it"
                moved = True
            elif all(other.stage == "gone" for other in before):
                one.stage = "under way"
                one.began_ms = self._clock.now_ms()
                one.deadline_ms = one.began_ms + round(one.timeout_s * 1000)
                self._observe(Started(one.task))
                self._step(one)
                moved = True
        return moved

    def _step(self, one: _Doomed) -> None:
        try:
            self._look_and_delete(one)
        except CloudError as error:
            if error.kind == "missing":
                self._gone(one)
                return
            one.error = error
            # "failed" is among them: what stands on it may be on its way out still (DependencyViolation).
            if error.kind in HOPELESS or self._clock.now_ms() >= one.deadline_ms:
                self._fail(one, error.message)
            else:
                self._later(one, LIST_LAG_S if error.kind == "unknown" else one.every_s)

    def _look_and_delete(self, one: _Doomed) -> None:
        try:
            one.found = one.look()
        except NotThere:
            one.found = None
        if one.found is None:
            self._gone(one)
            return
        if one.found.condition is Condition.FOREIGN:
            one.stage, one.result = "left", "left alone"
            one.problem = "does not carry this sale's tag"
            self._observe(Finished(one.task, one.problem))
            return
        id = one.found.outputs.get("id", "")
        if one.sent is not None and one.sent != id:  # that one is gone, and a twin of it is there
            one.sent = None
            one.deadline_ms = self._clock.now_ms() + round(one.timeout_s * 1000)
        if one.found.condition is not Condition.LEAVING and one.sent is None:
            calls = one.calls(one.found)
            if not calls:  # it goes with what it belongs to
                self._gone(one)
                return
            for call in calls:
                try:
                    self._courier.write(one.key, "delete", call)
                except CloudError as error:
                    if error.kind != "missing" or call is calls[-1]:
                        raise
            one.sent, one.error = id, None
        if self._clock.now_ms() >= one.deadline_ms:
            self._fail(one, f"it is still {one.found.state} after {elapsed(self._elapsed_s(one))}")
            return
        self._later(one, one.every_s)

    def _gone(self, one: _Doomed) -> None:
        self._courier.resolve(one.key, "delete")
        one.stage, one.result, one.problem = "gone", "deleted", ""
        one.took_s = self._elapsed_s(one)
        self._observe(
            Finished(one.task, f"gone, {elapsed(one.took_s)}" if one.took_s >= 1 else "gone")
        )

    def _fail(self, one: _Doomed, why: str) -> None:
        if one.error is not None:
            why = one.error.message
        one.stage, one.result, one.problem = "failed", "failed", why
        one.took_s = self._elapsed_s(one)
        self._observe(Finished(one.task, why, ok=False))

    def _later(self, one: _Doomed, seconds: float) -> None:
        now_ms = self._clock.now_ms()
        one.next_ms = max(now_ms + 1, min(now_ms + round(seconds * 1000), one.deadline_ms))

    def _elapsed_s(self, one: _Doomed) -> float:
        return max(0.0, (self._clock.now_ms() - one.began_ms) / 1000)

    def _sleep_until(self, at_ms: int, under_way: Sequence[_Doomed]) -> None:
        while (left_s := (at_ms - self._clock.now_ms()) / 1000) > 0:
            self._clock.sleep(min(left_s, SLICE_S))
            for one in under_way:
                elapsed_s = self._elapsed_s(one)
                state = one.found.state if one.found else "sent"
                self._observe(Advanced(one.task, int(elapsed_s), f"{state}, {elapsed(elapsed_s)}"))


def _report(one: _Doomed) -> StepReport:
    failed = one.stage == "failed"
    return StepReport(
        one.key,
        one.group,
        one.kind,
        one.name,
        one.result,
        one.found.state if one.found and one.stage != "gone" else "",
        one.found.outputs.get("id", "") if one.found else "",
        round(one.took_s, 3),
        one.problem,
        one.error.code if failed and one.error else "",
        one.error.request_id if failed and one.error else "",
        failed and (one.error is None or one.error.kind not in HOPELESS),
        one.hint if failed else "",
    )
